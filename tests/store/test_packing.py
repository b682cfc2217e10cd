"""Arrays are bytes as small as they can be, exact in every point that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.store.examples import a_run, facts

from stepsize.store import Store
from stepsize.store.packing import MOST_POINTS, pack_arrays, thinned, unpack_arrays

WHOLE = st.integers(-(2**62), 2**62)
FLOAT = st.floats(width=32) | st.floats(width=64)


def numbers(length: int, step: int = 1) -> NDArray[np.int64]:
    return step * np.arange(length)


@given(st.dictionaries(st.text(max_size=8), st.lists(st.tuples(WHOLE, FLOAT), max_size=20), max_size=4))
def test_arrays_come_back_to_the_last_bit(given: dict[str, list[tuple[int, float]]]) -> None:
    arrays = {
        name: (np.array([at for at, _ in pairs], dtype=np.int64), np.array([v for _, v in pairs], dtype=np.float64))
        for name, pairs in given.items()
    }
    back = unpack_arrays(pack_arrays(arrays))
    assert list(back) == list(arrays)
    for name, (steps, values) in arrays.items():
        np.testing.assert_array_equal(back[name][0], steps)
        np.testing.assert_array_equal(back[name][1], values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [([0.5, math.inf, math.nan], "<f4"), ([0.1], "<f8"), ([1e300], "<f8"), ([1e-300], "<f8"), ([258.0], "<f4")],
)
def test_values_that_four_bytes_hold_take_four_little_endian(values: Sequence[float], kind: str) -> None:
    values = [*values, *[0.25] * (20 - len(values))]
    unpacked = pack_arrays({"a": [np.array(values)]})

    assert f'"{kind}"'.encode() in unpacked
    assert unpacked.endswith(np.array(values, kind).tobytes())


@pytest.mark.parametrize("length", [MOST_POINTS, MOST_POINTS + 1, 3 * MOST_POINTS - 1, 50_000])
def test_a_long_curve_keeps_its_ends_and_even_points_between(length: int) -> None:
    values = np.sqrt(np.arange(length))

    kept = thinned(values, numbers(length))

    steps = kept["steps"][0] if "steps" in kept else numbers(length)
    assert len(steps) == MOST_POINTS
    np.testing.assert_array_equal(kept["losses"][0], values[steps])
    assert (steps[0], steps[-1]) == (0, length - 1)
    gaps = np.diff(steps)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= 1


def test_a_thinned_curve_keeps_the_steps_that_it_was_given() -> None:
    kept = thinned(np.arange(5_000.0), numbers(5_000, 10))

    np.testing.assert_array_equal(kept["losses"][0] * 10, kept["steps"][0])


def test_long_arrays_are_compressed_and_come_back() -> None:
    packed = pack_arrays({"a": [np.zeros(1_000)]})

    assert len(packed) < 200
    np.testing.assert_array_equal(unpack_arrays(packed)["a"][0], np.zeros(1_000))


@given(st.lists(FLOAT, max_size=30))
def test_consecutive_steps_are_not_stored(values: list[float]) -> None:
    assert list(thinned(np.array(values), numbers(len(values)))) == ["losses"]


def test_a_run_with_gaps_in_its_steps_comes_back(store: Store) -> None:
    run = a_run(losses=[3.0, 2.0])
    object.__setattr__(run, "steps", np.array([0, 5]))
    with store.begin("digits", "sweep", {}) as writer:
        writer.add_run(run)

    assert [facts(one) for one in store.runs("digits")] == [{**facts(run), "id": "1"}]
