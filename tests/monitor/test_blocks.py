"""Blocks told at once equal blocks told one by one, and their state comes back whole."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepsize.monitor.trace import Blocks


def _one_by_one(values: list[float]) -> Blocks:  # the slow reference
    blocks = Blocks()
    for step, value in enumerate(values):
        blocks.extend(np.array([step]), np.array([value]))
    return blocks


def _same(one: Blocks, other: Blocks) -> bool:
    pairs = zip(one.to_arrays(), other.to_arrays(), strict=True)
    return all(np.array_equal(left, right, equal_nan=True) for left, right in pairs)


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(-math.inf)), max_size=400),
    st.lists(st.integers(0, 400), max_size=5),
    st.integers(0, 40),
)
def test_values_at_once_are_values_one_by_one(values: list[float], cuts: list[int], times: int) -> None:
    values = values * times  # long enough for blocks of many values
    blocks = Blocks()
    places = [0, *sorted(min(cut * times, len(values)) for cut in cuts), len(values)]
    for begin, end in itertools.pairwise(places):
        blocks.extend(np.arange(begin, end), np.array(values[begin:end], dtype=np.float64))
    assert _same(blocks, _one_by_one(values))


@pytest.mark.parametrize("count", [0, 1, 2047, 2048, 2049, 10_000])
def test_the_state_comes_back_and_goes_on(count: int) -> None:
    values = np.random.default_rng(0).normal(size=count + 3_000)
    blocks = Blocks()
    blocks.extend(np.arange(count), values[:count])
    again = Blocks.from_arrays(*blocks.to_arrays())
    again.extend(np.arange(count, len(values)), values[count:])
    assert _same(again, _one_by_one(values.tolist()))
    assert len(again.history()) < 2048
