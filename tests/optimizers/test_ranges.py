"""The registered range of every optimizer holds a good rate on real tasks (by name: ``pytest -m slow``)."""

from __future__ import annotations

import math
from typing import Any

import pytest
from tests.optimizers.test_catalog import entries

import stepsize
from stepsize.optimizers import OptimizerEntry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


def final(task: Any, lr: float) -> float:
    try:
        loss = stepsize.train(task, lr).objective("loss")
    except (AssertionError, RuntimeError):  # some packages check for NaN by themselves
        return math.inf
    return loss if math.isfinite(loss) else math.inf


@entries
@pytest.mark.parametrize("name", ["digits-mlp", "diabetes-regression"])
def test_no_rate_outside_is_much_better_than_the_best_inside(entry: OptimizerEntry, name: str) -> None:
    task = stepsize.build_task(name, optimizer=entry.name, steps=150)
    low, high = entry.lr_range
    points = round(2 * math.log10(entry.lr_range[1] / entry.lr_range[0])) + 1
    inside = [low * (high / low) ** (i / (points - 1)) for i in range(points)]
    outside = [low / 10, low / 3, high * 3, high * 10]

    best_inside = min(final(task, lr) for lr in inside)
    best_outside = min(final(task, lr) for lr in outside)

    # 5 %: two rates a factor of 3 apart around the best one differ by as much
    assert best_inside <= 1.05 * best_outside
