"""The strategy of `find`, on curves that nobody trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.study.runs import HORIZON, ran

from stepsize.study.strategy import Job, point_of
from stepsize.study.until_sure import Question, Recipe, UntilSure
from stepsize.training.cost import CostModel
from stepsize.training.runs import Run

UNTRAINED = 2.0
COSTS = CostModel(horizon=HORIZON, accumulate=1, batch_size=32, val_examples=0)
Curve = Callable[[Job], float]


def question(**changes: object) -> Question:
    return replace(Question(1e-3, UNTRAINED, COSTS), **changes)  # type: ignore[arg-type]


def bowl(best: float = 1e-2, noise: float = 0.0, fatal: float = math.inf) -> Curve:
    """Return a loss that is lowest at ``best``, differs between seeds, and is infinite above ``fatal``."""

    def loss(job: Job) -> float:
        if job.trial.lr > fatal:
            return math.inf
        x = math.log10(job.trial.lr / best)
        luck = 1 + noise * math.sin(9.0 * job.seed + 40.0 * x)
        return float(min(UNTRAINED, 0.1 * job.share**-0.5 * math.exp(2 * x**2) * luck))

    return loss


def run_of(job: Job, loss: Curve) -> Run:
    value = loss(job)
    return ran(job, value, diverged_at=0.1 if math.isinf(value) else None, cost=COSTS.run(round(job.share * HORIZON)))


def driven(strategy: UntilSure, loss: Curve, most: int = 12, together: int = 1) -> list[Run]:
    """Train what it asks for, up to some runs under way, and return the runs."""
    runs: list[Run] = []
    flying: list[Job] = []
    while len(runs) < most:
        while len(flying) < together and (job := strategy.ask()) is not None:
            flying.append(job)
        if not flying:
            break
        run = run_of(flying.pop(0), loss)
        strategy.tell(run)
        runs.append(run)
    return runs


def plan(runs: Sequence[Run]) -> list[tuple[int, float, int, float]]:
    return [(*run.key, run.lr) for run in runs]


def test_a_run_is_a_point_of_the_model() -> None:
    strategy = UntilSure(question())
    [run] = driven(strategy, bowl(fatal=1e-9), most=1)
    point = point_of(run)
    assert (point.lr, point.value, point.share, point.seed, point.diverged) == (run.lr, math.inf, run.share, 0, True)


def test_short_runs_locate_the_rate_before_full_ones() -> None:
    recipe = Recipe()
    runs = driven(UntilSure(question()), bowl())
    shares = [run.share for run in runs]
    full = shares.index(1.0)
    assert set(shares[:full]) == {recipe.short[0]}
    assert set(shares[full:]) == {1.0}
    assert sum(run.cost for run in runs[:full]) <= recipe.short_spend + 1e-9


def test_the_first_run_may_be_elsewhere_and_the_best_rate_is_still_expected_near_the_usual_one() -> None:
    strategy = UntilSure(question(first=1e-6))

    first, second = driven(strategy, lambda job: 0.99 * UNTRAINED, most=2)

    assert first.lr == pytest.approx(1e-6)
    assert second.lr > first.lr
    assert 1e-4 < 10 ** float(np.median(strategy.model().optima)) < 1e-1


@pytest.mark.parametrize("best", [1e-4, 1e-3, 1e-2, 1e-1])
def test_the_answer_nears_the_best_rate(best: float) -> None:
    strategy = UntilSure(question(until=0.1))
    driven(strategy, bowl(best, noise=0.02), most=16)
    assert strategy.answer.lr is not None
    assert abs(math.log10(strategy.answer.lr / best)) < 0.3


def test_when_it_is_sure_it_is_done_and_asks_for_nothing_more() -> None:
    strategy = UntilSure(question(until=0.3, usual=1e-2))
    runs = driven(strategy, bowl(noise=0.05), most=40)
    assert len(runs) < 40
    assert strategy.done
    assert strategy.answer.decided
    assert strategy.ask() is None


def test_no_rate_is_trained_twice_on_a_seed() -> None:
    runs = driven(UntilSure(question(until=1e-6)), bowl(noise=0.5), most=24)
    assert len({(run.lr, run.share, run.seed) for run in runs}) == len(runs) > 12
    near = Recipe().distinct
    full = [(math.log10(run.lr), run.seed) for run in runs if run.share == 1.0]
    for place, (x, seed) in enumerate(full):
        for other, same in full[:place]:
            assert seed != same or abs(x - other) >= near - 1e-9
    assert len({run.seed for run in runs}) > 1, "it repeats on other seeds"


def test_later_full_runs_compare_rates_on_new_seeds() -> None:
    def noisy(job: Job) -> float:  # too noisy to be settled soon
        luck = np.random.default_rng([job.seed, round(1000 * abs(math.log10(job.trial.lr)))]).normal()
        return bowl()(job) * math.exp(0.4 * luck)

    runs = driven(UntilSure(question(until=1e-6)), noisy, most=30)
    later = Counter(run.seed for run in runs if run.share == 1.0 and run.seed > 0)
    assert list(later.values()).count(Recipe().batch) >= 2, later


def test_a_horizon_that_is_too_short_for_short_runs_has_full_ones_only() -> None:
    costs = CostModel(horizon=10, accumulate=1, batch_size=32, val_examples=0)
    strategy = UntilSure(question(costs=costs))
    job = strategy.ask()
    assert job is not None
    assert job.share == 1.0
    assert job.trial.lr == pytest.approx(1e-3)


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.6, 1.0, 1.5])
def test_a_small_budget_is_spent_on_runs_that_fit_it(budget: float) -> None:
    strategy = UntilSure(question(budget=budget))
    spent, count = 0.0, 0
    while (job := strategy.ask()) is not None:
        spent += COSTS.run(round(job.share * HORIZON))
        if spent > budget + 1e-9:
            break
        count += 1
        strategy.tell(run_of(job, bowl()))
    assert count >= 1


@settings(max_examples=4)
@given(st.integers(0, 5), st.floats(1e-4, 1.0), st.sampled_from([0.0, 0.05]), st.sampled_from([0.03, math.inf]))
def test_the_plan_follows_from_seed_and_runs(seed: int, best: float, noise: float, fatal: float) -> None:
    def plans(together: int) -> list[tuple[int, float, int, float]]:
        return plan(driven(UntilSure(question(), seed=seed), bowl(best, noise, fatal), together=together))

    assert plans(1) == plans(3), "however many are under way at once"


@cache
def uninterrupted(seed: int) -> list[Run]:
    return driven(UntilSure(question(), seed=seed), bowl(noise=0.05), most=12)


@settings(max_examples=4)
@given(st.integers(0, 12), st.booleans(), st.integers(0, 3))
def test_a_strategy_that_is_restored_asks_for_the_same(stop: int, told: bool, seed: int) -> None:
    loss = bowl(noise=0.05)
    whole = uninterrupted(seed)
    again = UntilSure(question(), seed=seed)
    again.restore([run.trial for run in whole[: stop + told]], whole[:stop])
    assert plan([*whole[:stop], *driven(again, loss, most=12 - stop)]) == plan(whole)


def test_runs_of_another_plan_count_as_evidence() -> None:
    other = driven(UntilSure(question(), seed=9), bowl(), most=6)
    strategy = UntilSure(question(), seed=0)
    strategy.restore([run.trial for run in other], other)
    assert len(strategy.model().points) == 6
    assert strategy.answer.lr is not None


def test_what_is_under_way_is_what_remains() -> None:
    strategy = UntilSure(question())
    assert strategy.remaining() == 0
    job = strategy.ask()
    assert job is not None
    assert strategy.remaining() >= 1
    strategy.tell(run_of(job, bowl()))


def test_a_rate_far_from_all_others_is_not_tried_in_one_stride() -> None:
    runs = driven(UntilSure(question()), bowl(10.0), most=12)
    alone = next(k for k in range(len(runs)) if sum(run.share == 1.0 for run in runs[:k]) == Recipe().batch)
    for place in range(1, alone):  # later ones are asked for in groups
        same = [math.log10(run.lr) for run in runs[:place] if run.share == runs[place].share]
        same = same or [math.log10(run.lr) for run in runs[:place]]
        learned = any(run.value < UNTRAINED for run in runs[:place])
        stride = max(Recipe().stride, Recipe().spread) if learned else 2 * Recipe().stride  # no run tells the side yet
        assert min(same) - stride - 0.05 <= math.log10(runs[place].lr) <= max(same) + stride + 0.05


def test_an_untrained_value_that_is_not_finite_is_replaced_by_the_worst_run() -> None:
    strategy = UntilSure(question(untrained=math.nan))
    assert strategy.answer.verdict == "no answer"
    driven(strategy, bowl(), most=8)
    assert strategy.answer.lr is not None
    assert strategy.model().untrained == max(point.value for point in strategy.model().points)
