"""What is on a chart, as plain data: points at their places, lines in finite pieces, flags whose texts do not meet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.views.axes import Axis

INSIDE = "inside"
ABOVE = "above"
BELOW = "below"
NOT_FINITE = "not finite"
DIVERGED = "diverged"

_EDGE = 0.03  # of the axis: marks for values beyond it are drawn this far inside it
_CHARACTER = 6.9  # pixels, of the flags' font; a little more than the mean, so that the estimate is safe


@dataclass(frozen=True)
class ChartPoint:
    """A measured ``value``, drawn at (x, y); ``kind`` says whether it is inside or why it is at the edge."""

    x: float
    y: float
    kind: str
    series: str | float
    value: float
    text: str


@dataclass(frozen=True)
class Line:
    """A connected line of one series; ``y`` never leaves the finite numbers."""

    series: str | float
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class Lines:
    """Lines that look the same, each in its finite pieces; without a color, each has that of its series."""

    name: str
    pieces: tuple[Line, ...]
    color: str | None = None
    width: float = 2
    opacity: float = 1
    interpolate: str | None = None


@dataclass(frozen=True)
class Dots:
    """Points that look the same; without a shape, each has that of its series."""

    name: str
    points: tuple[ChartPoint, ...]
    size: float
    opacity: float
    shape: str | None = None
    filled: bool = True


@dataclass(frozen=True)
class Flag:
    """A vertical rule with a text above the plot, on a row of texts and to one side of the rule."""

    x: float
    text: str
    role: str
    row: int
    side: str


def place_point(x: float, value: float, series: str | float, axis: Axis, *, diverged: bool = False) -> ChartPoint:
    """Return where ``value`` is drawn along ``axis``: inside, or at the edge that it is beyond."""
    y, kind = value, INSIDE
    if diverged or not math.isfinite(value):
        y, kind = axis.at(1 - _EDGE), DIVERGED if diverged else NOT_FINITE
    elif value > axis.high:
        y, kind = axis.at(1 - _EDGE), ABOVE
    elif value < axis.low:
        y, kind = axis.at(_EDGE), BELOW
    return ChartPoint(float(x), float(y), kind, series, float(value), number_text(value, 4))


def place_flags(wanted: Iterable[tuple[float, str, str]], axis: Axis, width: float) -> tuple[Flag, ...]:
    """Return ``(x, text, role)`` as flags on so many rows that no text meets another or a foreign rule.

    All texts are on one side of their rules. A text must be higher than every rule that it reaches over, which the
    walk from the last rule on that side to the first ensures.
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


def line_through(series: str | float, x: ArrayLike, y: ArrayLike, axis: Axis) -> tuple[Line, ...]:
    """Return the pieces of a line that are finite, cut off one height of the plot beyond the axis."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    finite = np.isfinite(xs) & np.isfinite(ys)
    pieces = np.split(np.arange(len(xs)), np.flatnonzero(np.diff(finite)) + 1)
    return tuple(
        Line(series, tuple(xs[piece].tolist()), tuple(np.clip(ys[piece], axis.at(-1), axis.at(2)).tolist()))
        for piece in pieces
        if piece.size and finite[piece[0]]
    )


def edge_notes(points: Sequence[ChartPoint]) -> tuple[str, ...]:
    """Return a sentence for each kind of point at an edge of the plot."""
    above = [point.value for point in points if point.kind == ABOVE]
    below = [point.value for point in points if point.kind == BELOW]
    crosses = {kind: sum(point.kind == kind for point in points) for kind in (DIVERGED, NOT_FINITE)}
    notes = []
    if above:
        notes.append(f"Triangles at the top: {len(above)} above the axis, up to {number_text(max(above))}.")
    if below:
        notes.append(f"Triangles at the bottom: {len(below)} below the axis, down to {number_text(min(below))}.")
    if any(crosses.values()):
        counted = ", ".join(f"{count} {kind}" for kind, count in crosses.items() if count)
        notes.append(f"Crosses at the top: {counted}.")
    return tuple(notes)


def thinned(values: ArrayLike, most: int) -> NDArray[np.int64]:
    """Return the indices of at most about ``most`` of ``values`` that keep the look of them all.

    Of every stretch, the lowest and the highest finite value and the first that is not finite remain.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) <= most:
        return np.arange(len(array), dtype=np.int64)
    width = -(-len(array) // max(1, most // 2))  # values of a stretch
    rows = np.pad(array, (0, -len(array) % width), constant_values=array[-1]).reshape(-1, width)
    finite, begins = np.isfinite(rows), np.arange(len(rows)) * width
    lowest = begins + np.where(finite, rows, np.inf).argmin(axis=1)
    highest = begins + np.where(finite, rows, -np.inf).argmax(axis=1)
    wrong = begins + (~finite).argmax(axis=1)
    kept = np.concatenate([lowest[finite.any(axis=1)], highest[finite.any(axis=1)], wrong[~finite.all(axis=1)]])
    return np.unique(np.minimum(kept, len(array) - 1))


def checked_some(**lists: Sized) -> None:
    """Raise an InputError if one of ``lists`` holds nothing."""
    for name, items in lists.items():
        if not len(items):
            raise InputError(name, items, "must not be empty", "There is nothing to draw")
