"""fastai's four rules for a learning rate, written from their description, and argmin ÷ 10.

The rules read the smoothed losses of a sweep of exponentially rising rates; fastai drops the first tenth of the
planned steps and the last five before it applies them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import count

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["FASTAI_RULES", "Smoothed", "argmin_tenth", "minimum", "slide", "steep", "trimmed", "valley"]

Floats = NDArray[np.float64]
_SLIDE_WINDOW = 15
_SLIDE_THRESHOLD = 0.005  # absolute: the rule's answer depends on the unit of the loss


class Smoothed:
    """The exponential moving average that fastai shows: weight ``beta`` on the past, divided by its own bias."""

    def __init__(self, beta: float = 0.98) -> None:
        self._beta = beta
        self._sum = 0.0
        self._counts = count(1)

    def update(self, loss: float) -> float:
        """Take the next loss and return the smoothed one."""
        self._sum = self._beta * self._sum + (1 - self._beta) * loss
        return self._sum / (1 - self._beta ** next(self._counts))


def trimmed(lrs: Sequence[float], losses: Sequence[float], planned: int) -> tuple[Floats, Floats]:
    """Return the sweep up to its first NaN, without the first tenth of ``planned`` and the last five points.

    Raises:
        ValueError: If fewer than two points are left: there is no answer.
    """
    kept_lrs, kept_losses = np.asarray(lrs[planned // 10 : -5]), np.asarray(losses[planned // 10 : -5])
    broken = np.flatnonzero(np.isnan(kept_losses))
    if len(broken):
        kept_lrs, kept_losses = kept_lrs[: broken[0]], kept_losses[: broken[0]]
    if len(kept_lrs) < 2:
        raise ValueError(f"{len(lrs)} steps leave {len(kept_lrs)} points after trimming")
    return kept_lrs, kept_losses


def valley(lrs: ArrayLike, losses: ArrayLike) -> float:
    """Return a rate from the middle third of the longest falling stretch.

    The stretch is a longest strictly decreasing subsequence, which may skip points; the rule takes it for a
    contiguous one that ends where the subsequence ends. The first of equally long ones counts.
    """
    rates, values = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    lengths: list[int] = []  # of the longest decreasing subsequence that ends at each point
    for index, value in enumerate(values):
        lengths.append(1 + max((lengths[j] for j in range(index) if values[j] > value), default=0))
    end = int(np.argmax(lengths))
    length = lengths[end]
    third = length / 3
    return float(rates[end - length + int(third) + int(third / 2)])  # −1 is the last point, as in fastai


def steep(lrs: ArrayLike, losses: ArrayLike) -> float:
    """Return the rate from which the loss falls most steeply per log lr."""
    rates, values = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    return float(rates[np.argmin(np.diff(values) / np.diff(np.log(rates)))])


def minimum(lrs: ArrayLike, losses: ArrayLike) -> float:
    """Return a tenth of the rate at which the loss is lowest."""
    return argmin_tenth(lrs, losses)


def slide(lrs: ArrayLike, losses: ArrayLike) -> float:
    """Slide a window of 15 points down from the right until the slopes (per step) at its two ends agree.

    Slopes agree where they differ by no more than 0.005. The answer is the last left end before that.
    """
    rates, values = np.asarray(lrs, dtype=float), np.asarray(losses, dtype=float)
    slopes = np.gradient(values)
    right = len(values) - 1
    if right < _SLIDE_WINDOW:
        raise ValueError(f"{len(values)} points are fewer than the window's {_SLIDE_WINDOW + 1}")
    picked = right - _SLIDE_WINDOW
    for left in range(right - _SLIDE_WINDOW, -1, -1):
        if not abs(slopes[left + _SLIDE_WINDOW] - slopes[left]) > _SLIDE_THRESHOLD:
            break
        picked = left
    return float(rates[picked])


def argmin_tenth(lrs: ArrayLike, losses: ArrayLike) -> float:
    """Return a tenth of the rate of the lowest finite loss."""
    values = np.asarray(losses, dtype=float)
    if not np.isfinite(values).any():
        raise ValueError("no loss is finite")
    return float(np.asarray(lrs, dtype=float)[np.nanargmin(np.where(np.isfinite(values), values, math.nan))]) / 10


FASTAI_RULES: dict[str, Callable[[Floats, Floats], float]] = {
    "fastai valley": valley,
    "fastai slide": slide,
    "fastai steep": steep,
    "fastai minimum": minimum,
}
