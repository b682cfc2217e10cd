"""The answer that a model of the loss gives: rate, range, probability, verdict."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepsize.curves.answer import Answer, answer_from
from stepsize.curves.lr_model import LrModel, Point, fit_lr_model

UNTRAINED = 2.0
X = 0.05 * np.arange(-60, 1, dtype=np.float64)  # log10 of the rates: 1e-3 to 1


def model(
    centers: Sequence[float],
    points: Sequence[Point],
    *,
    width: float = 1.0,
    noise: float = 0.001,
    untrained: float = UNTRAINED,
) -> LrModel:
    """Return a model whose draws are parabolas in log10 lr with their lowest points at ``centers``."""
    draws = np.array([((X - center) / width) ** 2 - 1 for center in centers])
    unknown = (-math.inf, math.inf)
    return LrModel(X, draws, np.zeros(len(centers)), 1.0, noise, untrained, True, unknown, tuple(points))


def runs(*rates: float, best: float = 0.01, width: float = 1.0, share: float = 1.0) -> list[Point]:
    return [
        Point(lr, UNTRAINED * math.exp((math.log10(lr / best) / width) ** 2 - 1), share, seed=number % 2)
        for number, lr in enumerate(rates)
    ]


AROUND = (0.001, 0.006, 0.01, 0.015, 0.1)  # three near the best, one far below and one far above


def test_a_sharp_posterior_with_runs_on_both_sides_is_settled() -> None:
    answer = answer_from(model([-2.0] * 20, runs(*AROUND)))
    assert answer.verdict == "settled"
    assert answer.decided
    assert answer.lr == 0.01
    assert answer.sure == 1.0
    assert answer.excess == pytest.approx(0.0, abs=1e-9)
    # The excess exp(d^2) - 1 stays within 2% up to d = 0.1407, the second tabulated rate on each side.
    assert answer.as_good == (0.0079, 0.013)
    assert answer.next == "Train with lr 0.01."
    assert answer.reason == "The final loss is within 2% of the best with a probability of 100%."
    assert str(answer) == (
        "lr 0.01, as good from 0.0079 to 0.013. Settled: the final loss is within 2% of the best with a probability of "
        "100%."
    )


def test_the_rate_has_least_expected_excess_not_the_most_votes() -> None:
    """Most draws put the best rate at 0.01, but those that do not lose much there."""
    centers = [-2.0] * 12 + [-2.6] * 8
    found = model(centers, runs(*AROUND))
    answer = answer_from(found)
    assert answer.lr is not None
    assert 0.004 < answer.lr < 0.01
    assert answer.excess == pytest.approx(found.expected.min())
    assert answer.verdict == "open"


def test_shorter_runs_can_show_that_a_side_is_worse() -> None:
    """No full run far from the best, but the model knows a clearly worse rate on either side from shorter runs."""
    alike = [replace(point, value=UNTRAINED / math.e) for point in runs(0.006, 0.01, 0.015)]
    near = model([-2.0] * 20, alike)
    assert answer_from(near).verdict == "open"
    for worse, verdict in (((-3.0, -1.0), "settled"), ((-3.0, math.inf), "open"), ((-1.5, -1.0), "open")):
        assert answer_from(replace(near, worse=worse)).verdict == verdict, worse


def test_until_is_what_as_good_means_and_the_noise_of_a_run_where_it_is_more() -> None:
    sharp = model([-2.0] * 20, runs(*AROUND))
    narrow, wide = answer_from(sharp, until=0.001), answer_from(sharp, until=0.2)
    assert narrow.as_good
    assert wide.as_good
    assert wide.as_good[0] < narrow.as_good[0] <= narrow.as_good[1] < wide.as_good[1]
    assert (narrow.tolerance, wide.tolerance) == (0.001, 0.2)

    noisy = answer_from(replace(sharp, noise=0.05))
    assert noisy.tolerance == noisy.noise == 0.05
    assert "within 5% (the noise of a single run)" in noisy.reason


@pytest.mark.parametrize(
    ("rates", "side"),
    [((0.006, 0.01, 0.015, 0.1), "lower"), ((0.001, 0.006, 0.01, 0.015), "higher")],
)
def test_it_stays_open_while_no_run_beside_was_worse(rates: tuple[float, ...], side: str) -> None:
    near = [replace(point, value=UNTRAINED / math.e) if 0.005 < point.lr < 0.02 else point for point in runs(*rates)]
    answer = answer_from(model([-2.0] * 20, near))
    assert answer.verdict == "open"
    assert answer.reason == f"No {side} rate was clearly worse yet, so the best rate may be {side}."
    assert "larger budget" in answer.next


def test_a_diverged_run_counts_as_worse() -> None:
    above = Point(0.1, math.inf, diverged=True)
    near = [replace(point, value=UNTRAINED / math.e) if point.lr > 0.005 else point for point in runs(*AROUND[:-1])]
    assert answer_from(model([-2.0] * 20, near)).verdict == "open"
    assert answer_from(model([-2.0] * 20, [*near, above])).verdict == "settled"


def test_it_stays_open_while_too_few_runs_are_near() -> None:
    assert answer_from(model([-2.0] * 20, runs(0.001, 0.01, 0.1))).verdict == "open"


def test_it_stays_open_while_the_draws_disagree() -> None:
    answer = answer_from(model([-2.0] * 8 + [-2.5] * 6 + [-1.5] * 6, runs(*AROUND)))
    assert answer.verdict == "open"
    assert answer.sure < 0.9
    assert f"with a probability of {answer.sure:.0%} only" in answer.reason


def test_a_range_of_a_factor_of_ten_is_flat_without_a_worse_run_beside() -> None:
    level = [replace(point, value=UNTRAINED / math.e) for point in runs(*AROUND)]
    answer = answer_from(model([-2.0] * 20, level, width=10.0))
    assert answer.verdict == "flat"
    assert answer.decided
    assert answer.as_good
    assert answer.as_good[1] / answer.as_good[0] >= 10
    assert answer.reason.startswith("Any rate from ")


def test_runs_shorter_than_full_ones_never_settle() -> None:
    answer = answer_from(model([-2.0] * 20, runs(*AROUND, share=0.25)))
    assert answer.verdict == "open"
    assert answer.sure <= 0.5
    assert answer.reason.startswith("Only runs of up to 25% of the steps were trained")
    assert answer.next.endswith("with full runs.")


@pytest.mark.parametrize(("value", "diverged"), [(0.8, True), (1.9, False)])
def test_a_rate_is_recommended_below_one_that_failed_on_some_seed(value: float, diverged: bool) -> None:
    lucky = runs(*AROUND)
    unlucky = replace(lucky[2], seed=7, value=value, diverged=diverged)  # the best rate, on another seed
    assert answer_from(model([-2.0] * 20, lucky)).lr == 0.01
    assert answer_from(model([-2.0] * 20, [*lucky, unlucky])).lr == 0.0079


def test_no_rate_is_as_good_that_is_not_below_one_that_failed() -> None:
    unsure = [-3.0, -2.0, -1.0, -0.2] * 5  # a quarter of the curves are as good at 0.6 as anywhere
    known = [*runs(0.001, 0.006, 0.01, 0.015), Point(0.1, 1.9, seed=1)]

    answer = answer_from(model(unsure, known, width=3.0))

    assert answer.as_good is not None
    assert answer.as_good[1] < 0.1


def test_the_rate_of_the_only_full_run_is_not_recommended_if_it_failed() -> None:
    short = runs(0.001, 0.006, 0.01, best=0.01, share=0.25)
    answer = answer_from(model([-1.5] * 20, [*short, Point(0.03, 1.0, diverged=True)]))
    assert answer.lr is not None
    assert answer.lr <= 0.01


def test_no_rate_below_the_tried_or_above_the_highest_that_worked_is_recommended() -> None:
    low = answer_from(model([-2.9] * 20, runs(0.01, 0.03, 0.1, best=10**-2.9, width=3)))
    assert low.lr == 0.01
    fell = Point(0.1, math.inf, diverged=True)
    high = answer_from(model([-0.2] * 20, [*runs(0.001, 0.01, best=0.5, width=4), fell], width=4))
    assert high.lr == 0.01


@pytest.mark.parametrize(
    ("points", "reason", "todo"),
    [
        ([], "No run has finished yet.", "larger budget"),
        ([Point(lr, math.inf, diverged=True) for lr in (1e-3, 1e-2)], "Every run diverged, down to lr 0.001.", "Lower"),
        ([Point(lr, math.nan) for lr in (1e-3, 1e-2)], "Every run diverged", "Lower"),
        (
            [Point(lr, 1.999) for lr in (1e-3, 1e-2, 0.1)],
            "No rate from 0.001 to 0.1 improved on the loss at initialization",
            "steps",
        ),
        ([Point(1e-3, 2.5)], "improved on the loss at initialization (2; best run 2.5)", "steps"),
    ],
)
def test_without_a_run_that_learned_there_is_no_answer(points: list[Point], reason: str, todo: str) -> None:
    answer = answer_from(model([-2.0], points))
    assert answer.verdict == "no answer"
    assert (answer.lr, answer.as_good, answer.sure, answer.decided) == (None, None, 0.0, False)
    assert reason in answer.reason
    assert todo in answer.next
    assert str(answer).startswith("No answer: ")
    assert json.loads(json.dumps(answer.to_json(), allow_nan=False))["lr"] is None


def test_the_training_loss_as_a_judge_is_told() -> None:
    answer = answer_from(model([-2.0] * 20, runs(*AROUND)), validated=False)
    assert answer.reason.endswith("No validation data: the training loss selected, which does not see overfitting.")


def test_values_below_zero_are_compared_by_difference() -> None:
    """Accuracies, turned so that lower is better: the excess is relative to the improvement."""
    points = [Point(lr, -0.9 + 0.3 * math.log10(lr / 0.01) ** 2) for lr in (0.001, 0.007, 0.01, 0.014, 0.1)]
    answer = answer_from(fit_lr_model(points, usual=1e-2, untrained=-0.1))
    assert answer.lr is not None
    assert 0.005 < answer.lr < 0.02
    assert answer.as_good
    assert answer.as_good[0] <= answer.lr <= answer.as_good[1]


@given(
    centers=st.lists(st.floats(-3, 0), min_size=1, max_size=30),
    rates=st.lists(st.floats(-3, 0), min_size=1, max_size=8),
    best=st.floats(-3, 0),
    until=st.floats(0.001, 0.5),
    share=st.sampled_from([0.25, 1.0]),
)
def test_whatever_is_known_the_answer_holds_together(
    centers: list[float], rates: list[float], best: float, until: float, share: float
) -> None:
    points = runs(*(10**x for x in rates), best=10**best, share=share)
    answer: Answer = answer_from(model(centers, points), until=until)
    if answer.lr is None:
        assert answer.verdict == "no answer"
        return
    assert answer.as_good is not None
    assert answer.as_good[0] <= answer.lr <= answer.as_good[1]
    assert 0 <= answer.sure <= 1
    assert answer.tolerance >= until
    assert answer.excess >= 0
    assert answer.lr == float(f"{answer.lr:.1e}"), "two digits"
    if answer.decided:
        assert answer.sure >= 0.9
        assert share == 1.0


@pytest.mark.parametrize(("lucky", "verdict"), [(-1.0, "open"), (-0.5, "settled")])
def test_an_unlucky_seed_does_not_close_a_side(lucky: float, verdict: str) -> None:
    """The lowest rate is bad on one seed; only if it is bad on the other one too, it was clearly worse."""
    best = UNTRAINED / math.e
    near = [replace(point, value=best) if point.lr < 0.1 else point for point in runs(*AROUND) if point.lr > 0.001]
    low = [Point(0.001, UNTRAINED * math.exp(height), seed=seed) for seed, height in enumerate((-0.1, lucky))]
    assert answer_from(model([-2.0] * 20, [*near, *low])).verdict == verdict


@pytest.mark.parametrize(
    ("full", "short", "lr"),
    [
        ((0.01, 0.03), (0.001, 0.1), 0.0079),  # 10^-2.1: short runs point too high
        ((0.01, 0.03), (0.01, 0.1), 0.01),  # but not below what was tried
        ((0.01, 0.03, 0.1), (0.001,), 0.01),  # three full runs speak for themselves
        ((), (0.001, 0.01, 0.1), 0.0079),
    ],
)
def test_with_few_full_runs_the_answer_is_a_little_lower(
    full: Sequence[float], short: Sequence[float], lr: float
) -> None:
    points = runs(*full) + runs(*short, share=0.25)
    assert answer_from(model([-2.0] * 20, points)).lr == lr
