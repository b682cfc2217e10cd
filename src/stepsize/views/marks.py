"""What stands on a chart, as plain data: points at their places, flags whose texts do not collide."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.views.axes import Axis

__all__ = [
    "ABOVE", "BELOW", "DIVERGED", "INSIDE", "NOT_FINITE",
    "Flag", "Line", "Point", "checked_arrays", "edge_notes", "line_through", "place_flags", "place_point", "thinned",
]  # fmt: skip

INSIDE = "inside"
ABOVE = "above"
BELOW = "below"
NOT_FINITE = "not finite"
DIVERGED = "diverged"

_CHARACTER = 6.9  # pixels, of the flags' font; a little more than the mean, so that the estimate is safe


@dataclass(frozen=True)
class Point:
    """A measured value at its place.

    Attributes:
        x: In units of the horizontal axis.
        y: In units of the vertical axis, moved onto its edge where the value lies outside.
        kind: ``"inside"``, ``"above"``, ``"below"`` the axis, ``"not finite"`` or ``"diverged"``.
        series: Which group it belongs to, as the legend names it.
        value: What was measured.
        text: The value as the tooltip shows it.
    """

    x: float
    y: float
    kind: str
    series: str
    value: float
    text: str


@dataclass(frozen=True)
class Line:
    """A connected line of one series; ``y`` never leaves the finite numbers."""

    series: str
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Flag:
    """A vertical rule with a text at its top.

    Attributes:
        x: In units of the horizontal axis.
        text: What the rule marks.
        role: ``"low"``, ``"lr"``, ``"high"``, ``"diverged"`` or ``"optimum"``; decides colour and dash.
        row: How many rows of text lie between it and the plot.
        side: Whether the text stands to the ``"left"`` or ``"right"`` of the rule.
    """

    x: float
    text: str
    role: str
    row: int
    side: str


def place_point(x: float, value: float, series: str, axis: Axis, *, diverged: bool = False) -> Point:
    """Return where ``value`` is drawn on ``axis``: inside, or at the edge that it lies beyond."""
    y, kind = value, INSIDE
    if diverged or not math.isfinite(value):
        y, kind = axis.high, DIVERGED if diverged else NOT_FINITE
    elif value > axis.high:
        y, kind = axis.high, ABOVE
    elif value < axis.low:
        y, kind = axis.low, BELOW
    return Point(float(x), float(y), kind, series, float(value), number_text(value, 4))


def place_flags(wanted: Iterable[tuple[float, str, str]], axis: Axis, width: float) -> tuple[Flag, ...]:
    """Return ``(x, text, role)`` as flags on so many rows that no text meets another or a foreign rule.

    All texts stand on one side of their rules. A text must lie higher than every rule that it reaches
    over, which the walk below from the last rule on that side to the first ensures.

    Args:
        wanted: What to mark.
        axis: The horizontal axis.
        width: Of the plot, in pixels.
    """
    flags = sorted(wanted)
    places = [axis.position(x) * width for x, _, _ in flags]
    lengths = [_CHARACTER * len(text) + 8 for _, text, _ in flags]
    over_right = max((place + length - width for place, length in zip(places, lengths, strict=True)), default=0.0)
    over_left = max((length - place for place, length in zip(places, lengths, strict=True)), default=0.0)
    side = "right" if over_right <= 0 or over_right <= over_left else "left"
    order = list(range(len(flags)))
    order = order[::-1] if side == "right" else order
    rows = [0] * len(flags)
    for turn, index in enumerate(order):
        reached = [other for other in order[:turn] if abs(places[other] - places[index]) < lengths[index]]
        rows[index] = max((rows[other] + 1 for other in reached), default=0)
    return tuple(Flag(float(x), text, role, rows[i], side) for i, (x, text, role) in enumerate(flags))


def line_through(series: str, x: ArrayLike, y: ArrayLike, axis: Axis) -> tuple[Line, ...]:
    """Return the pieces of a line that are finite, cut off one height of the plot beyond the axis."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if axis.log:
        ratio = axis.high / axis.low
        lowest, highest = axis.low / ratio, axis.high * ratio
    else:
        span = axis.high - axis.low
        lowest, highest = axis.low - span, axis.high + span
    finite = np.isfinite(xs) & np.isfinite(ys)
    pieces = np.split(np.arange(len(xs)), np.flatnonzero(np.diff(finite)) + 1)
    return tuple(
        Line(series, tuple(xs[piece].tolist()), tuple(np.clip(ys[piece], lowest, highest).tolist()))
        for piece in pieces
        if piece.size and finite[piece[0]]
    )


def edge_notes(points: Sequence[Point]) -> tuple[str, ...]:
    """Return a sentence for each kind of point that stands on an edge of the plot, but for the diverged."""
    notes = []
    above = [point.value for point in points if point.kind == ABOVE]
    below = [point.value for point in points if point.kind == BELOW]
    broken = sum(point.kind == NOT_FINITE for point in points)
    if above:
        notes.append(f"Triangles at the top: {len(above)} above the axis, up to {number_text(max(above))}.")
    if below:
        notes.append(f"Triangles at the bottom: {len(below)} below the axis, down to {number_text(min(below))}.")
    if broken:
        notes.append(f"Crosses at the top: {broken} not finite.")
    return tuple(notes)


def thinned(values: ArrayLike, most: int) -> NDArray[np.int64]:
    """Return the indices of at most about ``most`` of ``values`` that keep the look of them all.

    Of every stretch, the lowest and the highest finite value and the first that is not finite remain.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) <= most:
        return np.arange(len(array), dtype=np.int64)
    kept: list[int] = []
    for stretch in np.array_split(np.arange(len(array)), max(1, most // 2)):
        finite = np.isfinite(array[stretch])
        if finite.any():
            good = stretch[finite]
            kept += [int(good[array[good].argmin()]), int(good[array[good].argmax()])]
        if not finite.all():
            kept.append(int(stretch[~finite][0]))
    return np.unique(np.asarray(kept, dtype=np.int64))


def checked_arrays(**arrays: ArrayLike) -> None:
    """Raise an InputError unless all ``arrays`` are one-dimensional and as long as the first."""
    shapes = {name: np.shape(np.asarray(array)) for name, array in arrays.items()}
    first_name, first = next(iter(shapes.items()))
    for name, shape in shapes.items():
        if len(shape) != 1 or shape != first:
            raise InputError(name, shape, f"must be a flat array, as long as {first_name} {first}")
