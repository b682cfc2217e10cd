"""Where two schedules part."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from tests.schedules.strategies import settled_schedules

from stepsize.errors import InputError
from stepsize.schedules import Schedule, constant, cosine, diff, linear, points, warmup


def test_equal_schedules_do_not_part() -> None:
    found = diff(linear(100), linear(100))

    assert found.same
    assert (found.first, found.last, found.lengths) == (None, None, (100, 100))


def test_it_tells_the_first_the_last_and_the_largest_difference() -> None:
    a, b = constant(10), points({0: 1.0, 3: 0.5, 4: 0.2, 5: 1.0}, between=None, steps=10)

    found = diff(a, b)

    assert not found.same
    assert (found.first, found.last, found.largest) == (3, 4, (4, 1.0, 0.2))
    assert found.area == pytest.approx((10, 8.7))
    assert found.effective_steps_ratio == pytest.approx(0.87)


def test_rounding_is_no_difference() -> None:
    found = diff(linear(7), linear(7).scaled(1 + 1e-13))

    assert found.same
    assert not diff(linear(7), linear(7).scaled(1 + 1e-11)).same


def test_the_shorter_one_is_held_at_its_last_factor() -> None:
    found = diff(constant(10, factor=0.5), linear(4))

    assert found.steps == 10
    assert (found.last, found.area) == (9, (5.0, 2.5))


def test_same_factors_over_other_lengths_are_not_the_same() -> None:
    found = diff(constant(5), constant(9))

    assert (found.same, found.first) == (False, None)


def test_of_an_endless_one_as_much_is_compared_as_the_other_lasts() -> None:
    found = diff(constant(), linear(8))

    assert (found.steps, found.lengths) == (8, (None, 8))


def test_only_the_asked_updates_are_compared() -> None:
    found = diff(warmup(10).then(cosine(90)), warmup(10).then(linear(50)), steps=10)

    assert (found.first, found.steps, found.lengths) == (None, 10, (100, 60))


def test_a_schedule_without_any_step_has_no_ratio() -> None:
    assert diff(constant(5, factor=0), constant(5)).effective_steps_ratio is None


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (cosine(), cosine(5), r"a must be in steps.*Call \.over\(steps\) first"),
        (cosine(5), cosine("5%"), "b must be in steps"),
        (constant(), constant(factor=0.5), "steps must be given for a schedule without an end"),
        (cosine(5), "cosine", "b must be a Schedule"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: Schedule, b: Schedule, message: str) -> None:
    with pytest.raises(InputError, match=message):
        diff(a, b)


def test_no_updates_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="steps must be at least 1 step"):
        diff(linear(5), linear(5), 0)


@settings(deadline=None, max_examples=50)
@given(settled_schedules(max_length=50), settled_schedules(max_length=50))
def test_it_agrees_with_looking_at_each_update(a: Schedule, b: Schedule) -> None:
    steps = max(a.length or 0, b.length or 0)
    pairs = [(a(step), b(step)) for step in range(steps)]
    parted = [step for step, (x, y) in enumerate(pairs) if not np.isclose(x, y, rtol=1e-11, atol=0)]

    found = diff(a, b)

    if parted:
        assert found.first is not None
        assert found.last is not None
        assert found.first <= parted[0]
        assert found.last >= parted[-1]
        assert abs(found.largest[1] - found.largest[2]) >= max(abs(x - y) for x, y in pairs) * (1 - 1e-9)
    assert found.area == pytest.approx((sum(x for x, _ in pairs), sum(y for _, y in pairs)))
    assert tuple(json.loads(json.dumps(found.to_json()))["largest"]) == found.largest


@settings(deadline=None, max_examples=50)
@given(settled_schedules(max_length=50))
def test_no_schedule_parts_from_itself(schedule: Schedule) -> None:
    assert diff(schedule, schedule).same
