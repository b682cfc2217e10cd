"""What several rules read from a record: means and slopes with their errors, and where steps end on their parabola."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from stepsize.monitor.record import Record
from stepsize.monitor.trace import LossPoints

_BLOCKS = 8  # pieces of a window from which an error is read: neighbors are not independent


@dataclass(frozen=True)
class Level:
    """A mean, its standard error and the number of values."""

    mean: float
    error: float
    count: int

    def above(self, value: float) -> bool:
        """Return whether the mean exceeds ``value`` by more than two errors."""
        return self.count > 0 and self.mean - 2 * self.error > value

    def below(self, value: float) -> bool:
        """Return whether the mean is below ``value`` by more than two errors."""
        return self.count > 0 and self.mean + 2 * self.error < value


@dataclass(frozen=True)
class Slope:
    """The change of a signal per step, its standard error and the number of steps."""

    slope: float
    error: float
    span: int

    @property
    def falls(self) -> bool:
        """Whether it falls by more than three errors."""
        return self.slope + 3 * self.error < 0

    @property
    def rises(self) -> bool:
        """Whether it rises by more than three errors."""
        return self.slope - 3 * self.error > 0


_NOTHING = Level(math.nan, math.nan, 0)


def window(record: Record) -> int:
    """Return over how many of the last measured steps a rule averages: an eighth of the run, within 24 … 256."""
    return int(np.clip((record.facts.steps or record.step) // 8, 24, 256))


def mean_of(points: LossPoints) -> Level:
    """Return the mean of the finite values, with an error from the spread of eight pieces."""
    values = points.finite().values
    if values.size < 2:
        return _NOTHING
    pieces = [piece.mean() for piece in np.array_split(values, min(_BLOCKS, values.size))]
    return Level(float(values.mean()), float(np.std(pieces, ddof=1) / math.sqrt(len(pieces))), values.size)


def slope_of(points: LossPoints) -> Slope | None:
    """Return the robust slope (Theil–Sen) of the finite values; None of fewer than eight."""
    kept = points.finite()
    if len(kept) < _BLOCKS:
        return None
    pieces = np.array_split(np.arange(len(kept)), min(32, len(kept)))
    x = np.array([kept.steps[piece].mean() for piece in pieces])
    y = np.array([np.median(kept.values[piece]) for piece in pieces])
    i, j = np.triu_indices(len(x), k=1)
    slope = float(np.median((y[j] - y[i]) / (x[j] - x[i])))
    rest = y - y.mean() - slope * (x - x.mean())
    spread = 1.4826 * float(np.median(np.abs(rest - np.median(rest))))
    error = 1.02 * spread / math.sqrt(float(np.sum((x - x.mean()) ** 2)))
    return Slope(slope, error, int(kept.steps[-1] - kept.steps[0]))


def loss_noise(points: LossPoints) -> float:
    """Return the standard deviation of single values, from their differences, so that a trend does not count."""
    values = points.finite().values
    if values.size < 3:
        return math.nan
    return 1.4826 * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)


def alpha(record: Record) -> Level:
    """Return where steps end on the parabola of the loss: -1 at their start, 0 at its lowest point, 1 across.

    alpha = -mean⟨g', d⟩ / mean⟨g, d⟩ with d the step, g the gradient before it and g' the one after it, on the next
    batch. Means are taken before the ratio, so the noise of the batches cancels.
    """
    then, now = record.recent("slope_then", window(record)), record.recent("slope_now", window(record))
    keep = np.isfinite(then.values) & np.isfinite(now.values)
    before, after = then.values[keep], now.values[keep]
    if before.size < _BLOCKS:
        return _NOTHING
    total, rest = float(before.mean()), float(after.mean())
    if total == 0 or not math.isfinite(total + rest):
        return _NOTHING
    value = -rest / total
    pieces = [piece.mean() for piece in np.array_split(after + value * before, _BLOCKS)]
    return Level(value, float(np.std(pieces, ddof=1) / math.sqrt(_BLOCKS) / abs(total)), int(before.size))
