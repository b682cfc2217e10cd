"""pytorch_optimizer's schedulers against our schedules."""

from __future__ import annotations

import pytest
from tests.parity.cases import check_cases, check_defects, required


def test_every_scheduler_of_pytorch_optimizer_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("pytorch_optimizer"), subtests)


def test_what_pytorch_optimizer_does_wrong_is_still_there_and_ours_does_not(subtests: pytest.Subtests) -> None:
    check_defects(required("pytorch_optimizer"), subtests)
