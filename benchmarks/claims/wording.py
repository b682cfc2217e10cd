"""Effects and counts as the page writes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from benchmarks.claims.effects import Check, Part, Scale, Unit

__all__ = ["agreement", "conditions_text", "effect_text", "middle", "number", "typical", "value_text"]

_TIMES = 2.0  # from this ratio on people say "times"


def value_text(value: float, scale: Scale) -> str:
    """Return one value as people read it.

    Ratios of losses come as natural logarithms: ``log(1.25)`` is ``+25%``, ``log(3)`` is ``3.0×``.
    """
    if not math.isfinite(value):
        return "∞" if value > 0 else "-∞"
    if scale == "ratio":
        ratio = math.exp(value)
        if ratio >= _TIMES or ratio <= 1 / _TIMES:
            return f"{number(ratio)}×"
        return f"{_signed(100 * (ratio - 1))}%"
    if scale == "share":
        return f"{_signed(100 * value)} points"
    if scale == "percent":
        return f"{number(100 * value)}%"
    if scale == "decades":
        return f"{value:+.2f} decades"
    return f"{value:.3g}" if abs(value) < 0.9 or abs(value) > 1.1 else f"{value:.4f}"


def number(value: float) -> str:
    """Return a positive number with two digits, thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _signed(value: float) -> str:
    return f"{value:+,.0f}" if abs(value) >= 10 else f"{value:+.1f}"


def effect_text(check: Check) -> str:
    """Return the mean and its interval."""
    low, high = (value_text(end, check.scale) for end in (check.effect.low, check.effect.high))
    return f"{value_text(check.effect.mean, check.scale)} ({low} … {high})"


def middle(part: Part) -> str:
    """Return the median of the effects over the places."""
    if not part.units:
        return "nothing measured yet"
    means = [unit.checks[0].effect.mean for unit in part.units]
    return value_text(float(np.median(means)), part.units[0].checks[0].scale)


def typical(part: Part) -> str:
    """Return the median of the effects over the places, and the least and largest."""
    if len(part.units) == 1:
        return effect_text(part.units[0].checks[0])
    if not part.units:
        return middle(part)
    scale = part.units[0].checks[0].scale
    means = [unit.checks[0].effect.mean for unit in part.units]
    return f"{middle(part)} ({value_text(min(means), scale)} … {value_text(max(means), scale)})"


def agreement(part: Part) -> str:
    """Return in how many places the part holds, and in how many the opposite."""
    text = f"{part.holding} of {len(part.units)}"
    return f"{text}, {part.opposed} opposed" if part.opposed else text


def conditions_text(part: Part) -> str:
    """Return under which known properties the part holds everywhere, and how it does under the others."""
    labels = list(dict.fromkeys(label for unit in part.units for label in unit.labels))
    counts = []
    for label in labels:
        own = [unit for unit in part.units if label in unit.labels]
        if len(own) < len(part.units):
            counts.append(f"{label}: {_of(own)}")
    return "; ".join(counts)


def _of(units: Sequence[Unit]) -> str:
    return f"{sum(unit.holds for unit in units)} of {len(units)}"
