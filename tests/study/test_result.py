"""From outcomes to the answer: the winner, what is known of it, and an honest "no answer" where there is none."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from tests.study.runs import ran

from stepsize.optimizers.usual import UNKNOWN, Usual, usual_rate
from stepsize.study.result import Summary, summarize
from stepsize.study.strategy import Job
from stepsize.training.runs import Run, Trial, Value

INF = math.inf
RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
FINE = np.arange(-4, 0.1, 0.125).tolist()
LOSSES = [0.9, 0.5, 0.3, 0.4, INF]


def outcome(
    lr: float,
    value: float,
    *,
    seed: int = 0,
    share: float = 1.0,
    number: int | None = None,
    train: float = math.nan,
    val: float = math.nan,
    **others: Value,
) -> Run:
    values: dict[str, Value] = {"lr": lr, **others}
    trial = Trial(abs(hash(frozenset(values.items()))) % 10**6 if number is None else number, values)
    lost = 0.3 if math.isinf(value) else None
    return ran(Job(trial, share, seed), value, lost, train, val, cost=share, seconds=2 * share)


def sweep(
    losses: Sequence[float] = LOSSES, *, seeds: int = 3, rates: Sequence[float] = RATES, noise: float = 0.01
) -> list[Run]:
    random = np.random.default_rng(0)
    luck = 0.05 * random.normal(size=seeds)
    return [
        outcome(lr, loss + luck[seed] + noise * float(random.normal()), seed=seed, number=number)
        for number, (lr, loss) in enumerate(zip(rates, losses, strict=True))
        for seed in range(seeds)
    ]


def test_the_setting_of_least_mean_wins_with_its_value_answer_and_cost() -> None:
    found = summarize(sweep(), untrained=2.3)

    assert found.best is not None
    assert found.best.values == {"lr": 1e-2}
    assert found.value == pytest.approx(0.3, abs=0.06)
    assert found.seeds == 3
    assert found.answer.lr is not None
    assert 3e-3 < found.answer.lr < 0.1
    assert found.answer.as_good is not None
    assert 1e-3 < found.answer.as_good[0] <= found.answer.lr <= found.answer.as_good[1] < 1.0
    assert found.curve is not None
    assert found.sensitivity is not None
    assert (found.diverged, found.lowest_diverged) == (3, 1.0)


def test_the_winner_is_compared_with_the_runner_up_on_shared_seeds() -> None:
    found = summarize(sweep())

    assert found.runner_up is not None
    assert found.runner_up.lr == 1e-1
    assert found.comparison is not None
    assert found.comparison.seeds == 3
    assert found.comparison.distinguishable
    assert found.status.startswith("The best configuration is lr 0.01 (0.3")
    assert str(found.answer) in found.status
    assert "It is better than the runner-up (lr 0.1) by 0." in found.status


def test_a_winner_that_noise_may_have_made_is_not_distinguishable() -> None:
    reached = {1e-3: (0.50, 0.52), 1e-2: (0.30, 0.36), 3e-2: (0.33, 0.35), 1e-1: (0.41, 0.40)}
    found = summarize([outcome(lr, value, seed=s) for lr, values in reached.items() for s, value in enumerate(values)])

    assert found.comparison is not None
    assert not found.comparison.distinguishable
    assert "are not distinguishable on 2 shared seeds" in found.status


def test_nobody_wins_by_having_been_trained_on_the_lucky_seed_only() -> None:
    runs = [outcome(lr, high - 0.2 * seed, seed=seed) for lr, high in ((1e-3, 1.0), (1e-1, 0.8)) for seed in (0, 1)]
    runs += [outcome(1e-2, 0.60, seed=0), outcome(1e-2, 0.40, seed=1), outcome(3e-2, 0.45, seed=1)]

    best = summarize(runs).best
    assert best is not None
    assert best.lr == 1e-2  # its mean, 0.50, is above 0.45


def test_a_setting_of_which_a_seed_diverged_does_not_win() -> None:
    runs = [*sweep(), outcome(3e-2, 0.1, seed=0), outcome(3e-2, INF, seed=1)]

    best = summarize(runs).best
    assert best is not None
    assert best.lr == 1e-2


def test_a_run_given_up_as_diverged_is_lost_whatever_value_it_shows() -> None:
    runs = sweep([0.9, 0.5, 0.3, 0.4, 0.8])
    given_up = ran(Job(Trial(9, {"lr": 3e-2}), 1.0, 0), 0.05, diverged_at=0.6)
    found = summarize([*runs, given_up])

    assert found.best is not None
    assert found.best.lr == 1e-2
    assert (found.diverged, found.lowest_diverged) == (1, 3e-2)


def test_trials_with_the_same_values_are_one_setting() -> None:
    runs = [outcome(1e-2, 0.3, seed=0, number=4), outcome(1e-2, 0.5, seed=1, number=9), outcome(1e-3, 0.6, number=1)]
    found = summarize(runs)

    assert found.best is not None
    assert (found.best.number, found.seeds) == (4, 2)
    assert found.value == pytest.approx(0.4)


def test_the_answer_is_that_of_the_rate_with_the_other_values_held_at_the_best() -> None:
    held = [outcome(10**x, (x + 2) ** 2 + 0.3, momentum=0.9) for x in (-3.0, -2.5, -2.0, -1.5, -1.0)]
    other = [outcome(10**x, (x + 3.5) ** 2 + 0.5, momentum=0.0) for x in (-4.0, -3.5, -3.0, -2.5)]
    together, alone = summarize(held + other, untrained=5.0), summarize(held, untrained=5.0)

    assert together.answer == alone.answer
    assert together.curve is not None
    assert len(together.curve.points) == 5
    assert together.best is not None
    assert together.best.values == {"lr": 1e-2, "momentum": 0.9}
    assert "lr 0.01, momentum 0.9" in together.status


def test_where_too_few_share_the_other_values_the_best_setting_answers_and_the_verdict_stays_open() -> None:
    both = [(x, seed) for x in FINE for seed in (0, 1)]
    runs = [outcome(10**x, 1 + 0.2 * (x + 2) ** 2, seed=seed, momentum=0.8 + 0.01 * x) for x, seed in both]
    found = summarize(runs, untrained=2.3)

    assert found.best is not None
    assert found.answer.lr == found.best.lr == 1e-2
    assert found.curve is not None
    assert len(found.curve.points) == len(runs)
    assert found.answer.as_good is not None
    assert found.answer.as_good[0] <= 1e-2 <= found.answer.as_good[1]
    assert found.answer.verdict == "open"
    assert found.answer.sure <= 0.5
    assert "with the other values of the best configuration" in found.answer.reason
    alone = summarize([outcome(10**x, 1 + 0.2 * (x + 2) ** 2, seed=seed) for x, seed in both], untrained=2.3)
    assert alone.answer.decided  # the same numbers, if nothing else varies


def test_the_usual_rate_is_that_of_the_best_settings_own_optimizer() -> None:
    def at(optimizer: str, usual: Usual) -> Summary:
        return summarize([outcome(1e-2, 0.3, optimizer=optimizer)], untrained=1.0, usual=usual)

    named = [at(name, UNKNOWN).curve for name in ("adamw", "momentum")]
    given = summarize([outcome(1e-2, 0.3)], untrained=1.0, usual=usual_rate("adamw")).curve
    assert named[0] is not None
    assert named[1] is not None
    assert given is not None
    assert np.array_equal(named[0].draws, given.draws)
    assert named[1].draws.shape != given.draws.shape or not np.array_equal(named[1].draws, given.draws)


def test_the_training_loss_chooses_separately() -> None:
    runs = [
        outcome(lr, val, train=train, val=val)
        for lr, val, train in ((1e-3, 0.5, 0.4), (1e-2, 0.3, 0.2), (1e-1, 0.4, 0.05))
    ]
    found = summarize(runs)

    assert found.train_optimum is not None
    assert found.train_optimum.lr == 1e-1
    assert summarize(sweep()).train_optimum is None


def no_answer(found: Summary, reason: str) -> bool:
    answer = found.answer
    return (
        (answer.verdict, answer.lr, answer.as_good, answer.sure) == ("no answer", None, None, 0.0)
        and reason in answer.reason
        and found.status == f"No answer. {answer.reason} {answer.next}"
    )


def test_without_outcomes_there_is_no_answer() -> None:
    found = summarize([], untrained=1.0)

    assert no_answer(found, "No run has finished")
    assert found.best is None
    assert (found.curve, found.sensitivity) == (None, None)


def test_runs_that_could_not_be_judged_are_no_answer() -> None:
    assert no_answer(summarize([outcome(1e-2, math.nan), outcome(1e-1, math.nan)]), "No run has finished")


def test_where_everything_diverged_the_lowest_rate_is_named() -> None:
    found = summarize([outcome(lr, INF) for lr in RATES], untrained=1.0)

    assert no_answer(found, "Every run diverged, down to lr 1e-4")
    assert found.best is None
    assert found.diverged == 5


def test_where_each_setting_diverged_on_a_seed_there_is_no_answer() -> None:
    runs = [outcome(lr, INF if seed else 0.3, seed=seed) for lr in RATES for seed in (0, 1)]

    assert no_answer(summarize(runs, untrained=1.0), "Every configuration diverged on at least one of its seeds")


def test_where_nothing_got_below_the_untrained_value_nothing_was_learned() -> None:
    runs = sweep([2.4, 2.35, 2.31, 2.5, 2.6], noise=0.0)

    assert no_answer(summarize(runs, untrained=2.1), "improved on the loss at initialization (2.1;")
    assert summarize(runs, untrained=2.6).answer.lr is not None


@pytest.mark.parametrize(
    ("losses", "side"), [([0.2, 0.4, 0.6, 0.8, 0.9], "lower"), ([0.9, 0.8, 0.6, 0.4, 0.2], "higher")]
)
def test_without_a_worse_run_on_one_side_of_the_best_the_answer_is_open(losses: list[float], side: str) -> None:
    found = summarize(sweep(losses), untrained=3.0)

    assert found.answer.verdict == "open"
    assert f"No {side} rate was clearly worse yet, so the best rate may be {side}." in found.answer.reason
    assert found.best is not None
    assert found.answer.lr is not None


def test_a_diverged_rate_above_the_best_closes_that_side() -> None:
    found = summarize(sweep([0.9, 0.6, 0.5, 0.3, INF]), untrained=3.0)

    assert "may be higher" not in found.answer.reason


def test_many_rates_and_seeds_around_the_best_settle_it() -> None:
    runs = [outcome(10**x, 1 + 0.2 * (x + 2) ** 2 + 0.002 * seed, seed=seed) for x in FINE for seed in (0, 1)]
    found = summarize(runs, untrained=2.3, usual=usual_rate("adamw"))

    assert found.answer.verdict == "settled"
    assert found.answer.lr is not None
    assert 5e-3 < found.answer.lr < 2e-2
    assert found.answer.sure >= 0.9


def test_without_validation_data_the_reason_says_that_the_training_loss_selected() -> None:
    assert "the training loss selected" in summarize(sweep(), untrained=2.3, validated=False).answer.reason
    assert "the training loss selected" not in summarize(sweep(), untrained=2.3).answer.reason


def test_a_single_setting_has_nothing_to_be_compared_with() -> None:
    found = summarize([outcome(1e-2, 0.3)], untrained=1.0)

    assert found.answer.verdict == "open"
    assert found.comparison is None
    assert "There is no other configuration to compare it with." in found.status


def test_json_holds_the_answer_in_plain_finite_values() -> None:
    plain = summarize(sweep(), untrained=2.3).to_json()
    again = json.loads(json.dumps(plain, allow_nan=False))

    assert {"best", "lr", "as_good", "sure", "verdict", "next", "curve", "sensitivity"} <= set(plain)
    assert again["best"]["lr"] == 1e-2
    assert again["best"]["seeds"] == 3
    assert again["train_optimum"] is None
    assert len(again["curve"]["lr"]) == len(again["curve"]["high"])
    assert json.dumps(summarize([]).to_json(), allow_nan=False)


def test_the_order_of_outcomes_changes_only_what_depends_on_it() -> None:
    runs = sweep()
    first, second = summarize(runs), summarize(runs[::-1])

    assert first.best == second.best
    assert first.value == pytest.approx(second.value)
    assert first.answer.lr == pytest.approx(second.answer.lr, rel=0.3)


def test_a_thousand_outcomes_of_a_joint_space_are_read_in_a_moment() -> None:
    random = np.random.default_rng(0)
    points: list[Mapping[str, float]] = [
        {"lr": 10 ** random.uniform(-5, 0), "momentum": random.uniform(0.5, 0.99)} for _ in range(1000)
    ]
    runs = [outcome(p["lr"], (math.log10(p["lr"]) + 2) ** 2 + p["momentum"], momentum=p["momentum"]) for p in points]
    began = time.process_time()
    found = summarize(runs, untrained=10.0)

    assert time.process_time() - began < 30  # about 1; threads that spin for each other count too
    assert found.best is not None
    assert abs(math.log10(found.best.lr) + 2) < 0.5
    assert found.answer.lr == found.best.lr


def test_a_thousand_runs_are_summarized_quickly_and_as_a_few_hundred_are() -> None:
    draw = random.Random(1)

    def runs(count: int) -> list[Run]:
        lrs = [10 ** draw.uniform(-5, 0) for _ in range(count)]
        jobs = [Job(Trial(number, {"lr": lr}), 1.0, 0) for number, lr in enumerate(lrs)]
        return [ran(job, 1 + 0.2 * (math.log10(job.trial.lr) + 2) ** 2 + draw.gauss(0, 0.02)) for job in jobs]

    def timed(outcomes: list[Run]) -> tuple[Summary, float]:
        took = []
        for _ in range(3):  # the least of three: other work on the machine only adds
            began = time.process_time()
            summarize(outcomes, untrained=3.0)
            took.append(time.process_time() - began)
        return summarize(outcomes, untrained=3.0), min(took)

    many, long = timed(runs(1_000))
    few, short = timed(runs(200))

    assert long < 8 * short  # a fit to all of them costs with the cube of their number, 125 times as much
    assert many.answer.lr is not None
    assert few.answer.lr is not None
    assert 5e-3 < few.answer.lr < 2e-2
    assert 5e-3 < many.answer.lr < 2e-2
