"""The rates that a schedule allows, against which a rate set by mistake stands out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.monitor.record import Record
from stepsize.training.binding import BoundScheduler

__all__ = ["Expected"]

_BESIDE = 3  # points of the thinned schedule to both sides that count as allowed
_SETTLED = 0.1  # of the steps: before, a warm-up rises by multiples
_STEPS = 2_000  # where the horizon is unknown


class Expected:
    """Knows by what a rate exceeds what was to be expected.

    Args:
        schedule: What sets the rate; only of what ``bind`` returned the peaks are known.
        record: Whose facts hold the schedule's factors.
    """

    def __init__(self, schedule: Any, record: Record) -> None:
        factors = np.asarray(record.facts.schedule)
        bound = isinstance(schedule, BoundScheduler)
        self._peaks: Sequence[float] = [float(peak) for peak in schedule.base_lrs] if bound else []
        self._steps = record.facts.steps or _STEPS
        self._most = _highest_around(factors) if factors.size and self._peaks else np.empty(0)

    def excess(self, record: Record, step: int) -> float:
        """Return the rate of the last update over the highest to be expected at ``step``; 1 where it is within."""
        if self._most.size:
            place = round(step / max(1, self._steps - 1) * (len(self._most) - 1))
            most = float(self._most[min(place, len(self._most) - 1)])
            pairs = zip(record.rates(), self._peaks, strict=False)
            ratios = [record.last(name) / (peak * most) for name, peak in pairs if peak * most > 0]
            return max([1.0, *ratios])
        if step < _SETTLED * self._steps:
            return 1.0
        return max([1.0, *(_rise(record, name) for name in record.rates())])


def _highest_around(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    padded = np.pad(factors, _BESIDE, mode="edge")
    highest: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(padded, 2 * _BESIDE + 1).max(axis=1)
    return highest


def _rise(record: Record, name: str) -> float:
    """Return the last rate over the highest one ever before: a restart goes no higher than the peak before it."""
    last = record.recent(name, 2).values
    before = record.history(name).values[:-1]
    known = before[np.isfinite(before)]
    if len(last) < 2 or not known.size or known.max() <= 0:
        return 1.0
    return float(last[-1] / max(known.max(), float(last[0])))
