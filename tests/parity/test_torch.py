"""torch's schedulers against our schedules."""

from __future__ import annotations

import pytest
from tests.parity.cases import check_cases, check_defects, required

# A scheduler that is wrapped or resumed steps before the optimizer that it was given has.
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def test_every_scheduler_of_torch_is_one_of_ours_at_each_update(subtests: pytest.Subtests) -> None:
    check_cases(required("torch"), subtests)


def test_what_torch_does_wrong_is_still_there_and_ours_does_not(subtests: pytest.Subtests) -> None:
    check_defects(required("torch"), subtests)
