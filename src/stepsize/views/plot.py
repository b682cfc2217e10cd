"""What a chart of lines and points shows, as plain data, and the one function that draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from stepsize.views.axes import Axis
from stepsize.views.layers import (
    area,
    band,
    edges,
    flags,
    gradient,
    layered,
    level,
    line_legend,
    lines,
    looks,
    points,
    stacked,
)
from stepsize.views.marks import Dots, Flag, Lines
from stepsize.views.theme import HEIGHT, WIDTH
from stepsize.views.vega import Chart, alt


@dataclass(frozen=True)
class Looks:
    """How series are told apart: each by its color and, where given, dash or shape; numbers by a gradient of colors."""

    names: tuple[str, ...] = ()
    colors: tuple[str, ...] = ()
    dashes: tuple[Sequence[float], ...] = ()
    shapes: tuple[str, ...] = ()
    legend: bool = False
    gradient: Axis | None = None


@dataclass(frozen=True)
class Plot:
    """Everything on a plot, at its place."""

    x: Axis
    y: Axis
    marks: tuple[Lines | Dots, ...]
    looks: Looks
    flags: tuple[Flag, ...] = ()
    interval: tuple[float, float] | None = None  # of x: shaded over the whole height
    area: tuple[tuple[float, float, float], ...] = ()  # of a curve: (x, low, high)
    level: tuple[float, str] | None = None  # a value of y, and its name
    height: int = HEIGHT

    def __getitem__(self, name: str) -> Any:
        """Return the pieces of the lines, or the points, of that name; none if there are none."""
        found = [mark.pieces if isinstance(mark, Lines) else mark.points for mark in self.marks if mark.name == name]
        return found[0] if found else ()


@dataclass(frozen=True)
class ChartInfo:
    """Everything on a chart: the title, the lines below it, and plots over the same horizontal axis."""

    title: str
    lines: tuple[str, ...]
    plots: tuple[Plot, ...]


def draw(info: ChartInfo) -> Chart:
    """Return the chart; the texts of flags are above its first plot, the numbers of the horizontal axis at the last."""
    last = len(info.plots) - 1
    drawn = [_drawn(plot, first=not place, last=place == last) for place, plot in enumerate(info.plots)]
    return stacked(info.title, info.lines, *drawn)


def _drawn(plot: Plot, *, first: bool, last: bool) -> alt.LayerChart:
    x, y = replace(plot.x, bare=not last), plot.y
    look = _encodings(plot.looks)
    of_lines, of_dots = look | {"shape": alt.Undefined}, look | {"strokeDash": alt.Undefined}
    layers = [
        *band(plot.interval, x, height=plot.height),
        *area(plot.area, x, y),
        *flags(plot.flags, x, height=plot.height, texts=first),
        *level(plot.level, y),
    ]
    for mark in plot.marks:
        layers += lines(mark, x, y, **of_lines) if isinstance(mark, Lines) else [points(mark, x, y, **of_dots)]
    dots = [mark for mark in plot.marks if isinstance(mark, Dots)]
    beyond = [point for mark in dots for point in mark.points]
    return layered(
        *layers, *edges(beyond, x, y, look["color"], filled=all(mark.filled for mark in dots)), height=plot.height
    )


def _encodings(of: Looks) -> dict[str, Any]:
    if of.gradient is not None:
        return {"color": gradient("series", of.gradient)}
    legend = None
    if of.legend:
        legend = alt.Legend(title=None, columns=4, labelLimit=WIDTH) if of.shapes else line_legend(of.names)
    return looks(of.names, legend, of.colors, of.dashes, of.shapes)
