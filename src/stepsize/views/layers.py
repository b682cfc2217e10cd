"""From marks to altair layers; what all charts share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from stepsize.views.axes import Axis
from stepsize.views.marks import ABOVE, BELOW, DIVERGED, INSIDE, NOT_FINITE, ChartPoint, Dots, Flag, Lines
from stepsize.views.theme import (
    ANSWER,
    HEIGHT,
    INK,
    LINE_HEIGHT,
    MUTED,
    ROLE_COLORS,
    ROLE_DASHES,
    WARNING,
    WIDTH,
    header,
    themed,
)
from stepsize.views.vega import Chart, alt

CROSS = "M-1,-0.6L-0.6,-1L0,-0.4L0.6,-1L1,-0.6L0.4,0L1,0.6L0.6,1L0,0.4L-0.6,1L-1,0.6L-0.4,0Z"
_EDGES = {ABOVE: "triangle-up", BELOW: "triangle-down"}
_EXTENT = [0.0, 0.93]  # of viridis; the lightest yellow is lost on white
_CHARACTER = 6.5  # pixels, of the legend's font
# d3 writes 0.0001 and 1e+4, with a minus sign of its own; charts write 1e-4 and 1e4, like number_text
_NUMBER = "replace(replace(format({0}, '.3~e'), '+', ''), '−', '-')"
_TEXT = f"{{0}} && (abs({{0}}) < 1e-3 || abs({{0}}) >= 1e4) ? {_NUMBER} : format({{0}}, '~r')"


def layered(*layers: alt.Chart, height: int = HEIGHT) -> alt.LayerChart:
    """Return ``layers`` on top of each other, the first at the bottom, in one plot of the common width."""
    return alt.LayerChart(layer=list(layers), width=WIDTH, height=height)


def stacked(title: str, lines: Sequence[str], *panels: alt.LayerChart, spacing: int = 10) -> Chart:
    """Return the finished chart: one panel or several below each other, under the title and its ``lines``."""
    head = header(title, tuple(lines))
    if len(panels) == 1 and panels[0].title is alt.Undefined:
        return themed(panels[0].properties(title=head))
    return themed(alt.vconcat(*panels, spacing=spacing).properties(title=head))


def rows(values: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Return inline data: no data frame, no limit on the rows, nothing on disk."""
    return alt.InlineData(values=[{key: _strict(item) for key, item in value.items()} for value in values])


def _strict(value: Any) -> Any:
    """Return ``value``, or None for a float that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def x_encoding(axis: Axis, field: str = "x") -> alt.X:
    """Return the horizontal encoding of ``field`` along ``axis``."""
    return alt.X(field, **_along(axis))


def y_encoding(axis: Axis, field: str = "y") -> alt.Y:
    """Return the vertical encoding of ``field`` along ``axis``."""
    return alt.Y(field, **_along(axis))


def place(x: Axis, y: Axis) -> dict[str, Any]:
    """Return the encodings of the fields x and y."""
    return {"x": x_encoding(x), "y": y_encoding(y)}


def points(mark: Dots, x: Axis, y: Axis, **encodings: Any) -> alt.Chart:
    """Return the layer of the points inside the axes; outlines can share the legend of lines, filled ones cannot."""
    shape = {} if mark.shape is None else {"shape": alt.value(mark.shape)}
    chart = alt.Chart(rows(asdict(point) for point in mark.points if point.kind == INSIDE), name=mark.name)
    drawn = chart.mark_point(filled=mark.filled, size=mark.size, opacity=mark.opacity)
    encoded: alt.Chart = drawn.encode(**place(x, y), tooltip=_tooltip(x, y), **(encodings | shape))
    return encoded


def edges(marks: Sequence[ChartPoint], x: Axis, y: Axis, color: Any, *, filled: bool = True) -> list[alt.Chart]:
    """Return the layers of points at the edges: triangles beyond the axis, and crosses for what went wrong."""
    beyond = [mark for mark in marks if mark.kind in (ABOVE, BELOW)]
    wrong = [mark for mark in marks if mark.kind in (NOT_FINITE, DIVERGED)]
    layers = []
    if beyond:
        chart = alt.Chart(rows(asdict(mark) | {"shape": _EDGES[mark.kind]} for mark in beyond), name="points_beyond")
        drawn = chart.mark_point(filled=filled, size=45, opacity=0.8)
        shape = alt.Shape("shape:N", scale=None)
        layers.append(drawn.encode(**place(x, y), color=color, shape=shape, tooltip=_tooltip(x, y)))
    return [*layers, *crosses(wrong, x, y)]


def crosses(marks: Sequence[ChartPoint], x: Axis, y: Axis) -> list[alt.Chart]:
    """Return what went wrong as crosses, with a light rim that separates them from what is below."""
    if not marks:
        return []
    chart = alt.Chart(rows(asdict(mark) for mark in marks), name="crosses")
    look: dict[str, Any] = {"shape": CROSS, "fill": WARNING, "stroke": "white", "strokeWidth": 1, "opacity": 1}
    return [chart.mark_point(size=90, **look).encode(**place(x, y), tooltip=_tooltip(x, y))]


def lines(mark: Lines, x: Axis, y: Axis, **encodings: Any) -> list[alt.Chart]:
    """Return the layer of lines, each piece connected in itself; none if there is nothing to connect."""
    data = [
        {"x": a, "y": b, "series": piece.series, "piece": number}
        for number, piece in enumerate(mark.pieces)
        for a, b in zip(piece.x, piece.y, strict=True)
    ]
    if not data:
        return []
    how: Any = mark.interpolate or alt.Undefined
    color = {} if mark.color is None else {"color": alt.value(mark.color)}
    chart = alt.Chart(rows(data), name=mark.name)
    drawn = chart.mark_line(strokeWidth=mark.width, opacity=mark.opacity, clip=True, interpolate=how)
    return [drawn.encode(**place(x, y), detail="piece:N", order=alt.Order("x:Q"), **(encodings | color))]


def flags(marks: Sequence[Flag], x: Axis, *, height: float = HEIGHT, texts: bool = True) -> list[alt.Chart]:
    """Return each flag as a rule that reaches up to its text; without texts, only as high as the plot."""
    layers = []
    for flag in marks:
        main, told = flag.role == "lr", texts and flag.text
        top = -(flag.row * LINE_HEIGHT + 4.0)
        base = alt.Chart(rows([{"x": flag.x, "text": flag.text}])).encode(x=x_encoding(x))
        look: dict[str, Any] = {"color": ROLE_COLORS[flag.role], "strokeDash": ROLE_DASHES[flag.role]}
        rule = base.mark_rule(strokeWidth=2.2 if main else 1.4, **look)
        layers.append(rule.encode(y=alt.value(top - 8 if told else 0.0), y2=alt.value(height)))
        if told:
            label = base.mark_text(
                align="left" if flag.side == "right" else "right",
                baseline="middle",
                dx=4 if flag.side == "right" else -4,
                color=ROLE_COLORS[flag.role],
                fontSize=12,
                fontWeight="bold" if main else "normal",
            )
            layers.append(label.encode(y=alt.value(top - 5), text="text:N"))
    return layers


def band(interval: tuple[float, float] | None, x: Axis, *, height: float = HEIGHT) -> list[alt.Chart]:
    """Return the interval as a shaded band over the whole height."""
    if interval is None:
        return []
    data = rows([{"x": interval[0], "x2": interval[1]}])
    mark = alt.Chart(data, name="interval").mark_rect(color=ANSWER, opacity=0.12, clip=True)
    return [mark.encode(x=x_encoding(x), x2="x2:Q", y=alt.value(0), y2=alt.value(height))]


def area(between: Sequence[tuple[float, float, float]], x: Axis, y: Axis) -> list[alt.Chart]:
    """Return the area between two curves (x, low, high)."""
    if not between:
        return []
    data = rows({"x": at, "y": low, "y2": high} for at, low, high in between)
    mark = alt.Chart(data, name="band").mark_area(color=INK, opacity=0.13, clip=True, interpolate="monotone")
    return [mark.encode(**place(x, y), y2="y2:Q")]


def level(at: tuple[float, str] | None, y: Axis) -> list[alt.Chart]:
    """Return a horizontal rule with its text beyond the right edge; none beyond the axis."""
    if at is None or not y.low <= at[0] <= y.high:
        return []
    base = alt.Chart(rows([{"y": at[0], "text": at[1]}])).encode(y=y_encoding(y))
    label = base.mark_text(align="left", baseline="middle", dx=5, color=MUTED, fontSize=11)
    return [
        base.mark_rule(color=MUTED, strokeWidth=1, strokeDash=[1, 3]),
        label.encode(x=alt.value(WIDTH), text="text:N"),
    ]


def line_legend(names: Sequence[str]) -> alt.Legend:
    """Return the legend of lines called ``names``, in as many columns as fit."""
    return alt.Legend(
        title=None,
        columns=max(1, min(len(names), int(WIDTH // (_CHARACTER * max(map(len, names)) + 36)))),
        labelLimit=WIDTH,
        offset=8,
        symbolType="stroke",
        symbolSize=260,
        symbolStrokeWidth=3,
        symbolOpacity=1,
    )


def looks(
    names: Sequence[str],
    legend: Any,
    colors: Sequence[str],
    dashes: Sequence[Sequence[float]] = (),
    shapes: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the encodings that tell the series called ``names`` apart: color and, where given, dash and shape."""
    channels: dict[str, tuple[Any, list[Any]]] = {
        "color": (alt.Color, list(colors)),
        "strokeDash": (alt.StrokeDash, list(map(list, dashes))),
        "shape": (alt.Shape, list(shapes)),
    }
    return {
        name: channel("series:N", legend=legend, scale=alt.Scale(domain=list(names), range=values))
        for name, (channel, values) in channels.items()
        if values
    }


def gradient(field: str, axis: Axis) -> alt.Color:
    """Return the encoding of ``field`` by color along ``axis``, from dark to light; what is beyond it has its ends."""
    kind: Any = "log" if axis.log else "linear"
    legend = alt.Legend(
        title=axis.title,
        type="gradient",
        labelExpr=f"datum.label == '' ? '' : {_TEXT.format('datum.value')}",
        tickCount=5,
        gradientLength=WIDTH / 2,
        gradientThickness=12,
        gradientOpacity=1,
    )
    scheme = alt.SchemeParams(name="viridis", extent=_EXTENT)
    scale = alt.Scale(type=kind, domain=[axis.low, axis.high], scheme=scheme, clamp=True)
    return alt.Color(field, type="quantitative", legend=legend, scale=scale)


def _along(axis: Axis) -> dict[str, Any]:
    kind: Any = "log" if axis.log else "linear"
    turned: Any = axis.complement or alt.Undefined
    zero: Any = alt.Undefined if axis.log else False
    scale = alt.Scale(type=kind, domain=[axis.low, axis.high], nice=False, zero=zero, reverse=turned)
    return {"type": "quantitative", "title": None if axis.bare else axis.title, "scale": scale, "axis": _ticks(axis)}


def _ticks(axis: Axis) -> alt.Axis:
    """Ticks and texts are the renderer's; on a log axis it names some, and the grid of the others is lighter."""
    if axis.empty:
        return alt.Axis(values=[])
    if axis.texts:
        values, names = [value for value, _ in axis.texts], [name for _, name in axis.texts]
        return alt.Axis(values=values, labelExpr=f"{names}[indexof({values}, datum.value)]", labelOverlap=True)
    text = _TEXT.format("(1 - datum.value)" if axis.complement else "datum.value")
    if not axis.log:
        largest = max(abs(axis.low), abs(axis.high))
        plain = 1e-3 <= largest < 1e6
        return alt.Axis(labelExpr="datum.label" if plain else text, tickCount=axis.count, labels=not axis.bare)
    named: Any = {"test": "datum.label != ''", "value": 1}
    return alt.Axis(
        labelExpr=f"datum.label == '' ? '' : {text}",
        tickCount=axis.count,
        labels=not axis.bare,
        gridOpacity={"condition": named, "value": 0.35},
        tickOpacity={"condition": named, "value": 0.4},
    )


def _tooltip(x: Axis, y: Axis) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("x:Q", title=x.title, format=".3~e" if x.log else "~g"),
        alt.Tooltip("text:N", title=y.title),
        alt.Tooltip("series:N", title="series"),
    ]
