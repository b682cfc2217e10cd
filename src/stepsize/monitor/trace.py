"""A signal over the steps of a training of any length, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.monitor.blocks import Blocks

__all__ = ["Points", "Trace"]

Array = NDArray[np.float64]

_RECENT = 512  # values that are kept one by one


@dataclass(frozen=True, eq=False)
class Points:
    """Values and the steps that they belong to.

    Attributes:
        steps: int64, shape ``(points,)``, rising.
        values: float64, of the same shape.
    """

    steps: NDArray[np.int64]
    values: Array

    def __len__(self) -> int:
        return len(self.steps)

    def finite(self) -> Points:
        """Return those that are finite: one NaN in a window must not poison its mean."""
        keep = np.isfinite(self.values)
        return Points(self.steps[keep], self.values[keep])

    def since(self, step: int) -> Points:
        """Return those of ``step`` and later."""
        keep = self.steps >= step
        return Points(self.steps[keep], self.values[keep])

    def until(self, step: int) -> Points:
        """Return those before ``step``."""
        keep = self.steps < step
        return Points(self.steps[keep], self.values[keep])


class Trace:
    """Values told one after the other: the last 512 as they are, all of them as means of equally long blocks.

    Of n values at most 2,048 blocks are kept; when there would be more, neighbours are merged, so a block stands for
    1, 2, 4, … values. Values that are not finite are counted and left out of the means.

    Attributes:
        count: How many values were told.
        bad: How many of them were not finite.
        first_bad: The step of the first of these; None where there is none.
        peak: The largest finite value.
        low: The smallest.
        blocks: The means of all values.

    Example:
        >>> trace = Trace()
        >>> for step in range(100_000):
        ...     trace.add(step, float(step))
        >>> len(trace.recent()), len(trace.history()) <= 2048, float(trace.history().values[0])
        (512, True, 31.5)
    """

    def __init__(self) -> None:
        self.count = 0
        self.bad = 0
        self.first_bad: int | None = None
        self.peak = -math.inf
        self.low = math.inf
        self._steps = np.empty(2 * _RECENT, dtype=np.int64)
        self._values = np.empty(2 * _RECENT)
        self._end = 0  # of the recent ones within these
        self.blocks = Blocks()

    def add(self, step: int, value: float) -> None:
        """Take the value of ``step``, which must not lie before the last one."""
        self._keep(step, value)
        self.count += 1
        if not math.isfinite(value):
            self.bad += 1
            self.first_bad = step if self.first_bad is None else self.first_bad
        else:
            self.peak, self.low = max(self.peak, value), min(self.low, value)
        self.blocks.add(step, value)

    def extend(self, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take several values at once; the same as one after the other."""
        if self._end + len(values) > len(self._values) or not all(map(math.isfinite, values)):
            for step, value in zip(steps, values, strict=True):
                self.add(step, value)
            return
        part = slice(self._end, self._end + len(values))
        self._steps[part], self._values[part] = steps, values
        self._end = part.stop
        self.count += len(values)
        self.peak, self.low = max(self.peak, *values), min(self.low, *values)
        self.blocks.extend(self._steps[part], self._values[part])

    @property
    def last(self) -> float:
        """The last value; NaN before the first."""
        return float(self._values[self._end - 1]) if self._end else math.nan

    def recent(self, most: int = _RECENT) -> Points:
        """Return the last values, ``most`` of them at the most, as they were told."""
        part = slice(max(0, self._end - min(most, _RECENT)), self._end)
        return Points(self._steps[part].copy(), self._values[part].copy())

    def history(self) -> Points:
        """Return the means of all blocks, the open one included; those without a finite value are NaN."""
        return Points(*self.blocks.history())

    def _keep(self, step: int, value: float) -> None:
        if self._end == len(self._values):
            for kept in (self._steps, self._values):
                kept[:_RECENT] = kept[_RECENT:]
            self._end = _RECENT
        self._steps[self._end], self._values[self._end] = step, value
        self._end += 1
