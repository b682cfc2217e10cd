"""Traces keep what they should, in bounded memory."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepsize.monitor.trace import Trace


@given(st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf)), max_size=3000))
def test_recent_values_are_as_told_and_extremes_are_those_of_the_finite(values: list[float]) -> None:
    trace = Trace()
    for step, value in enumerate(values):
        trace.add(step, value)
    recent = trace.recent()
    np.testing.assert_array_equal(recent.values, np.array(values[-512:], dtype=float))
    np.testing.assert_array_equal(recent.steps, np.arange(len(values))[-512:])
    finite = [value for value in values if math.isfinite(value)]
    assert trace.peak == max(finite, default=-math.inf)


def test_blocks_are_means_of_the_finite_and_memory_is_bounded() -> None:
    trace = Trace()
    for step in range(300_000):
        trace.add(step, math.nan if step % 10 == 0 else 1.0 + (step % 2))
    history = trace.history()
    assert len(history) <= 2048
    # of each ten values the first is left out: five odd steps (2.0) and four even ones (1.0)
    np.testing.assert_allclose(np.nanmean(history.values), (5 * 2.0 + 4 * 1.0) / 9, rtol=1e-2)


def test_points_can_be_cut_by_step() -> None:
    trace = Trace()
    for step in range(10):
        trace.add(step, float(step))
    assert trace.recent().since(7).values.tolist() == [7.0, 8.0, 9.0]
    assert trace.recent().until(2).values.tolist() == [0.0, 1.0]
