"""Axes with robust limits that one explosion does not stretch; their ticks are the renderer's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_HUGE = 1e300  # beyond it, differences of two levels could overflow
_LEAST_DECADES = 0.8  # of a log axis
_LOG_DECADES = 1.5  # from here on, values are read better on a log axis
_PAD = 0.05


@dataclass(frozen=True)
class Axis:
    """One axis of a chart: ``title`` names what it measures.

    ``empty`` says that nothing finite is on it, so its numbers mean nothing and are left out; ``bare`` that another
    panel below has the numbers; ``complement`` that its values are distances to one, which is at the far end.
    ``texts`` are the values that have a name of their own, with these names; else ticks are the renderer's.
    """

    low: float
    high: float
    log: bool
    title: str
    empty: bool = False
    bare: bool = False
    complement: bool = False
    count: int = 6
    texts: tuple[tuple[float, str], ...] = ()

    def position(self, value: float) -> float:
        """Return where ``value`` is, as a fraction of the axis; below 0 or above 1 outside it."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, fraction: float) -> float:
        """Return the value at ``fraction`` of the axis."""
        if self.log:
            return float(self.low * (self.high / self.low) ** fraction)
        return self.low + fraction * (self.high - self.low)


def clip_levels(values: ArrayLike, keep: ArrayLike = (), *, quantile: float = 0.75) -> tuple[float, float]:
    """Return the lowest and the highest level worth showing; ``(0, 1)`` if nothing is finite.

    With a the lowest value and q the third quartile, or another ``quantile``, values above q + (q - a) are given up,
    unless they overshoot by at most a quarter of the height. Falling is progress, so only what is 50 quartile
    distances below the first quartile is given up at the lower side. Levels in ``keep`` are always shown.

    Example:
        >>> clip_levels([2.0, 2.0, 1.0, 1.0, 1e6, float("nan")])
        (1.0, 3.0)
    """
    finite = _finite(values)
    must = _finite(keep)
    if not finite.size:
        return (float(must.min()), float(must.max())) if must.size else (0.0, 1.0)
    first, third = (float(level) for level in np.quantile(finite, (0.25, quantile)))
    low, high = float(finite.min()), float(finite.max())
    if third > first:
        low = max(low, first - 50 * (third - first))
    ceiling = third + (third - low)
    if high > ceiling + 0.25 * (ceiling - low):
        high = ceiling
    return min(low, *must.tolist(), low), max(high, *must.tolist(), high)


def value_axis(
    values: ArrayLike, title: str, *, keep: ArrayLike = (), may_log: bool = False, decades: float = _LOG_DECADES
) -> Axis:
    """Return the axis for ``values`` with room at both ends; log, if it may be, where they span over ``decades``."""
    finite = np.concatenate([_finite(values), _finite(keep)])
    if may_log and finite.size and finite.min() > 0 and finite.max() / finite.min() > 10**decades:
        low, high = clip_levels(np.log10(_finite(values)), np.log10(_finite(keep)))
        if high - low > decades:  # what is left after clipping decides
            pad = _PAD * (high - low)
            return Axis(10 ** (low - pad), 10 ** (high + pad), True, title)
    low, high = clip_levels(values, keep)
    span = high - low
    if not finite.size:
        return Axis(low, high, False, title, empty=True)
    if span <= 1e-9 * max(abs(low), abs(high)):
        span = 0.2 * max(abs(low), abs(high)) or 1.0
        return Axis(low - span / 2, high + span / 2, False, title)
    return Axis(low - _PAD * span, high + _PAD * span, False, title)


def lr_axis(lrs: ArrayLike, title: str = "learning rate") -> Axis:
    """Return the log axis that shows all of ``lrs`` (positive), at least 0.8 decades of it."""
    finite = _finite(lrs)
    low, high = math.log10(float(finite.min())), math.log10(float(finite.max()))
    pad = max(0.03 * (high - low), (_LEAST_DECADES - (high - low)) / 2)
    return Axis(10 ** (low - pad), 10 ** (high + pad), True, title)


def step_axis(steps: int) -> Axis:
    """Return the linear axis of ``steps`` steps, with room for marks at its ends."""
    last = max(1, steps)
    return Axis(-0.012 * last, 1.012 * last, False, "step")


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return np.clip(flat[np.isfinite(flat)], -_HUGE, _HUGE)
