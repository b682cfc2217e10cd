"""Curves as one line of block characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BLOCKS = "▁▂▃▄▅▆▇█"
_LOST = "×"
_LOG_SPAN = 30.0  # the largest value over the smallest, beyond which their logarithms are shown


def spark(values: Sequence[float], width: int) -> str:
    """Return values as one line, each column the mean of its share of them.

    Positive values that span more than a factor of 30 are shown by their logarithms; × stands where nothing is finite.
    """
    columns = [_mean(part) for part in _parts(values, width)]
    finite = [value for value in columns if math.isfinite(value)]
    if not finite:
        return _LOST * len(columns)
    low, high = min(finite), max(finite)
    if low > 0 and high > _LOG_SPAN * low:
        columns = [math.log(value) if math.isfinite(value) else value for value in columns]
        low, high = math.log(low), math.log(high)
    return "".join(_block(value, low, high) for value in columns)


def _parts(values: Sequence[float], width: int) -> list[Sequence[float]]:
    count = min(width, len(values))
    places = [round(len(values) * column / count) for column in range(count + 1)] if count else [0]
    return [values[begin:end] for begin, end in pairwise(places)]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return _LOST
    share = (value - low) / (high - low) if high > low else 0.0
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]
