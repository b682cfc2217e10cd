"""How much the choice of the rate matters: LR sensitivity, and the width of the near-optimal range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError

Array = NDArray[np.float64]

_DECADES = 3.0  # of the default range: as wide as the one of the paper, 3e-4 … 3e-1


def excess_unit(best: float, untrained: float | None = None) -> float:
    """Return what an excess over the best value is relative to.

    The best value if it is positive; else (a negated metric) the improvement over the value at initialization.
    """
    if best > 0:
        return best
    if untrained is not None and untrained > best:
        return untrained - best
    return abs(best) or 1.0


@dataclass(frozen=True)
class LrSensitivity:
    """The LR sensitivity of a sweep.

    Attributes:
        value: Mean excess over the best loss, in the unit of the values; 0 if every rate did equally well.
        best_lr: Rate with the best mean.
        asked: Range of rates that it is meant for.
        covered: Part of it between rates that were trained, over which the mean was taken.
    """

    value: float
    best_lr: float
    asked: tuple[float, float]
    covered: tuple[float, float]

    @property
    def share(self) -> float:
        """Fraction of the range, in decades, that was covered; below 1 the value is not comparable to others."""
        return math.log(self.covered[1] / self.covered[0]) / math.log(self.asked[1] / self.asked[0])


def lr_sensitivity(
    lrs: Sequence[float],
    values: Sequence[float],
    *,
    untrained: float,
    lr_range: tuple[float, float] | None = None,
) -> LrSensitivity | None:
    """Return how much worse than the best rate an arbitrary rate is on average; None if too few rates were trained.

        sensitivity = E over lr in [low, high] of ( min(loss(lr), loss_0) - min over lr' of loss(lr') ),

    where loss_0 is the loss at initialization, so that a diverged run counts as one that did not learn. This is the
    definition of the paper, whose range is 3e-4 … 3e-1, with rates evenly spaced in log lr. Ours: the default range is
    as wide, three decades, but centered on the best rate; the expectation is over log lr by the trapezoid rule; seeds
    are averaged, each capped on its own; nothing is extrapolated.

    Args:
        lrs: Rate of each run, positive; a rate may occur several times (seeds).
        values: Value of each run, lower is better; infinite if it diverged, NaN if unknown.
        untrained: loss_0.
        lr_range: (low, high). Default: three decades around the best rate.

    Raises:
        InputError: If a rate is not positive, the lengths differ, or the range is empty.

    Reference:
        Wortsman et al., "Small-scale proxies for large-scale Transformer training instabilities", 2023,
        arXiv:2309.14322, section 2.2.
    """
    x, levels, survived = _levels(lrs, values, untrained)
    if lr_range is not None and not 0 < lr_range[0] < lr_range[1] < math.inf:
        raise InputError("lr_range", lr_range, "must be two positive rates, the lower one first")
    if not survived.any():
        return None
    center = x[np.argmin(np.where(survived, levels, math.inf))]
    low, high = (center - _DECADES / 2, center + _DECADES / 2) if lr_range is None else np.log10(lr_range)
    start, stop = max(low, x[0]), min(high, x[-1])
    if stop <= start or not ((x >= low) & (x <= high) & survived).any():
        return None
    knots = np.unique(np.concatenate([[start, stop], x[(x > start) & (x < stop)]]))
    heights = np.interp(knots, x, levels)
    # The best loss is at a trained rate, or at an end of the range.
    best = int(np.argmin(heights))
    mean = float(np.trapezoid(heights - heights[best], knots)) / float(stop - start)
    lr = 10 ** float(knots[best])
    return LrSensitivity(mean, lr, (float(10**low), float(10**high)), (float(10**start), float(10**stop)))


@dataclass(frozen=True)
class Basin:
    """The near-optimal range: rates around the best one that do nearly as well.

    Attributes:
        low: Lowest of them.
        high: Highest of them.
        open: Whether it continues below, and above, the rates that were trained.
    """

    low: float
    high: float
    open: tuple[bool, bool]

    @property
    def decades(self) -> float:
        """Its width; a lower bound if it is open."""
        return math.log10(self.high / self.low)


def basin(
    lrs: Sequence[float], values: Sequence[float], *, tolerance: float = 0.05, untrained: float | None = None
) -> Basin | None:
    """Return the range of rates around the best whose mean loss is within a tolerance; None if all diverged.

    Between rates the loss is linear in log lr; toward a rate at which a run diverged, the range ends at the last one
    before it.

    Args:
        lrs: Rate of each run, positive; a rate may occur several times (seeds).
        values: Value of each run, lower is better; infinite if it diverged, NaN if unknown.
        tolerance: Relative excess that still counts, positive.
        untrained: Value at initialization; only needed if values are not positive.

    Raises:
        InputError: If a rate or the tolerance is not positive, or the lengths differ.
    """
    if not tolerance > 0:
        raise InputError("tolerance", tolerance, "must be positive")
    x, levels, _ = _levels(lrs, values, math.inf)
    if not np.isfinite(levels).any():
        return None
    best = int(np.argmin(levels))
    limit = float(levels[best]) + tolerance * excess_unit(float(levels[best]), untrained)
    low, open_low = _crossing(x[best::-1], levels[best::-1], limit)
    high, open_high = _crossing(x[best:], levels[best:], limit)
    return Basin(10**low, 10**high, (open_low, open_high))


def _levels(lrs: Sequence[float], values: Sequence[float], cap: float) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return the log10 rates, ascending, the mean of min(value, cap) of each, and whether none of its runs diverged."""
    lr, value = np.asarray(lrs, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if lr.shape != value.shape:
        raise InputError("values", len(value), f"must be as many as lrs, {len(lr)}")
    if not (np.isfinite(lr) & (lr > 0)).all():
        raise InputError("lrs", lrs, "must all be positive and finite")
    known = ~np.isnan(value)
    x, index = np.unique(np.log10(lr[known]), return_inverse=True)
    count = np.bincount(index, minlength=len(x))
    mean = np.bincount(index, np.minimum(value[known], cap), minlength=len(x)) / count
    diverged = np.bincount(index, np.isinf(value[known]), minlength=len(x))
    return x, mean, diverged == 0


def _crossing(x: Array, levels: Array, limit: float) -> tuple[float, bool]:
    """Return where ``levels``, walked from the best one, first exceed ``limit``, and whether they never do."""
    beyond = np.nonzero(levels > limit)[0]
    if not len(beyond):
        return float(x[-1]), True
    k = int(beyond[0])
    rise = levels[k] - levels[k - 1]
    part = (limit - levels[k - 1]) / rise if math.isfinite(rise) else 0.0
    return float(x[k - 1] + part * (x[k] - x[k - 1])), False
