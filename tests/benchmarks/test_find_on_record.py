"""The replay of `find` on recorded tasks."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.find_on_record import _BUDGETS, _rows, _Task, _without
from benchmarks.lr_prior import Curve, curves, learned_prior


@pytest.fixture(scope="module")
def found() -> list[Curve]:
    return list(curves())


def test_a_larger_budget_follows_the_same_plan_and_no_budget_is_exceeded(found: list[Curve]) -> None:
    curve = next(one for one in found if one.data == "sklearn/digits" and one.family == "adam" and one.depth > 1)
    rows = _rows(curve, _without(learned_prior(found), found, curve.data), 7)
    costs = [row["cost"] for row in rows]
    assert [row["budget"] for row in rows] == list(_BUDGETS)
    assert costs == sorted(costs)
    assert all(row["cost"] <= row["budget"] + 1e-6 for row in rows)
    assert rows[-1]["regret"] < 0.5


def test_the_prior_of_a_task_has_not_seen_its_data_set(found: list[Curve]) -> None:
    own = sum(curve.data == found[0].data for curve in found)
    prior = _without(learned_prior(found), found, found[0].data)
    assert own >= 1
    assert {len(prior.heights), len(prior.families), len(prior.steps), len(prior.parameters)} == {len(found) - own}


def test_a_recorded_rate_gives_its_recorded_loss(found: list[Curve]) -> None:
    curve = next(one for one in found if one.failed[-1].any() and not one.failed[-1].all())
    task = _Task(curve)
    at, seed = np.argwhere(curve.failed[-1])[0]
    loss, failed, cost = task.run(10 ** curve.x[at], 1.0, int(seed))
    assert (failed, cost) == (True, 1.0)
    assert loss == pytest.approx(curve.untrained)
    best = int(curve.losses[-1].mean(axis=1).argmin())
    assert task.regret(10 ** curve.x[best]) == pytest.approx(0.0, abs=1e-6)
