"""Dimensions of a sweep as axes: by ratio, by distance, by nearness to one, or one place a value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.views.axes import Axis, Tick, complement_text, complement_ticks, log_ticks, lr_axis, value_axis

__all__ = ["MapDimension", "Ruler", "Scale", "Spot", "ruler"]

Scale: TypeAlias = Literal["log", "linear", "complement", "even"]
Spot: TypeAlias = "float | int | str"

_CHARACTER = 7.4  # pixels, of the axes' font
_ROW = 17
_MOST_LABELS = 14


@dataclass(frozen=True)
class MapDimension:
    """One dimension of a map.

    Args:
        name: What it is called, at its axis.
        scale: ``"log"`` (equal distances are equal ratios), ``"linear"``, ``"complement"`` (log of 1 - value, for
            momentum and betas) or ``"even"`` (one place a value, in order; for words, and numbers that include 0).

    Raises:
        InputError: If the scale is unknown.
    """

    name: str
    scale: Scale = "log"

    def __post_init__(self) -> None:
        if self.scale not in ("log", "linear", "complement", "even"):
            raise InputError("scale", self.scale, "must be 'log', 'linear', 'complement' or 'even'")

    def check(self, value: Spot) -> None:
        """Raise an InputError if ``value`` has no place on this dimension."""
        if self.scale == "even":
            return
        if isinstance(value, str) or not math.isfinite(value):
            rule = f"must be finite numbers on a {self.scale} scale"
            raise InputError(self.name, value, rule, "Use the scale 'even' for words")
        if self.scale == "log" and value <= 0:
            rule = "must be positive on a log scale"
            raise InputError(self.name, value, rule, "Use the scale 'even', which has a place for zero")
        if self.scale == "complement" and not value < 1:
            raise InputError(self.name, value, "must lie below 1 on a complement scale", "Use the scale 'linear'")

    def text(self, value: Spot) -> str:
        """Return ``value`` as an axis writes it."""
        if isinstance(value, str):
            return value
        return complement_text(_rounded(1 - value)) if self.scale == "complement" else number_text(value)


@dataclass(frozen=True)
class Ruler:
    """Where the values of a dimension lie.

    Attributes:
        axis: With its ticks.
        narrowest: The pixels of the smallest distance between two values.
        values: Those that were measured, in the order of the axis.
        bounds: Half-way between them, on the axis' own level, one more than ``values``.
        scale: Of the dimension.
    """

    axis: Axis
    narrowest: float
    values: tuple[Spot, ...]
    bounds: tuple[float, ...]
    scale: Scale

    def place(self, value: Spot) -> float:
        """Return where ``value`` lies, in units of the axis."""
        return _place(value, self.scale, self.values)

    def cell(self, value: Spot) -> tuple[float, float]:
        """Return where the cell of a measured value begins and ends, in units of the axis."""
        index = self.values.index(value)
        return _from_level(self.bounds[index], self.scale), _from_level(self.bounds[index + 1], self.scale)

    def between(self, span: tuple[float, float], share: float) -> float:
        """Return what lies at ``share`` of the way through ``span``, both in units of the axis."""
        if self.axis.log:
            return float(span[0] * (span[1] / span[0]) ** share)
        return span[0] + share * (span[1] - span[0])


def ruler(dimension: MapDimension, values: Sequence[Spot], *, pixels: float, upright: bool, cells: bool) -> Ruler:
    """Return where ``values`` lie on ``dimension``.

    Args:
        dimension: Its name and scale.
        values: What was measured; repeated ones count once.
        pixels: The length of the axis.
        upright: Whether it is the vertical one, on which texts stand below each other.
        cells: Whether the axis ends where the cells of the outermost values do; else it leaves some air.
    """
    scale = dimension.scale
    ordered = _ordered(values)
    levels = np.array([_level(value, scale, ordered) for value in ordered])
    middles = (levels[1:] + levels[:-1]) / 2
    first, last = (levels[1] - levels[0], levels[-1] - levels[-2]) if len(levels) > 1 else (1.0, 1.0)
    bounds = (float(levels[0] - first / 2), *middles.tolist(), float(levels[-1] + last / 2))
    axis = _axis(dimension, levels.tolist(), bounds, cells=cells or scale == "even")
    positions = [axis.position(_from_level(level, scale)) * pixels for level in levels]
    if scale == "even" or (cells and _fits(dimension, ordered, positions, upright=upright)):
        axis = replace(axis, ticks=_thinned_ticks(dimension, ordered, levels.tolist()))
    gaps = [abs(_span(axis, low, high, scale)) * pixels for low, high in pairwise(bounds)]
    return Ruler(axis, min(gaps), ordered, bounds, scale)


def _ordered(values: Sequence[Spot]) -> tuple[Spot, ...]:
    """Numbers from the beginning of the axis to its end, words in the order in which they came."""
    distinct = list(dict.fromkeys(values))
    numbers = sorted(value for value in distinct if not isinstance(value, str))
    return (*numbers, *(value for value in distinct if isinstance(value, str)))


def _place(value: Spot, scale: Scale, ordered: Sequence[Spot]) -> float:
    """Where a value lies, in units of the axis: on a complement one, these are distances to one."""
    if scale == "even":
        return float(ordered.index(value))
    return _rounded(1 - float(value)) if scale == "complement" else float(value)


def _level(value: Spot, scale: Scale, ordered: Sequence[Spot]) -> float:
    """What grows evenly along the axis."""
    place = _place(value, scale, ordered)
    if scale == "log":
        return math.log10(place)
    return -math.log10(place) if scale == "complement" else place


def _from_level(level: float, scale: Scale) -> float:
    if scale == "log":
        return float(10**level)
    return float(10**-level) if scale == "complement" else float(level)


def _axis(dimension: MapDimension, levels: Sequence[float], bounds: Sequence[float], *, cells: bool) -> Axis:
    scale = dimension.scale
    places = [_from_level(level, scale) for level in levels]
    ends = sorted(_from_level(bound, scale) for bound in (bounds[0], bounds[-1]))
    if scale == "linear" or scale == "even":
        airy = value_axis(places, dimension.name, keep=places)
        return replace(airy, low=ends[0], high=ends[1]) if cells else airy
    airy = lr_axis(places, dimension.name)
    low, high = ends if cells else (airy.low, airy.high)
    if scale == "log":
        return Axis(low, high, True, dimension.name, log_ticks(low, high))
    return Axis(low, high, True, dimension.name, complement_ticks(low, high), reverse=True)


def _fits(dimension: MapDimension, ordered: Sequence[Spot], positions: Sequence[float], *, upright: bool) -> bool:
    """Whether the text of every value has room beside its neighbours'."""
    sizes = [_ROW if upright else _CHARACTER * len(dimension.text(value)) + 10 for value in ordered]
    pairs = zip(positions[:-1], positions[1:], sizes[:-1], sizes[1:], strict=True)
    return all(abs(b - a) >= (first + second) / 2 for a, b, first, second in pairs)


def _thinned_ticks(dimension: MapDimension, ordered: Sequence[Spot], levels: Sequence[float]) -> tuple[Tick, ...]:
    stride = math.ceil(len(ordered) / _MOST_LABELS) if dimension.scale == "even" else 1
    return tuple(
        Tick(_from_level(level, dimension.scale), dimension.text(value) if index % stride == 0 else "")
        for index, (value, level) in enumerate(zip(ordered, levels, strict=True))
    )


def _span(axis: Axis, low: float, high: float, scale: Scale) -> float:
    return axis.position(_from_level(high, scale)) - axis.position(_from_level(low, scale))


def _rounded(distance: float) -> float:
    """The distance to one without the rounding of the subtraction: 1 - 0.9 is 0.1."""
    return float(f"{distance:.12g}")
