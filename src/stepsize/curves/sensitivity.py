"""How much the choice of the rate matters: LR sensitivity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_DECADES = 3.0  # of the range: as wide as the one of the paper, 3e-4 … 3e-1


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


def lr_sensitivity(lrs: Sequence[float], values: Sequence[float], *, untrained: float) -> LrSensitivity | None:
    """Return how much worse than the best rate an arbitrary rate is on average; None if too few rates were trained.

        sensitivity = E over lr in [low, high] of ( min(loss(lr), loss_0) - min over lr' of loss(lr') ),

    where loss_0 is ``untrained``, so that a diverged run (infinite) counts as one that did not learn. This is the
    definition of the paper, whose range is 3e-4 … 3e-1, with rates evenly spaced in log lr. Ours: the range is as
    wide, three decades, but centered on the best rate; the expectation is over log lr by the trapezoid rule; seeds are
    averaged, each capped on its own; nothing is extrapolated, and NaN is left out.

    Reference:
        Wortsman et al., "Small-scale proxies for large-scale Transformer training instabilities", 2023,
        arXiv:2309.14322, section 2.2.
    """
    value = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(value)
    x, index = np.unique(np.log10(np.asarray(lrs, dtype=np.float64)[known]), return_inverse=True)
    count = np.bincount(index, minlength=len(x))
    levels = np.bincount(index, np.minimum(value[known], untrained), minlength=len(x)) / count
    survived = np.bincount(index, np.isinf(value[known]), minlength=len(x)) == 0
    if not survived.any():
        return None
    center = x[np.argmin(np.where(survived, levels, math.inf))]
    low, high = center - _DECADES / 2, center + _DECADES / 2
    start, stop = max(low, x[0]), min(high, x[-1])
    if stop <= start:
        return None
    knots = np.unique(np.concatenate([[start, stop], x[(x > start) & (x < stop)]]))
    heights = np.interp(knots, x, levels)
    # The best loss is at a trained rate, or at an end of the range.
    best = int(np.argmin(heights))
    mean = float(np.trapezoid(heights - heights[best], knots)) / float(stop - start)
    lr = 10 ** float(knots[best])
    return LrSensitivity(mean, lr, (float(10**low), float(10**high)), (float(10**start), float(10**stop)))
