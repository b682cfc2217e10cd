"""What a search may spend."""

from __future__ import annotations

import math
from typing import Any

import pytest

from stepsize.errors import InputError
from stepsize.study.finding import Budget, as_budget


@pytest.mark.parametrize(
    ("given", "runs", "seconds", "text"),
    [
        (5, 5.0, math.inf, "5 full runs"),
        (1, 1.0, math.inf, "1 full run"),
        (0.25, 0.25, math.inf, "0.25 full runs"),
        ("3", 3.0, math.inf, "3 full runs"),
        ("2.5 runs", 2.5, math.inf, "2.5 full runs"),
        ("4x", 4.0, math.inf, "4 full runs"),
        ("1e1", 10.0, math.inf, "10 full runs"),
        ("90s", math.inf, 90.0, "1.5 min"),
        ("30 sec", math.inf, 30.0, "30 s"),
        ("10min", math.inf, 600.0, "10 min"),
        ("10 m", math.inf, 600.0, "10 min"),
        (" 2H ", math.inf, 7200.0, "120 min"),
    ],
)
def test_full_runs_and_times_are_read_as_they_are_written(given: Any, runs: float, seconds: float, text: str) -> None:
    budget = as_budget(given)
    assert (budget.runs, budget.seconds, budget.either) == (runs, seconds, False)
    assert str(budget) == text


def test_the_default_is_the_more_generous_of_both() -> None:
    assert as_budget(None) == Budget(3.0, 60.0, either=True)
    assert str(as_budget(None)) == "3 full runs or 1 min"


@pytest.mark.parametrize(
    "given",
    [0, -3, math.nan, math.inf, True, False, [], "", "x", "0", "-1", "nan", "inf", "1..2", "3 days", "min", "0s"],
    ids=repr,
)
def test_anything_else_is_refused(given: Any) -> None:
    with pytest.raises(InputError) as caught:
        as_budget(given)
    assert str(caught.value) == (
        f"budget must be a positive number of full runs, or a time such as '90s', '10min' or '2h'; got {given!r}"
    )
