"""The rules that every schedule keeps: the whole catalog, and schedules put together at random."""

from __future__ import annotations

import math
import re
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.schedules.strategies import settled_schedules

from stepsize.errors import InputError, UnknownNameError
from stepsize.schedules import (
    SCHEDULES,
    Peaks,
    Schedule,
    constant,
    cooldown,
    cosine,
    decay,
    exponential,
    function,
    linear,
    multi_step,
    one_cycle,
    points,
    preview,
    step_decay,
    triangular,
    warm_restarts,
    warmup,
    wsd,
)

few = settings(max_examples=30)  # each draws whole trees of schedules
names = pytest.mark.parametrize("name", sorted(SCHEDULES))


def jumps(eta: Schedule, steps: int | None = None) -> tuple[int, ...]:
    return tuple(point.step for point in preview(eta, Peaks(lr=1.0), steps=steps).points if point.what == "jump")


def leaps(eta: Schedule, length: int) -> set[int]:
    """Return the updates behind a leap by looking everywhere: naive twin of ``jumps``."""
    places = np.arange(1, 8 * length) / 8
    change = np.abs(eta(places) - eta(places - 1e-7))
    return {math.ceil(place) for place in places[change > 1e-3].tolist()}


@names
def test_factors_are_finite_floats_from_0_up_one_for_each_update(name: str) -> None:
    eta = SCHEDULES[name].typical(777)

    factors = eta.factors()

    assert factors.dtype == np.float64
    assert factors.shape == (777,)
    assert np.isfinite(factors).all()
    assert factors.min() >= 0
    # triangles that shrink at every step have lost some of their height by the first peak
    assert factors.max() == pytest.approx(1.0, abs=0.15 if name == "exp-range" else 0.02)


@names
def test_a_step_alone_has_the_same_bits_as_within_any_array(name: str) -> None:
    eta = SCHEDULES[name].typical(333)
    steps = np.arange(340.0)
    alone = [eta(step) for step in range(340)]

    assert all(type(value) is float for value in alone)
    assert eta(steps).tolist() == alone
    assert eta(steps[::-1]).tolist() == alone[::-1]
    assert eta(steps.reshape(17, 20)).ravel().tolist() == alone
    assert eta(list(range(340))).tolist() == alone
    assert eta(steps.astype(np.int32)).tolist() == alone
    assert eta.factors().tolist() == alone[:333]


@given(settled_schedules(max_length=60))
def test_random_ones_have_finite_factors_and_the_same_bits_alone_and_together(eta: Schedule) -> None:
    length = eta.length or 0
    steps = np.concatenate([np.arange(length + 3.0), np.arange(length) + 0.37])

    together = eta(steps)

    assert np.isfinite(together).all()
    assert together.min() >= 0
    assert together.tolist() == [eta(step) for step in steps.tolist()]


@pytest.mark.parametrize("between", ["tanh", "waves", "cosine", "1-sqrt", None])
def test_points_have_the_same_bits_alone_and_together_also_along_shapes_that_stop_short(between: str | None) -> None:
    eta = points({0: 1.0, 5: 0.2, 9: 0.7}, between=between)

    assert eta(range(12)).tolist() == [eta(step) for step in range(12)]


@pytest.mark.parametrize("shape", [(), (1,), (0,), (1, 1), (2, 3), (0, 4), (2, 1, 3)])
def test_factors_have_the_shape_of_the_steps(shape: tuple[int, ...]) -> None:
    for eta in (wsd(50), one_cycle(50), points({0: 0.1, 9: 1.0}, between="cosine"), function(lambda t: t + 1.0)):
        assert np.shape(eta(np.full(shape, 7.0))) == shape


def test_steps_are_left_as_they_were_given() -> None:
    steps = np.arange(40.0)

    for eta in (constant(), wsd(30), points({0: 0.1, 9: 1.0}, between="rex"), linear(9).repeated(3), triangular(4)):
        eta(steps)[:] = 5.0

    assert steps.tolist() == list(range(40))


@given(settled_schedules(max_length=60))
@few
def test_behind_the_end_the_factor_stays_what_it_is_at_the_end(eta: Schedule) -> None:
    length = eta.length or 0

    assert eta([length + 0.5, length + 1, 2 * length, 10**9]).tolist() == [eta(length)] * 4


@given(settled_schedules(max_length=60), settled_schedules(max_length=60))
@few
def test_update_n_belongs_to_the_part_behind_one_of_n_steps(first: Schedule, second: Schedule) -> None:
    both, boundary = first.then(second), first.length or 0

    assert both(0) == first(0)
    assert both(boundary - 1) == first(boundary - 1)
    assert both(boundary) == second(0)
    assert both(boundary + (second.length or 0)) == second(second.length or 0)


@names
def test_jumps_are_those_seen_by_looking_everywhere_and_what_does_not_cycle_falls_after_its_peak(name: str) -> None:
    eta = SCHEDULES[name].typical(1_000)
    factors = eta.factors()
    after = np.diff(factors[int(factors.argmax()) :])

    assert set(jumps(eta)) == leaps(eta, 1_000)
    assert bool(jumps(eta)) == (name in ("step", "multi-step", "warm-restarts"))
    cycles = ("triangular", "triangular2", "exp-range", "warm-restarts", "waves")
    assert bool((after <= 1e-15).all()) == (name not in cycles)


@pytest.mark.parametrize(
    ("eta", "expected"),
    [
        (step_decay(3, steps=9), (3, 6)),  # 9 is behind the end
        (step_decay(3).first(9), (3, 6)),
        (step_decay(3, steps=9).extended(to=10), (4, 7)),  # at 3.33 and 6.67
        (warm_restarts(3, growth=1.5, steps=30), (3, 8, 15, 25)),  # at 3, 7.5, 14.25, 24.375
        (linear(10).repeated().over(30), (10, 20)),
        (linear(10).repeated(2, per_cycle=0.5), (10,)),
        (linear(4).then(linear(4)).times(step_decay(3)), (3, 4, 6)),
        (linear(4).then(linear(4)).extended(to=12, at=2), (6,)),  # 4 moves to 2 + 2 · 10/6 = 5.33
        (linear(4).then(linear(4)).extended(to=12, at=2, by="holding"), (8,)),
        (step_decay(3).cooled_down(at=4, over=5), (3,)),
        (multi_step([2, 6]).switched(linear(8), at=4), (2,)),
        (step_decay(1, gamma=0.1, steps=8), (1, 2, 3, 4, 5, 6, 7)),  # small ones too
        (points({0: 1.0, 3: 0.5, 5: 0.2}, between=None, steps=8), (3, 5)),
        (decay(10, shape="polynomial(0.5)").then(constant(5, factor=0)), ()),  # infinitely steep, but no leap
        (decay(1_000, shape="polynomial(0.1)").then(constant(5, factor=0)), ()),
        (warmup(10, shape="1-power(0.2)", endpoints="start").then(constant(5)), ()),
        (decay(10, shape="polynomial(0.5)", end=0.1).then(constant(5, factor=0)), (10,)),
        (constant(3).then(cooldown(3)), ()),
        (function(lambda t: 0.5**t, 5), ()),  # a function may do anything
    ],
    ids=str,
)
def test_leaps_are_found_where_they_are_and_nowhere_else(eta: Schedule, expected: tuple[int, ...]) -> None:
    assert jumps(eta) == expected
    assert jumps(step_decay(4), 9) == (4, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda eta: eta(-1), "^step must be a finite number, at least 0; got -1$"),
        (lambda eta: eta([0.0, -0.5]), "^step must be a finite number, at least 0; got "),
        (lambda eta: eta(math.nan), "^step must be a finite number, at least 0; got nan$"),
        (lambda eta: eta(math.inf), "^step must be a finite number, at least 0; got inf$"),
        (lambda eta: eta.factors(0), "^steps must be at least 1 step; got 0"),
        (lambda eta: eta.factors("5%"), "^steps must be a number of updates; got '5%'"),
        (lambda eta: constant().factors(), "^steps must be given for a schedule without an end; got None$"),
        (lambda eta: constant().tabulated(), "^steps must be given for a schedule without an end; got"),
        (lambda eta: exponential(2.0)(100_000), "^step has a factor that is larger than any float; got 100000"),
        (lambda eta: cosine()(3), "^schedule must be in steps; got \"'cosine' takes the rest of the horizon"),
        (lambda eta: cosine(warmup="5%").length, r"^schedule must be in steps; got 'decay: steps is 5%'. Call .over"),
    ],
)
def test_steps_that_no_schedule_has_are_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(InputError, match=message):
        call(linear(10))


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, None, "high", [1.0, 2.0]])
def test_a_function_with_a_bad_factor_is_refused_with_the_step_that_it_was_asked_for(bad: object) -> None:
    eta = function(lambda t: 1.0 if t < 3 else bad, 5)  # type: ignore[arg-type, return-value]

    assert eta(2.9) == 1.0
    message = f"^function must return a finite factor >= 0 (it was called with step 3); got {bad!r}"
    with pytest.raises(InputError, match=f"{re.escape(message)[1:]}$"):
        eta(3)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("cosin", "cosine"), ("warm-up", "warmup"), ("one_cycle", "one-cycle"), ("noan", "noam")]
)
def test_an_unknown_name_is_answered_with_the_nearest(wrong: str, nearest: str) -> None:
    with pytest.raises(
        UnknownNameError, match=f"schedule is not a known name; got '{wrong}'. Did you mean '{nearest}'"
    ):
        SCHEDULES[wrong]


SHORT = {  # what cannot be done within a few updates, and what the message says then
    "adam-warmup": "schedule must not be longer than the horizon; got '200 steps of",
    "multi-step": "must be before the end at step",
    "points": "positions must increase",
}


@names
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 50, 1_000])
def test_a_typical_one_fills_every_horizon_or_says_why_not(name: str, steps: int) -> None:
    impossible = name in SHORT and steps < {"adam-warmup": 200, "multi-step": 3, "points": 3}[name]
    if impossible:
        with pytest.raises(InputError, match=SHORT[name]):
            SCHEDULES[name].typical(steps)
        return

    eta = SCHEDULES[name].typical(steps)

    assert eta.length == steps
    assert np.isfinite(eta.factors()).all()


@names
def test_an_entry_tells_what_it_is(name: str) -> None:
    entry = SCHEDULES[name]

    assert entry.title
    assert entry.formula
    assert entry.written
    assert isinstance(entry.typical(500), Schedule)
    assert len({parameter.name for parameter in entry.parameters}) == len(entry.parameters)


@given(settled_schedules(max_length=60))
@few
def test_effective_steps_are_the_sum_of_the_factors(eta: Schedule) -> None:
    assert eta.effective_steps == pytest.approx(math.fsum(eta.factors().tolist()), rel=1e-12)


@given(settled_schedules(max_length=60), st.integers(0, 80))
@few
def test_a_table_has_the_factors_of_what_it_was_made_of(eta: Schedule, step: int) -> None:
    table = eta.tabulated()

    assert table.length == eta.length
    assert table.factors().tolist() == eta.factors().tolist()
    assert table(step) == eta(step)


def test_a_million_steps_take_a_fraction_of_a_second() -> None:
    eta = warmup("5%").then(decay("75%", shape="cosine", end=0.3)).then(decay(start=0.3, shape="1-sqrt"))
    eta = eta.over(1_000_000)
    took = []

    for _ in range(5):
        begin = time.process_time()
        eta.factors()
        took.append(time.process_time() - begin)

    assert min(took) < 0.25
