"""Where numbers land: axes, their ticks, and robust limits that one explosion does not stretch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepsize.curves.numerals import number_text

__all__ = [
    "Axis", "Tick", "clip_levels", "complement_text", "complement_ticks", "log_ticks", "lr_axis", "step_axis",
    "value_axis",
]  # fmt: skip

_HUGE = 1e300  # beyond it, differences of two levels could overflow
_LEAST_DECADES = 0.8  # of a log axis: holds at least one of 1, 2, 5 times a power of ten
_LOG_DECADES = 1.5  # from here on, values are read better on a log axis
_MOST_LABELS = 10
_PAD = 0.05


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what stands there; a minor tick has no text."""

    value: float
    text: str


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        low: The value at its beginning.
        high: The value at its end.
        log: Whether equal distances are equal ratios.
        title: What it measures, with the unit.
        ticks: Of a log axis; a linear one that has none leaves them to the renderer.
        empty: Whether nothing finite lies on it; its numbers would mean nothing and are left out.
        bare: Whether texts are left to another panel below.
        count: About how many ticks a linear axis has.
        reverse: Whether ``high`` stands at the beginning.
    """

    low: float
    high: float
    log: bool
    title: str
    ticks: tuple[Tick, ...] = ()
    empty: bool = False
    bare: bool = False
    count: int = 6
    reverse: bool = False

    def position(self, value: float) -> float:
        """Return where ``value`` lies, as a share of the axis; below 0 or above 1 outside it."""
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return 1 - share if self.reverse else share


def clip_levels(values: ArrayLike, keep: ArrayLike = (), *, quantile: float = 0.75) -> tuple[float, float]:
    """Return the lowest and the highest level worth showing.

    With a the lowest value and q the third quartile, or another ``quantile``, values above q + (q - a) are given
    up, unless they overshoot by so little (a quarter of the height) that showing them costs nothing. Falling is
    progress, so only what lies 50 quartile distances below the first quartile is given up at the lower side.

    Args:
        values: Any shape; NaN and infinities are passed over.
        keep: Levels that must be shown, whatever the values.
        quantile: Where q lies, in (0.25, 1).

    Returns:
        The two levels; ``(0, 1)`` where nothing is finite.

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
    """Return the vertical axis for ``values``: robust limits with some air, log where that reads better.

    Args:
        values: What will be drawn; NaN and infinities are passed over.
        title: What it measures.
        keep: Levels that must be shown.
        may_log: Whether a log axis is an option; taken if all is positive and spans over ``decades``.
        decades: From which span on values are read better on a log axis.
    """
    finite = np.concatenate([_finite(values), _finite(keep)])
    if may_log and finite.size and finite.min() > 0 and finite.max() / finite.min() > 10**decades:
        low, high = clip_levels(np.log10(_finite(values)), np.log10(_finite(keep)))
        if high - low > decades:  # what is left after clipping decides
            pad = _PAD * (high - low)
            return _log_axis(10 ** (low - pad), 10 ** (high + pad), title)
    low, high = clip_levels(values, keep)
    span = high - low
    if not finite.size:
        return Axis(low, high, False, title, empty=True)
    if span <= 1e-9 * max(abs(low), abs(high)):
        span = 0.2 * max(abs(low), abs(high)) or 1.0
        return Axis(low - span / 2, high + span / 2, False, title)
    return Axis(low - _PAD * span, high + _PAD * span, False, title)


def lr_axis(lrs: ArrayLike, title: str = "learning rate") -> Axis:
    """Return the log axis that shows all of ``lrs`` (positive), at least 0.8 decade of it."""
    finite = _finite(lrs)
    low, high = math.log10(float(finite.min())), math.log10(float(finite.max()))
    pad = max(0.03 * (high - low), (_LEAST_DECADES - (high - low)) / 2)
    return _log_axis(10 ** (low - pad), 10 ** (high + pad), title)


def step_axis(steps: int, title: str = "step") -> Axis:
    """Return the linear axis of ``steps`` updates, with room for marks at its ends."""
    last = max(1, steps)
    return Axis(-0.012 * last, 1.012 * last, False, title)


def log_ticks(low: float, high: float) -> tuple[Tick, ...]:
    """Return ticks at 1 to 9 times the powers of ten in [``low``, ``high``], with text where there is room.

    Powers of ten bear a text (every second, third … one of very long axes); where fewer than three of them
    lie in the range, 2 and 5 times them do too.

    Example:
        >>> [tick.text for tick in log_ticks(5e-4, 0.1) if tick.text]
        ['0.001', '0.01', '0.1']
        >>> [tick.text for tick in log_ticks(5e-4, 0.012) if tick.text]
        ['5e-4', '0.001', '0.002', '0.005', '0.01']
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(first, last + 1)
    inside = [power for power in powers if low <= float(f"1e{power}") <= high]
    stride = max(1, math.ceil(len(inside) / _MOST_LABELS))
    labelled: tuple[int, ...] = (1,) if len(inside) >= 3 else (1, 2, 5)
    digits: Sequence[int] = range(1, 10) if stride == 1 else (1,)
    ticks = []
    for power in powers:
        for digit in digits:
            value = float(f"{digit}e{power}")  # parsed, hence exactly the decimal number
            if low <= value <= high:
                bears = digit in labelled and (power - first) % stride == 0
                ticks.append(Tick(value, number_text(value) if bears else ""))
    return tuple(ticks)


def complement_ticks(low: float, high: float) -> tuple[Tick, ...]:
    """Return ticks for what lies as near to one as ``low`` … ``high``: at the distances, with texts of the values.

    Example:
        >>> [tick.text for tick in complement_ticks(0.005, 1.0) if tick.text]
        ['0.99', '0.9', '0']
    """
    return tuple(replace(tick, text=complement_text(tick.value) if tick.text else "") for tick in log_ticks(low, high))


def complement_text(distance: float) -> str:
    """Return one minus ``distance`` with as many digits as tell it from one.

    Example:
        >>> complement_text(0.1), complement_text(0.00021), complement_text(1.0)
        ('0.9', '0.99979', '0')
    """
    places = max(0, 1 - math.floor(math.log10(distance)))
    text = f"{1 - distance:.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _log_axis(low: float, high: float, title: str) -> Axis:
    return Axis(low, high, True, title, log_ticks(low, high))


def _finite(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return np.clip(flat[np.isfinite(flat)], -_HUGE, _HUGE)
