"""A comparison from end to end: equal budgets, fresh seeds, and no winner within the noise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.study.plane import Counting, make
from tests.study.runs import ran
from torch import nn

import stepsize
from stepsize.errors import InputError, ScheduleSyntaxError, UnknownNameError
from stepsize.study.comparing import CLASSICS, CompareProgress, coarse_rates, compare, fine_rates
from stepsize.study.comparison import Comparison, Contender, ContenderResult, Ranking, rank_contenders, steps_to
from stepsize.study.result import summarize
from stepsize.study.strategy import Job
from stepsize.training.runs import Run, Trial


def outcome(lr: float, value: float, seed: int = 0) -> Run:
    lost = math.isinf(value)
    return ran(Job(Trial(0, {"lr": lr}), 1.0, seed), value, 0.5 if lost else None, value, value, cost=1.0)


def standing(
    name: str, values: Sequence[float] | NDArray[np.float64], tuned: dict[float, float] | None = None
) -> ContenderResult:
    """A result at the best rate of ``tuned``, the losses by rate."""
    runs = tuple(
        replace(outcome(0.1, value, seed), losses=np.full(4, value), steps=np.arange(4))
        for seed, value in enumerate(values)
    )
    tried = tuple(outcome(lr, value) for lr, value in (tuned or {}).items())
    lr, tuning = (min(tuned, key=tuned.__getitem__), summarize(tried, untrained=5.0)) if tuned else (0.1, None)
    return ContenderResult(Contender(name), lr, tuning, tried, runs, {})


Heard = tuple[Comparison, list[CompareProgress]]


@pytest.fixture(scope="module")
def heard() -> Heard:
    """A small comparison and its progress."""
    seen: list[CompareProgress] = []
    return compare(make(), ["sgd", "adam"], trials=3, seeds=2, on_progress=seen.append), seen


def test_every_contender_has_the_same_budget_and_final_seeds_that_tuning_has_not_seen() -> None:
    counting = Counting()
    found = compare(make(), ["sgd", "momentum", "adam"], trials=5, seeds=2, workers=counting)
    per = {name: [s for s in counting.trained if s.changes.optimizer == name] for name in ("sgd", "momentum", "adam")}
    for name, settings in per.items():
        assert len(settings) == 5 + 2
        assert [s.seed for s in settings] == [0] * 5 + [1, 2]
        assert len({s.lr for s in settings[:5]}) == 5
        assert settings[5].lr == settings[6].lr
        assert settings[5].lr in {s.lr for s in settings[:5]}
        assert next(one.lr for one in found.contenders if one.contender.name == name) == settings[5].lr
    assert found.seeds == (1, 2)
    assert found.cost.runs == 21
    assert found.cost.full_runs == pytest.approx(21, rel=0.3)  # trainings; those that diverge end early


def test_each_is_trained_at_the_best_of_its_own_rates() -> None:
    found = compare(make(), ["sgd", "adam"], trials=7, seeds=2)
    for one in found.contenders:
        best = min(one.tuning_runs, key=lambda seen: math.inf if seen.diverged else seen.value)
        assert one.lr == best.trial.lr
        assert len(one.tuning_runs) == 7
    rates = {one.contender.name: one.lr for one in found.contenders}
    assert rates["sgd"] != rates["adam"]


def test_the_name_of_the_package_leads_to_it() -> None:
    assert stepsize.compare is compare
    assert set(CLASSICS) == {"sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw"}


def test_each_optimizer_is_tuned_with_each_schedule() -> None:
    found = compare(make(12), ["sgd", "adam"], schedules=["constant", "cosine"], trials=3, seeds=1)
    names = {standing.contender.name for standing in found.contenders}
    assert names == {"sgd with constant", "sgd with cosine", "adam with constant", "adam with cosine"}


def test_one_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    store = str(tmp_path / "c.db")
    asked: dict[str, Any] = {"optimizers": ["sgd", "adam"], "trials": 4, "seeds": 2, "store": store}
    with pytest.raises(KeyboardInterrupt):
        compare(make(), workers=Counting(stop=8), **asked)
    rest = Counting()
    found = compare(make(), workers=rest, **asked)
    assert len(rest.trained) == 2 * 6 - 8
    fresh = compare(make(), workers=Counting(), **(asked | {"store": None}))
    told, again = found.to_json(), fresh.to_json()
    assert [one["values"] for one in told["contenders"]] == [one["values"] for one in again["contenders"]]


def test_its_json_is_strict_and_complete(heard: Heard) -> None:
    told = json.loads(json.dumps(heard[0].to_json(), allow_nan=False))
    assert told["seeds"] == [1, 2]
    first = told["contenders"][0]
    assert {"lr", "value", "train_loss", "val_loss", "sensitivity", "lowest_diverged", "tuning_cost"} <= set(first)
    assert len(first["tuning_runs"]) == 3


def test_what_watches_sees_every_training_once(heard: Heard) -> None:
    seen = heard[1]
    done = [progress.done for progress in seen if progress.sweep.run is not None]
    assert done == list(range(1, 11))
    assert {progress.total for progress in seen} == {10}
    assert {(p.contender.name, p.phase) for p in seen} == {
        ("sgd", "tuning"), ("sgd", "final"), ("adam", "tuning"), ("adam", "final"),
    }  # fmt: skip
    assert seen[-1].best is not None


@pytest.mark.parametrize("kind", ["final", "rates", "steps"])
def test_it_draws(kind: Any, tmp_path: Path, heard: Heard) -> None:
    found, _ = heard
    path = found.plot(kind).save(tmp_path / "c.svg")
    text = (path if isinstance(path, Path) else tmp_path / "c.svg").read_text(encoding="utf-8")
    assert "adam" in text
    with pytest.raises(InputError, match="kind must be one of: final, rates, steps; got 'bars'"):
        found.plot("bars")  # type: ignore[arg-type]


def test_an_optimizer_that_estimates_its_rate_also_takes_part_untuned() -> None:
    pytest.importorskip("prodigyopt")
    found = compare(make(), ["prodigy"], trials=3, seeds=2)
    by_name = {one.contender.name: one for one in found.contenders}
    assert set(by_name) == {"prodigy", "prodigy (untuned)"}
    free = by_name["prodigy (untuned)"]
    assert (free.lr, free.tuning, free.answer, free.tuning_cost, free.open) == (1.0, None, None, 0.0, False)


def test_where_all_diverge_there_is_no_answer() -> None:
    steep = replace(make(), loss=lambda output, target: 1e30 * nn.functional.mse_loss(output, target))
    found = compare(steep, ["sgd"], trials=4, seeds=1)
    assert found.verdict == "no answer"
    assert "diverged, at every rate or on one of the seeds" in found.status
    assert found.contenders[0].lr is None
    assert found.best is None
    with pytest.raises(InputError, match="contenders must hold at least one run to be drawn"):
        found.plot()


def test_a_rate_that_is_not_settled_is_told() -> None:
    even = replace(make(), loss=lambda output, target: 1e-5 * nn.functional.mse_loss(output, target))
    found = compare(even, ["sgd"], trials=4, seeds=1)
    (one,) = found.contenders
    assert one.open
    assert one.answer is not None
    assert "No higher rate was clearly worse yet" in one.answer.reason
    assert found.status.endswith("The learning rate is not settled for sgd.")
    assert found.to_json()["contenders"][0]["answer"] == one.answer.to_json()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizers": []}, "optimizers must be a list of at least one name"),
        ({"optimizers": "sgd"}, "optimizers must be a list of at least one name"),
        ({"optimizers": ["sgd", "sgd"]}, "optimizers must not name one twice"),
        ({"schedules": []}, "schedules must be a list of at least one name"),
        ({"trials": 2}, "trials must be a whole number, at least 3; got 2"),
        ({"seeds": 0}, "seeds must be a whole number, at least 1"),
    ],
)
def test_bad_input_is_told_before_anything_is_trained(changes: dict[str, Any], message: str) -> None:
    counting = Counting()
    given: dict[str, Any] = {"optimizers": ["sgd"], "workers": counting}
    with pytest.raises(InputError, match=message):
        compare(make(), **(given | changes))
    assert not counting.trained


def test_names_that_nobody_knows_are_told_before_anything_is_trained() -> None:
    counting = Counting()
    with pytest.raises(UnknownNameError, match="adamm"):
        compare(make(), ["sgd", "adamm"], workers=counting)
    with pytest.raises(ScheduleSyntaxError, match="cosin"):
        compare(make(), ["sgd"], schedules=["cosine", "cosin"], workers=counting)
    assert not counting.trained


def test_rates_lie_around_the_best_and_beyond_an_edge() -> None:
    coarse = coarse_rates((1e-4, 1.0), 9)
    fine = fine_rates(coarse, coarse[2], 4)
    assert len(coarse) == 5
    assert all(coarse[1] < lr < coarse[3] and lr != coarse[2] for lr in fine)
    assert min(fine_rates(coarse, coarse[0], 3)) < coarse[0]
    assert max(fine_rates(coarse, coarse[-1], 3)) > coarse[-1]
    for trials in range(3, 13):
        grid = coarse_rates((1e-4, 1.0), trials)
        for best in (*grid, None):
            rates = fine_rates(grid, best, trials - len(grid))
            assert len({*rates, *grid}) == trials


def test_equals_have_no_winner() -> None:
    # Five equal contenders on three seeds, a thousand times: a winner in 5 % at most, give or take the counting.
    rng = np.random.default_rng(0)
    won = 0
    for _ in range(1000):
        seeds = rng.normal(size=3)
        told = rank_contenders([standing(f"c{n}", seeds + rng.normal(size=3)) for n in range(5)])
        won += told.verdict == "distinguishable"
    assert won <= 65


def test_a_real_difference_wins_although_seeds_differ_more() -> None:
    luck = np.array([0.0, 1.0, 3.0])
    noise = np.array([[0.01, -0.01, 0.0], [0.0, 0.02, -0.01], [-0.01, 0.0, 0.01]])
    told = rank_contenders(
        [
            standing("b", 1.3 + luck + noise[0]),
            standing("a", 1.0 + luck + noise[1]),
            standing("c", 1.5 + luck + noise[2]),
        ],
        untrained=9.0,
    )
    assert told.best is not None
    assert told.best.contender.name == "a"
    assert [one.contender.name for one in told.contenders] == ["a", "b", "c"]
    assert told.reason.startswith("a reaches 2.34 and is better than all others by more than the noise. A is better")


def test_a_lead_that_a_finer_search_may_undo_is_none() -> None:
    settled = {0.01: 2.0, 0.05: 1.4, 0.1: 1.3, 0.2: 1.4, 1.0: 2.0}  # little is expected between these
    slope = {0.01: 3.0, 0.1: 2.0, 1.0: 1.3}  # still falling by 0.7 a step at the edge
    values = [1.3, 1.31, 1.29]

    def judged(tuned: dict[float, float]) -> Ranking:
        rivals = [standing("a", [1.0, 1.01, 1.0]), standing("b", values, tuned), standing("c", [4.0, 4.01, 4.0])]
        return rank_contenders(rivals)

    assert judged(settled).verdict == "distinguishable"
    told = judged(slope)
    assert told.verdict == "not distinguishable"
    assert told.tied_with_best == ("a", "b")
    assert "A finer search of the rate of b could reverse this: raise the number of trials." in told.reason


def test_one_that_diverges_on_a_seed_comes_after_those_that_do_not() -> None:
    told = rank_contenders([standing("a", [0.1, math.inf, 0.1]), standing("b", [0.5, 0.5, 0.6])])
    assert [one.contender.name for one in told.contenders] == ["b", "a"]
    assert told.tied_with_best == ("b",)


def test_nobody_wins_who_learned_nothing() -> None:
    told = rank_contenders([standing("a", [0.7, 0.71]), standing("b", [0.8, 0.81])], untrained=0.69)
    assert told.verdict == "no answer"
    assert told.best is None
    assert "improved on the initial loss (0.69)" in told.reason


def test_a_single_seed_tells_no_winner() -> None:
    told = rank_contenders([standing("a", [0.1]), standing("b", [0.9])])
    assert told.verdict == "not distinguishable"
    assert "with a single seed, noise and difference cannot be separated" in told.reason


def _run(losses: NDArray[np.float64]) -> Run:
    return replace(outcome(0.1, 1.0), losses=losses, steps=np.arange(len(losses)))


def test_steps_to_a_target_do_not_count_a_lucky_batch() -> None:
    losses = np.full(100, 2.0)
    losses[10] = 0.0  # a lucky batch: the mean over five is still 1.6
    losses[60:] = 1.0
    assert steps_to(_run(losses), 1.0) == 65  # the first five in a row end with the 65th update
    assert steps_to(_run(losses), 0.5) == math.inf
    assert steps_to(_run(losses), math.nan) == math.inf
