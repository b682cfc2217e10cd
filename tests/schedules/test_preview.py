"""What a preview shows: every value that an optimizer will be given, and the steps that tell most."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from tests.schedules.strategies import settled_schedules

from stepsize.errors import InputError
from stepsize.schedules import (
    HyperparameterSchedule,
    Peaks,
    Schedule,
    constant,
    cosine,
    exponential,
    linear,
    one_cycle,
    one_cycle_momentum,
    preview,
    step_decay,
    warm_restarts,
    warmup,
    wsd,
)

PEAKS = Peaks(lr=0.1, momentum=0.9, weight_decay=0.01)


def points_of(course: Schedule | HyperparameterSchedule | str, steps: int | None = None) -> list[tuple[int, str]]:
    return [(point.step, point.what) for point in preview(course, PEAKS, steps=steps).points]


@given(settled_schedules(max_length=40))
@settings(max_examples=40)
def test_a_preview_has_the_values_of_every_update_and_of_what_is_behind(eta: Schedule) -> None:
    seen = preview(eta, PEAKS)
    length = eta.length or 0

    assert seen.steps.tolist() == list(range(length + 1))
    assert seen.factors.tolist() == [eta(step) for step in range(length + 1)]
    assert seen.values.lr.tolist() == [0.1 * eta(step) for step in range(length + 1)]
    assert seen.effective_steps == pytest.approx(math.fsum(eta(step) for step in range(length)), rel=1e-12)
    assert [point.step for point in seen.points] == sorted({point.step for point in seen.points})
    assert seen.points[0].step == 0
    assert seen.points[-1].step == length


def test_a_preview_shows_all_that_moves_together() -> None:
    course = HyperparameterSchedule(
        one_cycle(10), momentum=one_cycle_momentum(10), weight_decay="independent", keep_effective=True
    )

    seen = preview(course, PEAKS)
    values = course.values(PEAKS, np.arange(11.0))

    assert seen.values.momentum is not None
    assert values.momentum is not None
    assert seen.values.momentum.tolist() == values.momentum.tolist()
    assert seen.values.effective_lr == pytest.approx(one_cycle(10)(np.arange(11)))  # 0.1 / (1 − 0.9) = 1
    assert seen.values.timescale == pytest.approx([1_000.0] * 11 / ((1 - values.momentum) / 0.1))


def test_key_points_are_the_ends_the_peak_and_where_parts_begin() -> None:
    assert points_of(wsd(100, warmup=5)) == [
        (0, "first update"),
        (5, "peak"),
        (80, "next phase begins"),
        (99, "last update"),
        (100, "after the end"),
    ]
    assert points_of(warmup(2).then(constant(3)).then(linear(5))) == [
        (0, "first update"), (2, "peak"), (5, "next phase begins"), (9, "last update"), (10, "after the end"),
    ]  # fmt: skip
    assert (
        points_of("cosine 10")
        == points_of(cosine(10))
        == [(0, "first update, peak"), (9, "last update"), (10, "after the end")]
    )
    assert points_of(constant(3)) == [(0, "first update"), (2, "last update"), (3, "after the end")]
    assert points_of(constant(1)) == [(0, "first update"), (1, "after the end")]


def test_leaps_are_key_points_also_of_what_never_ends() -> None:
    expected = [
        (0, "first update, peak"), (3, "jump"), (6, "jump"), (7, "last update"), (8, "after the end"),
    ]  # fmt: skip

    assert points_of(step_decay(3, steps=8)) == expected
    assert points_of(step_decay(3), steps=8) == expected
    assert (20, "jump") in points_of(linear(10).repeated(), steps=30)
    assert (8, "jump") in points_of(warm_restarts(3, growth=1.5), steps=12)  # at 7.5


def test_of_very_many_leaps_the_first_ones_are_shown() -> None:
    shown = [step for step, what in points_of(step_decay(1, gamma=0.9, steps=100)) if what == "jump"]

    assert 0 < len(shown) < 20
    assert shown == list(range(1, len(shown) + 1))


def test_the_number_of_updates_cuts_a_preview_or_lets_it_go_on() -> None:
    assert preview(linear(10), PEAKS, steps=4).factors == pytest.approx([1, 0.9, 0.8, 0.7, 0.6])
    assert preview(linear(2), PEAKS, steps=4).factors.tolist() == [1, 0.5, 0, 0, 0]
    assert preview(exponential(0.5), PEAKS, steps=2).factors.tolist() == [1, 0.5, 0.25]
    assert preview(linear(2), PEAKS, steps=4).effective_steps == 1.5
    assert all(step <= 4 for step, _ in points_of(wsd(100), steps=4))


@pytest.mark.parametrize(
    ("course", "steps", "message"),
    [
        (constant(), None, "^steps must be given for a schedule without an end; got None$"),
        (cosine(), None, "^schedule must be in steps; got "),
        (linear(9), 0, "^steps must (be|last) at least 1"),
        (linear(9), -3, "^steps must (be|last) at least 1"),
        (linear(9), 2.5, "^steps must be a whole number"),
        (linear(9), "50%", "^steps must be a number of updates; got '50%'"),
        (HyperparameterSchedule(linear(9), momentum=one_cycle_momentum()), None, "^schedule must be in steps"),
    ],
)
def test_what_cannot_be_previewed_is_refused(course: Any, steps: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        preview(course, PEAKS, steps=steps)


def test_a_course_that_does_not_fit_the_peaks_is_refused_before_anything_is_trained() -> None:
    with pytest.raises(InputError, match=r"^momentum cannot be scheduled without momentum or betas; got"):
        preview(HyperparameterSchedule(linear(9), momentum=one_cycle_momentum(9)), Peaks(lr=0.1))


def test_the_highest_rate_is_a_key_point_where_a_moving_momentum_takes_it_away_from_the_peak() -> None:
    course = HyperparameterSchedule(
        linear(10), momentum=one_cycle_momentum(10, low=0.5, high=0.9, shape="linear"), keep_effective=True
    )
    lr = preview(course, PEAKS).values.lr  # (1 − t / 10) · (0.1 + 0.4 t / 3), highest at update 3

    assert lr[3] == pytest.approx(0.35)
    assert (3, "highest lr") in points_of(course)
    assert not [
        what
        for _, what in points_of(HyperparameterSchedule(linear(10), momentum=one_cycle_momentum(10)))
        if "lr" in what
    ]
