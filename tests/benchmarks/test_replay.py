"""Trainings replayed on their ground truth: what a run is served as, and that picks are scored on other seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from benchmarks.replay import SETS, Case, Price, Replay, Truth, all_cases, replayed, select
from benchmarks.searches import SEARCHES
from benchmarks.truth_curve import TruthCurve

LRS = np.logspace(-5, 1, 25)


def curve(seeds: int = 3, wrong: int | None = None, best: float = -2.0, cliff: float = math.inf) -> TruthCurve:
    """A bowl whose lowest point is 0.01, with one seed that says 1e-4 instead; above the cliff runs diverge."""
    x = np.log10(LRS)
    losses = np.array([1 + 0.1 * (x - (best - 2 if seed == wrong else best)) ** 2 for seed in range(seeds)])
    diverged = np.tile(cliff < LRS, (seeds, 1))
    return TruthCurve(LRS, np.where(diverged, 10.0, losses), diverged, cap=10.0)


def truth(**how: Any) -> Truth:
    full, short = curve(**how), curve(seeds=2, best=-1.0)
    return Truth(Case("cancer-mlp", "momentum"), 100, 10.0, {100: full, 6: short})


def test_a_run_is_linear_in_the_log_of_the_rate_between_those_of_its_seed() -> None:
    run = Replay(truth(wrong=1))
    low, high = float(LRS[3]), float(LRS[4])
    ends = [run(lr, seed=1)[0] for lr in (low, high)]

    between, diverged = run(math.sqrt(low * high), seed=1)
    assert between == pytest.approx(sum(ends) / 2)
    assert not diverged
    assert run(low, seed=0)[0] != ends[0]


def test_a_run_diverges_where_the_nearer_rate_does_and_else_is_not_drawn_towards_it() -> None:
    run = Replay(truth(cliff=0.02))
    last, first = float(LRS[LRS < 0.02][-1]), float(LRS[LRS > 0.02][0])

    assert run(last**0.4 * first**0.6) == (10.0, True)
    assert run(last**0.6 * first**0.4) == run(last)


def test_a_short_run_is_that_of_the_nearest_horizon_and_costs_its_share() -> None:
    run = Replay(truth())

    assert run(0.1, 1 / 16)[0] < run(0.1)[0]  # short ones are best at 0.1
    assert run.price(1 / 16) == 0.06
    assert run.spent == pytest.approx(1.06)
    assert run.shares == (1.0, 0.06)


def test_a_pick_is_scored_on_the_seeds_that_were_not_trained_on() -> None:
    run = Replay(truth(wrong=0))
    run(0.1)

    assert run.score(1e-2) == pytest.approx(0.0)
    assert run.score(1e-4) == pytest.approx(0.4)  # the other seeds do not say so
    run(0.1, seed=1)
    run(0.1, seed=2)
    assert run.score(1e-2) > 0.03  # all were trained on: all count


def test_a_pick_beside_a_cliff_is_scored_by_the_runs_that_would_be_served() -> None:
    run = Replay(truth(cliff=0.02))
    last, first = float(LRS[LRS < 0.02][-1]), float(LRS[LRS > 0.02][0])

    assert run.score(last**0.6 * first**0.4) == run.score(last)
    assert run.score(last**0.4 * first**0.6) == pytest.approx(9.0)


def test_the_seed_of_a_search_turns_the_seeds_that_it_trains_on() -> None:
    seen = []

    def search(run: Replay, usual: float, price: Price, budget: float, seed: int) -> float:
        run(usual)
        seen.append((set(run.used), price(1.0), budget, seed))
        return usual

    found = [replayed(search, truth(), 3.0, seed) for seed in (0, 1, 4)]

    assert seen == [({0}, 1.0, 3.0, 0), ({1}, 1.0, 3.0, 1), ({1}, 1.0, 3.0, 4)]
    assert [(lr, spent) for lr, _, spent in found] == [(0.1, 1.0)] * 3


@pytest.mark.parametrize("name", [name for name, peer in SEARCHES.items() if len(peer.budgets) > 1])
def test_more_runs_come_closer(name: str) -> None:
    search, seeds = SEARCHES[name].search, range(2 if name == "optuna GP" else 6)
    regret = {budget: np.mean([replayed(search, truth(), budget, seed)[1] for seed in seeds]) for budget in (3, 15)}

    assert regret[15] < regret[3]
    assert regret[15] < 0.05


@pytest.mark.parametrize(
    ("name", "lr", "spent"),
    [
        ("usual rate", 0.1, 0),
        ("usual rate, a tenth, ten times", 0.01, 3),
        ("usual rate and half decades around", 0.01, 5),
    ],
)
def test_rates_around_the_usual_one_are_trained_once_each_and_the_best_is_taken(
    name: str, lr: float, spent: float
) -> None:
    (budget,) = SEARCHES[name].budgets

    picked, _, cost = replayed(SEARCHES[name].search, truth(), budget, 0)
    assert picked == pytest.approx(lr)
    assert cost == spent


def test_the_averaged_grid_trains_three_seeds_and_is_not_misled_by_one_lucky_run() -> None:
    lucky = truth(seeds=5)
    lucky.full.losses[1, 19] = 0.7  # one seed at a rate 56 times the best one
    (budget,) = SEARCHES["grid, averaged over three seeds"].budgets

    alone, *_ = replayed(SEARCHES["grid"].search, lucky, 30, 1)
    averaged, regret, spent = replayed(SEARCHES["grid, averaged over three seeds"].search, lucky, budget, 1)

    assert alone > 0.1
    assert averaged == pytest.approx(0.01, rel=0.5)
    assert (regret < 0.05, spent) == (True, 75)


def test_no_run_that_diverged_is_taken_while_another_did_not() -> None:
    lr, *_ = replayed(SEARCHES["usual rate, a tenth, ten times"].search, truth(cliff=0.02), 3, 0)

    assert lr == pytest.approx(0.01)


def test_the_sets_hold_the_built_in_trainings_and_eight_and_eight_others() -> None:
    count = {name: sum(case.set == name for case in all_cases()) for name in SETS}

    assert count == dict(zip(SETS, (24, 8, 8), strict=True))
    assert len(select(["unlike"])) == 16
    assert [case.name for case in select(["docs-gpt"])] == ["docs-gpt, AdamW"]
    with pytest.raises(SystemExit, match="no such task or set: docs"):
        select(["docs"])
