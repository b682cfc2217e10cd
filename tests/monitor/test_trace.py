"""Traces keep what they should, in bounded memory."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stepsize.monitor.record import Facts, Record
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


@given(st.integers(0, 9_000), st.integers(0, 9_000), st.integers(0, 3_000))
def test_what_was_rolled_back_is_dropped(before: int, undone: int, after: int) -> None:
    record, kept = Record(Facts(steps=20_000)), Record(Facts(steps=20_000))
    for one in (record, kept):
        one.add_losses(range(before), [float(step) for step in range(before)])
        one.step = before
    mark = record.mark()
    record.add_losses(range(before, before + undone), [1e9] * undone)
    record.add("lr/0", before, 9.0)
    record.step += undone
    record.roll_back(mark, again=True)
    assert record.first == kept.first
    assert math.isnan(record.peak_lr) or record.peak_lr == -math.inf
    assert record.traces["loss"].peak == kept.traces["loss"].peak
    assert record.progress == kept.progress
    for one in (record, kept):
        one.add_losses(range(one.step, one.step + after), [2.0] * after)
    seen = record.history("loss")
    assert seen.values.max(initial=0.0) <= max(before, 2.0)
    width = max(1, (before + undone + after) // 1024)  # of a block: one with values of both sides is dropped
    assert seen.steps[seen.steps < before].max(initial=0) >= before - 3 * width
    recent = record.recent("loss").values.tolist()
    assert recent[max(0, len(recent) - after) :] == [2.0] * min(after, len(recent))
