"""What several rules read off a record: medians, slopes with their errors, the place of the step on its parabola."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.monitor.record import Record
from stepsize.monitor.trace import Points

__all__ = ["Level", "Slope", "alpha", "loss_noise", "mean_of", "slope_of", "window"]

Array = NDArray[np.float64]

_BLOCKS = 8  # pieces of a window from which an error is read: neighbours are not independent


@dataclass(frozen=True)
class Level:
    """A mean with its standard error, and of how many values."""

    mean: float
    error: float
    count: int

    def above(self, value: float, errors: float = 2.0) -> bool:
        """Return whether the mean lies above ``value`` by more than so many errors."""
        return self.count > 0 and self.mean - errors * self.error > value

    def below(self, value: float, errors: float = 2.0) -> bool:
        """Return whether the mean lies below ``value`` by more than so many errors."""
        return self.count > 0 and self.mean + errors * self.error < value


@dataclass(frozen=True)
class Slope:
    """The change of a signal a step, with its standard error, and the spread of single values about the line."""

    slope: float
    error: float
    noise: float
    span: int

    @property
    def falls(self) -> bool:
        """Whether it falls beyond three errors."""
        return self.slope + 3 * self.error < 0

    @property
    def rises(self) -> bool:
        """Whether it rises beyond three errors."""
        return self.slope - 3 * self.error > 0


_NOTHING = Level(math.nan, math.nan, 0)


def window(record: Record) -> int:
    """Return over how many of the last measured steps a rule averages: those of an eighth of the training, 24 … 256."""
    return int(np.clip((record.facts.steps or record.step) // 8, 24, 256))


def mean_of(points: Points) -> Level:
    """Return the mean of the finite values, with an error from the spread of eight pieces."""
    values = points.finite().values
    if values.size < 2:
        return _NOTHING
    pieces = [piece.mean() for piece in np.array_split(values, min(_BLOCKS, values.size))]
    return Level(float(values.mean()), float(np.std(pieces, ddof=1) / math.sqrt(len(pieces))), values.size)


def slope_of(points: Points) -> Slope | None:
    """Return the robust slope of the finite values; None of fewer than eight."""
    kept = points.finite()
    if len(kept) < _BLOCKS:
        return None
    pieces = [np.arange(len(kept))[part] for part in np.array_split(np.arange(len(kept)), min(32, len(kept)))]
    x = np.array([kept.steps[piece].mean() for piece in pieces])
    y = np.array([np.median(kept.values[piece]) for piece in pieces])
    i, j = np.triu_indices(len(x), k=1)
    slope = float(np.median((y[j] - y[i]) / (x[j] - x[i])))
    rest = y - y.mean() - slope * (x - x.mean())
    spread = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    error = 1.02 * spread / math.sqrt(float(np.sum((x - x.mean()) ** 2)))
    return Slope(slope, error, loss_noise(kept), int(kept.steps[-1] - kept.steps[0]))


def loss_noise(points: Points) -> float:
    """Return the spread of single values, from their differences, so that a trend does not count."""
    values = points.finite().values
    if values.size < 3:
        return math.nan
    return 1.4826 * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)


def alpha(record: Record, most: int | None = None) -> Level:
    """Return where steps end on the parabola of the loss: -1 at their start, 0 at its lowest point, 1 across.

    alpha = -mean⟨g', d⟩ / mean⟨g, d⟩ with d the step, g the gradient before it and g' the one behind it, on the next
    batch. Means are taken before the ratio, so that the noise of the batches cancels; steps are weighed by the inverse
    of the noise of their slopes.
    """
    most = most or window(record)
    then, now = record.recent("slope_then", most), record.recent("slope_now", most)
    keep = np.isfinite(then.values) & np.isfinite(now.values)
    before, behind = then.values[keep], now.values[keep]
    if before.size < _BLOCKS:
        return _NOTHING
    total, after = float(before.mean()), float(behind.mean())
    if total == 0 or not math.isfinite(total + after):
        return _NOTHING
    parts = np.array_split(np.arange(before.size), _BLOCKS)
    value = -after / total
    rest = np.array([(behind[p] + value * before[p]).mean() for p in parts])
    return Level(value, float(np.std(rest, ddof=1) / math.sqrt(_BLOCKS) / abs(total)), int(before.size))
