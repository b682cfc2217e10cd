"""Curves are bytes as small as they may be, exact in every point that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepsize.errors import InputError
from stepsize.store.packing import MOST_POINTS, json_metrics, metrics_of, pack, unpack

WHOLE = st.lists(st.integers(0, 2**40), max_size=20)
SINGLE = st.floats(width=32)
DOUBLE = st.floats(width=64)


@given(st.lists(SINGLE | DOUBLE, max_size=30))
def test_a_short_curve_comes_back_bit_for_bit(values: list[float]) -> None:
    back = unpack(pack(values))

    np.testing.assert_array_equal(back.values, np.array(values))
    np.testing.assert_array_equal(back.steps, np.arange(len(values)))
    assert back.length == len(values)


@given(WHOLE)
def test_steps_of_any_size_come_back(steps: list[int]) -> None:
    np.testing.assert_array_equal(unpack(pack(np.zeros(len(steps)), steps)).steps, np.array(steps, dtype=np.int64))


@pytest.mark.parametrize(
    ("values", "size"),
    [([0.5, math.inf, math.nan], 4), ([0.1], 8), ([1e300], 8), (np.array([0.1, 0.2], np.float32), 4), ([1e-300], 8)],
)
def test_values_that_four_bytes_hold_take_four(values: Sequence[float], size: int) -> None:
    packed = pack(values)["values"]

    assert isinstance(packed, bytes)
    assert len(packed) == size * len(values)


def test_bytes_are_little_endian_on_every_machine() -> None:
    packed = pack([1.0], [258])

    assert packed["values"] == bytes.fromhex("0000803f")
    assert packed["steps"] == bytes.fromhex("02010000")


@pytest.mark.parametrize("length", [MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS - 1, 50_000])
def test_a_long_curve_keeps_its_ends_and_even_points_between(length: int) -> None:
    values = np.sqrt(np.arange(length))

    back = unpack(pack(values))

    assert len(back.values) == MOST_POINTS
    assert back.length == length
    np.testing.assert_array_equal(back.values, values[back.steps])
    assert (back.steps[0], back.steps[-1]) == (0, length - 1)
    gaps = np.diff(back.steps)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_a_thinned_curve_keeps_the_steps_that_it_was_given() -> None:
    steps = 10 * np.arange(5_000)

    back = unpack(pack(steps / 10, steps))

    np.testing.assert_array_equal(back.values * 10, back.steps)


def test_points_may_be_rows() -> None:
    rows = np.arange(12.0).reshape(4, 3)

    np.testing.assert_array_equal(unpack(pack(rows)).values, rows)


@pytest.mark.parametrize(
    ("values", "steps", "message"),
    [
        (1.0, None, "values must be an array of points"),
        ([1.0, 2.0], [0], r"steps must hold one step for each of the 2 points; got \(1,\)"),
        ([1.0], [0.5], "steps must be whole numbers >= 0"),
        ([1.0], [-1], "steps must be whole numbers >= 0"),
    ],
)
def test_what_is_no_curve_is_refused(values: float, steps: list[float] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pack(values, steps)


def test_metrics_that_json_cannot_hold_come_back() -> None:
    back = metrics_of(json_metrics({"a": 0.1, "b": math.inf, "c": -math.inf, "d": math.nan}))

    assert back == {"a": 0.1, "b": math.inf, "c": -math.inf, "d": pytest.approx(math.nan, nan_ok=True)}
