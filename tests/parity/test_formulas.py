"""Published formulas against our schedules."""

from __future__ import annotations

import pytest
from tests.parity.cases import check_cases, required


def test_every_published_formula_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("formulas"), subtests)
