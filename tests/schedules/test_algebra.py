"""The verbs that put schedules together and change them, each against a naive twin and its laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.schedules.strategies import settled_schedules

from stepsize.errors import InputError
from stepsize.schedules import (
    Schedule,
    constant,
    cooldown,
    cosine,
    decay,
    exponential,
    function,
    linear,
    points,
    step_decay,
    triangular,
    warm_restarts,
    warmup,
    wsd,
)

ended = settled_schedules(max_length=40)
few = settings(max_examples=25)  # each draws whole trees of schedules
shapes = st.sampled_from(["linear", "cosine", "1-sqrt", "rex", "halving", "1-square", "polynomial(1.5)"])


def long(eta: Schedule) -> int:
    length = eta.length
    assert length is not None
    return length


def compare(new: Schedule, twin: Callable[[float], float], length: int) -> None:
    """Hold ``new`` against a function of one step at updates, between them, and behind the end."""
    steps = [*range(length + 3), *(step + 0.25 for step in range(length))]
    expected = [twin(min(step, length)) for step in steps]

    assert new.length == length
    assert new(steps).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)


# ---------------------------------------------------------------- then, times


@given(ended, ended)
@few
def test_then_is_one_after_the_other(first: Schedule, second: Schedule) -> None:
    boundary = long(first)

    compare(
        first.then(second),
        lambda t: first(t) if t < boundary else second(t - boundary),
        boundary + long(second),
    )


@given(ended, ended, ended)
@few
def test_then_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    left, right = a.then(b).then(c), a.then(b.then(c))

    assert left == right
    assert hash(left) == hash(right)
    assert left.factors().tolist() == right.factors().tolist()
    assert left.length == long(a) + long(b) + long(c)


def test_an_endless_part_in_the_middle_takes_the_rest_even_if_it_is_the_last_one_too() -> None:
    endless = step_decay(3)
    plan = endless.then(endless)

    assert not plan.resolved
    with pytest.raises(InputError, match=r"^schedule must be in steps; got \"'step 3' takes the rest of the horizon"):
        plan(3)
    assert constant().then(linear(4)).over(6).factors().tolist() == [1, 1, 1, 0.75, 0.5, 0.25]


@given(ended, st.floats(0.5, 2))
@few
def test_times_is_the_product_step_by_step(eta: Schedule, gamma: float) -> None:
    law = exponential(gamma, every=10)

    compare(eta.times(eta), lambda t: eta(t) * eta(t), long(eta))
    compare(eta.times(law), lambda t: eta(t) * gamma ** (t / 10), long(eta))
    assert law.times(eta).factors().tolist() == eta.times(law).factors().tolist()


def test_two_that_never_end_have_an_endless_product() -> None:
    eta = exponential(0.5, every=10).times(step_decay(10, gamma=0.5))

    assert eta.length is None
    assert eta([0, 10, 20]).tolist() == [1.0, 0.25, 0.0625]


@given(st.integers(1, 60), st.integers(1, 60))
def test_times_of_unequal_lengths_is_refused(one: int, other: int) -> None:
    assume(one != other)

    with pytest.raises(
        InputError, match=r"^times needs schedules of one length; got '\d+ steps? and \d+ steps?'. Continue "
    ):
        linear(one).times(cosine(other))


# --------------------------------------------------- scaled, floored, first, repeated


@given(ended, st.floats(0.01, 10))
@few
def test_scaled_multiplies_and_floored_lifts(eta: Schedule, number: float) -> None:
    compare(eta.scaled(number), lambda t: number * eta(t), long(eta))
    compare(eta.floored(number), lambda t: max(number, eta(t)), long(eta))


@given(ended, st.data())
@few
def test_first_is_the_beginning(eta: Schedule, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, long(eta)))

    compare(eta.first(steps), eta, steps)


@given(ended.filter(lambda eta: long(eta) > 1), st.data())
@few
def test_after_is_what_is_left_of_the_beginning(eta: Schedule, data: st.DataObject) -> None:
    steps = data.draw(st.integers(1, long(eta) - 1))

    compare(eta.after(steps), lambda t: eta(t + steps), long(eta) - steps)
    compare(eta.first(steps).then(eta.after(steps)), eta, long(eta))
    assert constant().after(steps)(9) == 1


def test_first_gives_an_endless_one_an_end() -> None:
    assert triangular(2, low=0.0).first(3).factors().tolist() == [0.0, 0.5, 1.0]
    assert triangular(2, low=0.0).first(3)(99) == 0.5


@given(settled_schedules(max_length=25), st.integers(1, 5), st.floats(0.2, 1.5))
@few
def test_repeated_is_then_with_itself_scaled(eta: Schedule, times: int, per_cycle: float) -> None:
    each = long(eta)
    plan = eta
    for i in range(1, times):
        plan = plan.then(eta.scaled(per_cycle**i))

    compare(eta.repeated(times, per_cycle=per_cycle), plan, times * each)


@given(settled_schedules(max_length=25), st.integers(1, 100))
@few
def test_repeated_for_ever_goes_round(eta: Schedule, step: int) -> None:
    again = eta.repeated()

    assert again.length is None
    assert again(step) == eta(step % long(eta))


def test_what_goes_round_and_ends_with_a_cycle_does_not_rise_behind_it() -> None:
    for eta in (linear(10).repeated(2), linear(10).repeated().over(20), linear("50%").repeated(2).over(20)):
        assert eta([0, 10, 19, 20, 25]) == pytest.approx([1, 1, 0.1, 0, 0])
    assert linear(10).repeated().over(25)([20, 25, 90]) == pytest.approx([1, 0.5, 0.5])
    assert linear().repeated(3, per_cycle=0.5).over(10) == linear(3).then(linear(4).scaled(0.5)).then(
        linear(3).scaled(0.25)
    )


# -------------------------------------------------------------------- stretched


@given(ended, st.integers(1, 200))
@few
def test_stretched_runs_through_the_same_factors_at_another_pace(eta: Schedule, to: int) -> None:
    length = long(eta)
    new = eta.extended(to=to)

    compare(new, lambda t: eta(t * length / to), to)
    assert new(0) == eta(0)
    assert new(to) == eta(length)  # to the last bit, which a root or a leap at the end would make much of


def test_stretching_ends_at_the_end_to_the_last_bit() -> None:
    for length in range(1, 40):
        for to in range(1, 60):
            assert linear(length, start=0.0, end=1.0).extended(to=to)(to) == 1.0
            assert step_decay(length).first(length).extended(to=to)(to) == 0.1


@given(ended, st.integers(1, 5), st.integers(1, 5))
@few
def test_stretched_twice_is_stretched_once(eta: Schedule, times: int, more: int) -> None:
    middle, to = times * long(eta), times * more * long(eta)

    twice, once = eta.extended(to=middle).extended(to=to), eta.extended(to=to)

    # where it is whole in the one that was stretched; elsewhere a leap may be rounded to either side
    whole = np.arange(0, to + 1, times * more)
    assert twice(whole).tolist() == once(whole).tolist() == [*eta.factors().tolist(), eta(long(eta))]


def test_stretching_keeps_leaps_at_their_updates() -> None:
    for times in range(1, 50):
        factors = step_decay(7, steps=49).extended(to=49 * times).factors()
        assert (1 + np.flatnonzero(np.diff(factors))).tolist() == [*range(7 * times, 49 * times, 7 * times)]


# --------------------------------------------------------- changes of course


@given(ended, st.integers(1, 60), shapes, st.floats(0, 2), st.data())
@few
def test_a_cooldown_starts_from_wherever_the_factor_is(
    eta: Schedule, over: int, shape: str, end: float, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, long(eta)))
    new = eta.cooled_down(at=at, over=over, shape=shape, end=end)
    down = decay(over, shape=shape, start=eta(at), end=end)

    compare(new, lambda t: eta(t) if t < at else down(t - at), at + over)
    assert new(np.arange(at)).tolist() == eta(np.arange(at)).tolist()
    assert new(at) == eta(at)
    assert new(at + 1e-9) == pytest.approx(eta(at), abs=1e-3)
    assert new(at + over) == end


def test_a_cooldown_without_a_beginning_ends_with_the_horizon() -> None:
    eta = constant().cooled_down(over="25%", shape="linear").over(8)

    assert eta.factors().tolist() == [1, 1, 1, 1, 1, 1, 1, 0.5]
    assert cosine().cooled_down(over=2).over(8)(5) == cosine(8)(5)


@given(ended, st.integers(1, 120), st.data())
@few
def test_extended_by_stretching_keeps_the_past_and_slows_the_rest(
    eta: Schedule, more: int, data: st.DataObject
) -> None:
    length = long(eta)
    at = data.draw(st.integers(0, length - 1))
    to = at + more
    new = eta.extended(to=to, at=at)

    compare(new, lambda t: eta(t) if t < at else eta(at + (t - at) * (length - at) / (to - at)), to)
    assert new(np.arange(at + 1)).tolist() == eta(np.arange(at + 1)).tolist()
    assert new(to) == eta(length)


@given(ended, st.integers(0, 120), st.data())
@few
def test_extended_by_holding_keeps_the_past_and_pauses(eta: Schedule, more: int, data: st.DataObject) -> None:
    length = long(eta)
    at = data.draw(st.integers(0, length - 1))
    to = length + more
    new = eta.extended(to=to, at=at, by="holding")

    def twin(t: float) -> float:
        return eta(t) if t < at else eta(at) if t < at + more else eta(t - more)

    compare(new, twin, to)
    assert new(np.arange(at + 1)).tolist() == eta(np.arange(at + 1)).tolist()
    assert new(to) == eta(length)


def test_extending_to_its_own_length_changes_nothing() -> None:
    for by in ("stretching", "holding"):
        same = cosine(50, warmup=5).extended(to=50, at=20, by=by)
        assert same.factors().tolist() == cosine(50, warmup=5).factors().tolist()


def test_holding_lengthens_the_stable_part_of_a_wsd_and_keeps_its_cooldown() -> None:
    longer = wsd(100, warmup=10, cooldown=20).extended(to=150, at=60, by="holding")

    assert longer.factors().tolist() == wsd(150, warmup=10, cooldown=20).factors().tolist()


@given(ended, ended, st.data())
@few
def test_switched_takes_the_new_course_without_a_leap(eta: Schedule, other: Schedule, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, min(long(eta), long(other))))
    assume(eta(at) > 1e-6)
    assume(other(at) > 1e-6)
    new = eta.switched(other, at=at)
    ratio = eta(at) / other(at)

    compare(new, lambda t: eta(t) if t < at else ratio * other(t), long(other))
    assert new(np.arange(at)).tolist() == eta(np.arange(at)).tolist()
    assert new(at) == pytest.approx(eta(at), rel=1e-15)


def test_changes_of_course_add_up() -> None:
    eta = cosine(100, warmup=5).extended(to=200, at=50).cooled_down(at=120, over=30)

    assert eta.length == 150
    assert eta([10, 49]).tolist() == cosine(100, warmup=5)([10, 49]).tolist()
    assert eta(100) == pytest.approx(cosine(100, warmup=5)(50 + 50 / 3), abs=1e-12)
    assert eta([120, 150]) == pytest.approx([cosine(100, warmup=5)(50 + 70 / 3), 0], abs=1e-12)


def test_durations_in_other_units_settle_with_the_horizon() -> None:
    assert linear(10).extended(to="50%").then(constant()).over(40).factors()[:20].tolist() == (
        linear(10).extended(to=20).factors().tolist()
    )
    assert warm_restarts(10).first("50%").then(constant()).over(60)(25) == warm_restarts(10)(25)
    assert cosine(100).extended(to="100%", at="25%").over(200) == cosine(100).extended(to=200, at=50)
    assert cosine().switched(linear(), at="50%").over(80) == cosine(80).switched(linear(80), at=40)
    assert constant().cooled_down(at="0%", over="100%").over(8) == constant(8).cooled_down(at=0, over=8)


# -------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("verb", "arguments", "message"),
    [
        (
            "then",
            {"other": lambda t: 1.0},
            "^other must be a Schedule; got .*Wrap a function with stepsize.schedules.fu",
        ),
        ("times", {"other": 0.5}, "^other must be a Schedule; got 0.5"),
        ("switched", {"other": None, "at": 3}, "^other must be a Schedule; got None"),
        ("scaled", {"by": 0}, "^by must be a finite number, above 0; got 0$"),
        ("scaled", {"by": math.nan}, "^by must be a finite number, above 0; got nan$"),
        ("scaled", {"by": "2"}, "^by must be a finite number, above 0; got '2'$"),
        ("floored", {"at": -0.1}, "^at must be a finite number, at least 0; got -0.1$"),
        ("repeated", {"times": 0}, "^times must be a whole number, at least 1, or None for endless; got 0$"),
        ("repeated", {"times": 2.0}, "^times must be a whole number, at least 1, or None for endless; got 2.0$"),
        ("repeated", {"times": True}, "^times must be a whole number, at least 1, or None for endless; got True$"),
        ("repeated", {"times": 2, "per_cycle": 0}, "^per_cycle must be a finite number, above 0; got 0$"),
        ("first", {"steps": 11}, "^steps must not be after the end of the schedule at step 10; got 11$"),
        ("after", {"steps": 10}, "^steps must leave at least 1 step of the 10 that there are; got 10$"),
        ("first", {"steps": 0}, "^steps must be at least 1 step; got 0"),
        ("extended", {"to": 0}, "^to must be at least 1 step; got 0"),
        ("cooled_down", {"at": 11, "over": 5}, "^at must not be after the end of the schedule at step 10; got 11$"),
        ("cooled_down", {"at": -1, "over": 5}, "^at must be at least 0 steps; got -1"),
        ("cooled_down", {"at": 5, "over": 0}, "^over must be at least 1 step; got 0"),
        ("cooled_down", {"at": 5, "over": 5, "end": -1}, "^end must be a finite number, at least 0; got -1$"),
        ("cooled_down", {"at": 5, "over": 5, "shape": "sqrt"}, "^shape is not a known name; got 'sqrt'. Did you mean "),
        (
            "cooled_down",
            {"at": 5, "over": 5, "shape": "exponential"},
            "^shape cannot start or end at the factor 0; got",
        ),
        (
            "cooled_down",
            {"at": 10, "over": 5, "shape": "exponential", "end": 0.1},
            "^shape cannot start or end at the f",
        ),
        ("extended", {"to": 20, "at": 10}, "^at must be before the end of the schedule at step 10; got 10$"),
        ("extended", {"to": 5, "at": 5}, "^to must be after step 5, where the schedule changes; got 5$"),
        (
            "extended",
            {"to": 9, "at": 5, "by": "holding"},
            "^to must be at least the present 10 steps to hold the rate",
        ),
        ("extended", {"to": 20, "by": "magic"}, "^by must be one of: stretching, holding; got 'magic'$"),
        (
            "switched",
            {"other": linear(20), "at": 11},
            "^at must not be after the end of the schedule at step 10; got",
        ),
        (
            "switched",
            {"other": linear(4), "at": 5},
            "^at must not be after the end of the schedule at step 4; got 5$",
        ),
        (
            "switched",
            {"other": linear(20), "at": 10},
            "^at must be a step at which the present schedule is not at factor 0; got ",
        ),
        (
            "switched",
            {"other": linear(5), "at": 5},
            "^at must be a step at which the new schedule is not at factor 0; got 5. Cho",
        ),
    ],
)
def test_a_verb_refuses_what_it_cannot_do(verb: str, arguments: dict[str, Any], message: str) -> None:
    eta = linear(10)

    with pytest.raises(InputError, match=message):
        getattr(eta, verb)(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda eta: eta.extended(to=5), "^extended needs a schedule with an end; got 'constant'. End it with .first"),
        (lambda eta: eta.repeated(2), "^repeated needs a schedule with an end; got 'constant'. End it with .first"),
    ],
)
def test_what_needs_an_end_says_so(make: Callable[[Schedule], Schedule], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(constant())


def test_many_changes_of_course_stay_cheap() -> None:
    eta = function(lambda t: 1.0, 100)
    for at in range(1, 40):
        eta = eta.cooled_down(at=at, over=200 - at, shape="linear", end=0.5)

    assert eta(10) == pytest.approx(eta(9.999), abs=1e-3)
    assert eta.length == 200


def test_pieces_of_all_kinds_join() -> None:
    eta = warmup(3).then(points({0: 1.0, 4: 0.5}, steps=4)).then(cooldown(2, shape="linear").scaled(0.5))

    assert eta.factors() == pytest.approx([0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.25])
