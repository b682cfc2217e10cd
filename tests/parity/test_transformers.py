"""transformers' schedulers against our schedules."""

from __future__ import annotations

import pytest
from tests.parity.cases import check_cases, check_defects, required


def test_every_scheduler_of_transformers_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("transformers"), subtests)


def test_what_transformers_does_wrong_is_still_there_and_ours_does_not(subtests: pytest.Subtests) -> None:
    check_defects(required("transformers"), subtests)
