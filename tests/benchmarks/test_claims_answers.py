"""From made-up truths, runs and records to the parts of the answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from benchmarks.claims import from_runs
from benchmarks.claims.finals import Finals
from benchmarks.claims.from_records import median_regret, search_parts
from benchmarks.claims.from_truth import beside_the_best, overfitting, times, underfitting, unseen
from benchmarks.combos import GRID, Combo
from benchmarks.runlog import Row

PLACE = Combo("cancer-mlp", "adamw")
BEST = GRID[10]


def finals(val: Any, train: Any = None, lost_above: float = math.inf, seeds: int = 6) -> Finals:
    """Return tables over the grid: ``val`` and ``train`` are functions of (decades above the best rate, seed)."""
    rows = []
    for seed in range(seeds):
        for lr in GRID:
            decades = math.log10(lr / BEST)
            gone = decades > lost_above
            losses = [None if gone else f(decades, seed) for f in (val, train or val)]
            rows.append(Row(lr, seed, 10, losses[0], losses[1], None, 3 if gone else None, 1.0))
    return Finals.of(rows, untrained=10.0)


def bowl(decades: float, seed: int) -> float:
    return (1 + 0.01 * seed) * (1 + decades**2)


def test_the_best_rate_of_a_seed_is_chosen_by_the_others() -> None:
    own = finals(lambda decades, seed: 0.1 if seed == 2 and decades > 0.2 else bowl(decades, seed))
    assert own.lrs[own.best_for(2)] == BEST
    assert own.lrs[own.best_for(0)] > BEST  # seed 2 is among those that choose


def test_a_rate_at_which_another_seed_diverged_is_not_the_best() -> None:
    own = finals(lambda decades, seed: 2 - decades / 10, lost_above=0.5)
    assert own.lrs[own.best_for(0)] < BEST * 10**0.5
    assert own.highest_sound(own.best_for(0), 3.0, 10.0) is None


def test_beside_finds_the_nearest_rate_or_none() -> None:
    own = finals(bowl)
    at = own.best_for(0)
    ten = own.beside(at, 10.0)
    assert ten is not None
    assert own.lrs[ten] == pytest.approx(10 * BEST, rel=0.3)
    assert own.beside(len(own.lrs) - 1, 10.0) is None


def test_a_rate_ten_times_too_high_ends_worse() -> None:
    part = beside_the_best({PLACE: finals(bowl)}, "p", times(10.0), "t")
    effect = part.units[0].checks[0].effect
    # the nearest rate of the grid is 0.9 decades above
    assert effect.mean == pytest.approx(math.log(1 + 0.9**2), rel=1e-3)
    assert part.holding == 1
    assert part.units[0].labels == ("adamw", "fewer than 1,000 examples")


def test_a_lost_training_counts_as_the_untrained_model() -> None:
    part = beside_the_best({PLACE: finals(bowl, lost_above=0.5)}, "p", times(10.0), "t")
    assert part.units[0].checks[0].effect.mean == pytest.approx(math.log(10.0), rel=0.05)


def test_overfitting_wants_a_larger_gap_without_a_higher_training_loss() -> None:
    memorises = finals(bowl, lambda decades, seed: 0.5 - 0.1 * decades)
    same = finals(bowl, lambda decades, seed: 0.5)
    fails = finals(bowl, lambda decades, seed: 0.5 + 0.1 * decades**2)
    assert overfitting({PLACE: memorises}, "p").holding == 1
    assert overfitting({PLACE: same}, "p").holding == 1
    failing = overfitting({PLACE: fails}, "p")
    assert (failing.holding, failing.opposed) == (0, 1)


def test_underfitting_wants_both_losses_higher() -> None:
    assert underfitting({PLACE: finals(bowl)}, "p").holding == 1
    only_unseen = finals(bowl, lambda decades, seed: 0.5 + 0.1 * decades)
    assert underfitting({PLACE: only_unseen}, "p").holding == 0


def test_choosing_by_training_loss_costs_where_the_two_disagree() -> None:
    apart = unseen({PLACE: finals(bowl, lambda decades, seed: 1 - 0.1 * decades)}, "a", "b")[1]
    agree = unseen({PLACE: finals(bowl)}, "a", "b")[1]
    assert apart.holding == 1
    assert agree.holding == 0  # the same rate: the difference is exactly nothing


def run(arm: str, seed: int, **changed: Any) -> dict[str, Any]:
    base = {"arm": arm, "task": "cancer-mlp", "optimizer": "momentum", "lr": 0.1, "seed": seed, "val": 1.0}
    return {**base, "overshoot": 0.1, "wobble": 0.1, "auc": None, "odd": 1.0, "diverged": False, **changed}


def test_ways_are_compared_on_the_judging_seeds_that_both_have() -> None:
    rows = [run("a", seed, val=2.0) for seed in range(600, 606)] + [run("b", seed) for seed in range(600, 605)]
    rows += [run("a", 500, val=100.0, lr=3.0)]  # of the tuning
    effect = from_runs.compared(rows, "cancer-mlp", ("a", "momentum"), ("b", "momentum"), "val")
    assert effect is not None
    assert effect.mean == pytest.approx(math.log(2))
    assert effect.seeds == 5
    assert from_runs.compared(rows[:8], "cancer-mlp", ("a", "momentum"), ("b", "momentum"), "val") is None


def test_shares_are_compared_as_differences() -> None:
    rows = [run("a", seed, overshoot=0.4) for seed in range(600, 605)] + [run("b", seed) for seed in range(600, 605)]
    effect = from_runs.compared(rows, "cancer-mlp", ("a", "momentum"), ("b", "momentum"), "overshoot")
    assert effect is not None
    assert effect.mean == pytest.approx(0.3)


def test_the_best_rate_of_a_seed_is_the_bottom_of_a_parabola() -> None:
    rates = [10 ** (-3 + 0.3 * k) for k in range(7)]
    bottom = -1.73
    rows = [run("a", 600, lr=lr, val=math.exp((math.log10(lr) - bottom) ** 2)) for lr in rates]
    assert from_runs.best_rates(rows)[600] == pytest.approx(bottom)


def test_at_the_end_of_the_grid_or_beside_a_gap_it_is_the_rate_itself() -> None:
    falling = [run("a", 600, lr=10 ** (-3 + 0.3 * k), val=1.0 / (k + 1)) for k in range(4)]
    gap = [run("a", 600, lr=lr, val=val) for lr, val in ((0.001, 2.0), (0.1, 1.0), (0.2, 3.0))]
    assert from_runs.best_rates(falling)[600] == pytest.approx(-2.1)
    assert from_runs.best_rates(gap)[600] == pytest.approx(-1.0)


def test_the_median_regret_is_over_the_places() -> None:
    effect = median_regret({place: [0.1 * place, 0.1 * place] for place in range(5)})
    assert effect.mean == pytest.approx(0.2)
    assert effect.low < 0.2 < effect.high


def test_searches_are_units_with_their_trials_as_labels() -> None:
    places = [{"task": f"t{k}", "optimizer": "adamw"} for k in range(8)]
    picks = [{"tool": "torch-lr-finder", "regret": 0.5, **place} for place in places]
    searches = [
        {"search": "grid", "trials": trials, "regret": [regret] * 3, **place}
        for trials, regret in ((3, 0.9), (30, 0.01))
        for place in places
    ]
    found = search_parts(picks, searches, ("range", "grid", "random", "auto"))
    assert [len(part.units) for part in found] == [1, 2, 0, 0]
    assert found[1].conditions == ("30 runs",)
    assert (found[0].holding, found[0].opposed) == (0, 1)


def test_finals_take_the_rates_that_all_seeds_share() -> None:
    rows = [Row(0.1, 0, 1, 1.0, 1.0, None, None, 1.0), Row(0.2, 0, 1, 1.0, 1.0, None, None, 1.0)]
    rows += [Row(0.2, 1, 1, 20.0, 1.0, None, None, 1.0)]
    own = Finals.of(rows, untrained=10.0)
    assert own.lrs.tolist() == [0.2]
    assert own.val.tolist() == [[1.0], [10.0]]  # no worse than the untrained model
    assert np.array_equal(own.unseen, [[1.0], [20.0]])
