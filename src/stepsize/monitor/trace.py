"""A signal over the steps of a training of any length, in memory that does not grow."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Points", "Trace"]

Array = NDArray[np.float64]

_RECENT = 512  # values that are kept one by one
_BLOCKS = 1024  # blocks of the long history; twice as many are merged in pairs


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
        self._width = 1  # values a block
        self._blocks: list[tuple[int, float, int]] = []  # first step, sum of the finite, how many are finite
        self._open: tuple[int, float, int] = (0, 0.0, 0)
        self._filled = 0  # values in the open block, finite or not

    def add(self, step: int, value: float) -> None:
        """Take the value of ``step``, which must not lie before the last one."""
        self._keep(step, value)
        self.count += 1
        good = math.isfinite(value)
        if not good:
            self.bad += 1
            self.first_bad = step if self.first_bad is None else self.first_bad
        else:
            self.peak, self.low = max(self.peak, value), min(self.low, value)
        first, total, finite = self._open if self._filled else (step, 0.0, 0)
        self._open = (first, total + value if good else total, finite + good)
        self._filled += 1
        if self._filled == self._width:
            self._blocks.append(self._open)
            self._filled = 0
            if len(self._blocks) == 2 * _BLOCKS:
                self._merge()

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
        blocks = [*self._blocks, self._open] if self._filled else self._blocks
        return _points([(first, total / count if count else math.nan) for first, total, count in blocks])

    def _keep(self, step: int, value: float) -> None:
        if self._end == len(self._values):
            for kept in (self._steps, self._values):
                kept[:_RECENT] = kept[_RECENT:]
            self._end = _RECENT
        self._steps[self._end], self._values[self._end] = step, value
        self._end += 1

    def _merge(self) -> None:
        pairs = zip(self._blocks[::2], self._blocks[1::2], strict=True)
        self._blocks = [(one[0], one[1] + two[1], one[2] + two[2]) for one, two in pairs]
        self._width *= 2


def _points(pairs: list[tuple[int, float]]) -> Points:
    steps = np.array([step for step, _ in pairs], dtype=np.int64)
    return Points(steps, np.array([value for _, value in pairs], dtype=np.float64))
