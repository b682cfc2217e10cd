"""The chart of contenders: the loss of each over the rate, or over the steps, told apart by colour and dash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis, step_axis, value_axis
from stepsize.views.layers import edges, layered, lines, points, series_encodings
from stepsize.views.marks import Line, Point, checked_arrays, edge_notes, line_through, place_point
from stepsize.views.theme import COLOURS, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["ContenderLine", "ContendersInfo", "ContendersView", "contenders_chart", "contenders_info"]

_MOST = len(COLOURS)
_DECADES = 0.5  # from which span on losses are drawn on a log axis


@dataclass(frozen=True, eq=False)
class ContenderLine:
    """One contender.

    Args:
        name: What the legend calls it.
        x: Rates or steps, rising, shape (n,).
        losses: What it reached there, shape (n,); NaN or infinite where it diverged.
        marked: The x that is marked, such as its tuned rate; None marks none.

    Raises:
        InputError: If the name is empty, there is no point, or shapes differ.
    """

    name: str
    x: NDArray[np.float64] | Sequence[float]
    losses: NDArray[np.float64] | Sequence[float]
    marked: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name", self.name, "must not be empty", "Name it as the legend shall call it")
        where = f"x of '{self.name}'"
        checked_arrays(**{where: self.x, f"losses of '{self.name}'": self.losses})
        if not len(self.x):
            raise InputError(where, self.x, "must hold at least one point", "Leave this contender out")
        if (np.diff(np.asarray(self.x, dtype=np.float64)) <= 0).any():
            raise InputError(where, self.x, "must rise", "Sort the points")


@dataclass(frozen=True, eq=False)
class ContendersView:
    """What the chart of contenders shows.

    Args:
        contenders: One line each, best first, with different names; those beyond the eighth are left out, and named.
        over: Whether x is a learning rate, with points, or steps.
        title: What was trained.
        subtitle: More about it, as sentences; wrapped by the chart.
        loss_label: The title of the vertical axis.

    Raises:
        InputError: If there is none, or two share a name.
    """

    contenders: tuple[ContenderLine, ...]
    over: str = "learning rate"
    title: str = "Contenders"
    subtitle: str = ""
    loss_label: str = "loss"

    def __post_init__(self) -> None:
        names = [one.name for one in self.contenders]
        if not names:
            raise InputError("contenders", names, "must hold at least one")
        if len(set(names)) < len(names):
            raise InputError(
                "contenders", names, "must have different names", "Rename one: the legend tells them apart"
            )
        if self.over not in ("learning rate", "step"):
            raise InputError("over", self.over, "must be 'learning rate' or 'step'")


@dataclass(frozen=True)
class ContendersInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of rates or steps.
        y: The axis of losses: clipped where they explode, log where they span half a decade.
        curves: The lines, in finite pieces.
        points: The points of a chart over rates; none over steps.
        marked: The points at the tuned rates.
        names: In the order of the legend.
        lines: Subtitle and notes below the title.
    """

    x: Axis
    y: Axis
    curves: tuple[Line, ...]
    points: tuple[Point, ...]
    marked: tuple[Point, ...]
    names: tuple[str, ...]
    lines: tuple[str, ...]


def contenders_info(view: ContendersView) -> ContendersInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, lines, points and sentences.

    Example:
        >>> one = ContenderLine("adam", [1e-3, 1e-2, 1e-1], [0.5, 0.3, float("inf")], marked=1e-2)
        >>> info = contenders_info(ContendersView((one,)))
        >>> info.curves[0].x, [point.x for point in info.marked], info.lines
        ((0.001, 0.01), [0.01], ('Crosses at the top: 1 not finite.',))
    """
    shown, left = view.contenders[:_MOST], view.contenders[_MOST:]
    over_rates = view.over == "learning rate"
    ends = [value for one in shown if math.isfinite(value := _lowest(one))]
    levels = np.concatenate([np.asarray(one.losses, dtype=np.float64) for one in shown])
    y = value_axis(levels[np.isfinite(levels)], view.loss_label, keep=ends, may_log=True, decades=_DECADES)
    xs = np.concatenate([np.asarray(one.x, dtype=np.float64) for one in shown])
    placed = tuple(
        place_point(float(x), float(loss), one.name, y)
        for one in shown
        for x, loss in zip(one.x, one.losses, strict=True)
        if over_rates
    )
    tuned = {(one.name, one.marked) for one in shown if one.marked is not None}
    names = ", ".join(one.name for one in left)
    note = f"Not drawn, to keep lines apart: {names}." if left else ""
    return ContendersInfo(
        x=lr_axis(xs) if over_rates else step_axis(int(xs.max())),
        y=y,
        curves=tuple(line for one in shown for line in line_through(one.name, one.x, one.losses, y)),
        points=placed,
        marked=tuple(point for point in placed if (point.series, point.x) in tuned),
        names=tuple(one.name for one in shown),
        lines=wrapped(view.subtitle, " ".join([note, *edge_notes(placed)]).strip()),
    )


def contenders_chart(view: ContendersView) -> alt.LayerChart:
    """Return the chart of contenders: a line each, and over rates a point a training, the tuned rate ringed.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    info = contenders_info(view)
    colour, dash = series_encodings(info.names)
    chart = layered(
        *lines(info.curves, info.x, info.y, colour, name="contenders", width=1.8, dash=dash),
        points(info.points, info.x, info.y, colour, size=24, opacity=0.9),
        points(info.marked, info.x, info.y, colour, name="tuned", size=110, opacity=1),
        *edges(info.points, info.x, info.y, colour),
    )
    return themed(chart.properties(title=header(view.title, info.lines)))


def _lowest(one: ContenderLine) -> float:
    losses = np.asarray(one.losses, dtype=np.float64)
    finite = losses[np.isfinite(losses)]
    return float(finite.min()) if finite.size else math.nan
