"""The learning rates that a schedule allows: one set by mistake stands out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.monitor.record import Record
from stepsize.training.binding import BoundScheduler

_BESIDE = 3  # points of the thinned schedule on both sides that also count as allowed
_SETTLED = 0.1  # of the steps: before, a warmup rises by multiples
_STEPS = 2_000  # if the horizon is unknown


class ExpectedRates:
    """Compares the learning rate with the expected one, by the factors of a schedule and the peaks of a bound one."""

    def __init__(self, schedule: Any, record: Record) -> None:
        factors = np.asarray(record.facts.schedule)
        bound = isinstance(schedule, BoundScheduler)
        self._peaks = [float(peak) for peak in schedule.base_lrs] if bound else []
        self.allowed = 1.0  # factor by which orders have raised the rates
        self._steps = record.facts.steps or _STEPS
        self._factors = factors / factors.max() if factors.size and factors.max() > 0 else np.ones(1)
        self._most = np.empty(0)
        if factors.size and self._peaks:
            padded = np.pad(factors, _BESIDE, mode="edge")
            self._most = np.lib.stride_tricks.sliding_window_view(padded, 2 * _BESIDE + 1).max(axis=1)

    def excess(self, record: Record, step: int) -> float:
        """Return the last learning rate over the highest one expected at ``step``; 1 if it is not above."""
        return max(1.0, self._excess(record, step) / self.allowed)

    def _excess(self, record: Record, step: int) -> float:
        if self._most.size:
            most = self._at(self._most, step)
            pairs = zip(record.rates(), self._peaks, strict=False)
            return max([1.0, *(record.last(name) / (peak * most) for name, peak in pairs if peak * most > 0)])
        if step < _SETTLED * self._steps:
            return 1.0
        return max([1.0, *(_rise(record, name) for name in record.rates())])

    def reached(self, step: int) -> float:
        """Return the scheduled learning rate of ``step`` over the peak; 1 if the schedule is unknown."""
        return self._at(self._factors, step)

    def _at(self, values: NDArray[np.float64], step: int) -> float:
        place = round(step / max(1, self._steps - 1) * (len(values) - 1))
        return float(values[min(place, len(values) - 1)])


def _rise(record: Record, name: str) -> float:
    """Return the last learning rate over the highest one before: a restart goes no higher than the peak before it."""
    last = record.recent(name, 2).values
    before = record.history(name).values[:-1]
    known = before[np.isfinite(before)]
    if len(last) < 2 or not known.size or known.max() <= 0:
        return 1.0
    return float(last[-1] / max(known.max(), float(last[0])))
