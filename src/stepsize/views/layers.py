"""From marks to altair layers; what all charts share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stepsize.views.axes import Axis
from stepsize.views.marks import ABOVE, BELOW, DIVERGED, INSIDE, NOT_FINITE, Flag, Line, Point
from stepsize.views.theme import (
    ANSWER,
    COLOURS,
    DASHES,
    HEIGHT,
    LINE_HEIGHT,
    MUTED,
    ROLE_COLOURS,
    ROLE_DASHES,
    WARNING,
    WIDTH,
)

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "band", "crosses", "edges", "flags", "layered", "level", "line_legend", "lines", "points", "rows",
    "x_encoding", "y_encoding",
]  # fmt: skip

_EDGES = {  # kind: shape, pixels from the top
    ABOVE: ("triangle-up", 7.0),
    BELOW: ("triangle-down", HEIGHT - 7.0),
    NOT_FINITE: ("cross", 7.0),
    DIVERGED: ("cross", 7.0),
}
_CROSS = "M-0.9,-0.9L0.9,0.9M0.9,-0.9L-0.9,0.9"  # an x: Vega's own "cross" is a plus


def layered(*layers: alt.Chart, height: int = HEIGHT) -> alt.LayerChart:
    """Return ``layers`` upon each other, the first at the bottom, in one plot of the common width."""
    import altair as alt

    return alt.LayerChart(layer=list(layers), width=WIDTH, height=height)


def rows(values: Iterable[Mapping[str, Any]]) -> alt.InlineData:
    """Return inline data: no data frame, no limit on the rows, nothing on disk."""
    import altair as alt

    return alt.InlineData(values=[{key: _strict(item) for key, item in value.items()} for value in values])


def _strict(value: Any) -> Any:
    """Return ``value``, or None for a float that JSON has no word for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def x_encoding(axis: Axis, field: str = "x") -> alt.X:
    """Return the horizontal encoding of ``field`` along ``axis``."""
    import altair as alt

    return alt.X(
        field, type="quantitative", title=None if axis.bare else axis.title, scale=_scale(axis), axis=_axis(axis)
    )


def y_encoding(axis: Axis, field: str = "y") -> alt.Y:
    """Return the vertical encoding of ``field`` along ``axis``."""
    import altair as alt

    return alt.Y(
        field, type="quantitative", title=None if axis.bare else axis.title, scale=_scale(axis), axis=_axis(axis)
    )


def points(
    marks: Sequence[Point],
    x: Axis,
    y: Axis,
    colour: Any,
    *,
    name: str = "points",
    shape: Any = None,
    size: float = 30,
    opacity: float = 0.55,
) -> alt.Chart:
    """Return the layer of the points that lie inside the axes."""
    import altair as alt

    chart = alt.Chart(rows(asdict(mark) for mark in marks if mark.kind == INSIDE), name=name)
    encodings = {"shape": shape} if shape is not None else {}
    encoded: alt.Chart = chart.mark_point(filled=True, size=size, opacity=opacity).encode(
        x=x_encoding(x), y=y_encoding(y), color=colour, tooltip=_tooltip(x, y), **encodings
    )
    return encoded


def edges(marks: Sequence[Point], x: Axis, y: Axis, colour: Any) -> list[alt.Chart]:
    """Return a layer for each kind of points beyond the axes: triangles, and crosses for what went wrong."""
    import altair as alt

    layers = []
    for kind, (shape, height) in _EDGES.items():
        data = [asdict(mark) for mark in marks if mark.kind == kind]
        if not data:
            continue
        chart = alt.Chart(rows(data), name=f"points {kind}".replace(" ", "_"))
        wrong = shape == "cross"
        mark = (
            chart.mark_point(shape=_CROSS, size=60, strokeWidth=2, opacity=0.9)
            if wrong
            else chart.mark_point(shape=shape, size=45, filled=True, opacity=0.8)
        )
        layers.append(
            mark.encode(
                x=x_encoding(x),
                y=alt.value(height),
                color=alt.value(WARNING) if wrong else colour,
                tooltip=_tooltip(x, y),
            )
        )
    return layers


def crosses(marks: Sequence[Point], x: Axis, y: Axis, *, name: str = "crosses", size: float = 60) -> list[alt.Chart]:
    """Return what went wrong as crosses at its place, with a light rim that parts them from what lies below."""
    import altair as alt

    if not marks:
        return []
    data = rows(asdict(mark) for mark in marks)
    place = {"x": x_encoding(x), "y": y_encoding(y)}
    rim = alt.Chart(data).mark_point(shape=_CROSS, size=size, strokeWidth=4.5, stroke="white", opacity=0.85)
    mark = alt.Chart(data, name=name).mark_point(shape=_CROSS, size=size, strokeWidth=2, stroke=WARNING, opacity=1)
    return [rim.encode(**place), mark.encode(**place, tooltip=_tooltip(x, y))]


def lines(
    pieces: Sequence[Line],
    x: Axis,
    y: Axis,
    colour: Any,
    *,
    name: str,
    width: float = 2,
    opacity: float = 1,
    dash: Any = None,
    smooth: bool = False,
) -> list[alt.Chart]:
    """Return the layer of lines, each piece connected in itself; none where there is nothing to connect."""
    import altair as alt

    data = [
        {"x": a, "y": b, "series": piece.series, "piece": number}
        for number, piece in enumerate(pieces)
        for a, b in zip(piece.x, piece.y, strict=True)
    ]
    if not data:
        return []
    how: Any = "monotone" if smooth else alt.Undefined
    mark = alt.Chart(rows(data), name=name).mark_line(strokeWidth=width, opacity=opacity, clip=True, interpolate=how)
    place = {"x": x_encoding(x), "y": y_encoding(y), "detail": "piece:N", "order": alt.Order("x:Q")}
    return [mark.encode(color=colour, **place, **({} if dash is None else {"strokeDash": dash}))]


def flags(marks: Sequence[Flag], x: Axis, *, height: float = HEIGHT, texts: bool = True) -> list[alt.Chart]:
    """Return each flag as a rule that reaches up to its text; without ``texts``, only as high as the plot."""
    import altair as alt

    layers = []
    for flag in marks:
        colour = ROLE_COLOURS[flag.role]
        top = -(flag.row * LINE_HEIGHT + 4.0)
        end = top - 8 if texts else 0.0
        base = alt.Chart(rows([{"x": flag.x, "text": flag.text}]))
        dash = ROLE_DASHES[flag.role]
        rule = base.mark_rule(color=colour, strokeWidth=2.2 if flag.role == "lr" else 1.4, strokeDash=dash)
        label = base.mark_text(
            align="left" if flag.side == "right" else "right",
            baseline="middle",
            dx=4 if flag.side == "right" else -4,
            color=colour,
            fontSize=12,
            fontWeight="bold" if flag.role == "lr" else "normal",
        )
        layers.append(rule.encode(x=x_encoding(x), y=alt.value(end), y2=alt.value(height)))
        if texts:
            layers.append(label.encode(x=x_encoding(x), y=alt.value(top - 5), text="text:N"))
    return layers


def band(interval: tuple[float, float] | None, x: Axis, *, height: float = HEIGHT) -> list[alt.Chart]:
    """Return the interval as a shaded band over the whole height."""
    import altair as alt

    if interval is None:
        return []
    data = rows([{"x": interval[0], "x2": interval[1]}])
    mark = alt.Chart(data, name="interval").mark_rect(color=ANSWER, opacity=0.12, clip=True)
    return [mark.encode(x=x_encoding(x), x2="x2:Q", y=alt.value(0), y2=alt.value(height))]


def level(value: float | None, text: str, y: Axis) -> list[alt.Chart]:
    """Return a horizontal rule with its text beyond the right edge."""
    import altair as alt

    if value is None or not y.low <= value <= y.high:
        return []
    base = alt.Chart(rows([{"y": value, "text": text}]))
    rule = base.mark_rule(color=MUTED, strokeWidth=1, strokeDash=[1, 3]).encode(y=y_encoding(y))
    label = base.mark_text(align="left", baseline="middle", dx=5, color=MUTED, fontSize=11)
    return [rule, label.encode(x=alt.value(WIDTH), y=y_encoding(y), text="text:N")]


def line_legend(names: Sequence[str], title: str | None = None) -> alt.Legend:
    """Return the legend of lines called ``names``, in as many columns as fit."""
    import altair as alt

    return alt.Legend(
        title=title,
        columns=next(count for count in range(len(names), 0, -1) if count == 1 or _legend_width(names, count) <= WIDTH),
        labelLimit=WIDTH,
        offset=8,
        symbolType="stroke",
        symbolSize=260,
        symbolStrokeWidth=3,
        symbolOpacity=1,
    )


def series_encodings(names: Sequence[str]) -> tuple[Any, Any]:
    """Return the encodings of colour and dash that tell lines apart by name; a legend where there are several."""
    import altair as alt

    legend = line_legend(names) if len(names) > 1 else None
    scale = alt.Scale(domain=list(names), range=list(COLOURS[: len(names)]))
    patterns = alt.Scale(domain=list(names), range=list(DASHES[: len(names)]))
    colour = alt.Color("series:N", legend=legend, scale=scale)
    return colour, alt.StrokeDash("series:N", legend=legend, scale=patterns)


def _scale(axis: Axis) -> alt.Scale:
    import altair as alt

    kind: Any = "log" if axis.log else "linear"
    turned: Any = axis.reverse or alt.Undefined
    return alt.Scale(type=kind, domain=[axis.low, axis.high], nice=False, zero=False, reverse=turned)


def _axis(axis: Axis) -> alt.Axis:
    import altair as alt

    if axis.empty:
        return alt.Axis(values=[])
    if not axis.log and not axis.ticks:
        return alt.Axis(labelExpr=_linear_text(axis), tickCount=axis.count, labels=not axis.bare)
    values = [tick.value for tick in axis.ticks]
    texts = [tick.text for tick in axis.ticks]
    text = f"{texts}[indexof({values}, datum.value)]"
    major: Any = {"test": f"{text} != ''", "value": 1}
    return alt.Axis(
        values=values,
        labelExpr=text,
        labelOverlap=False,
        labels=not axis.bare,
        gridOpacity={"condition": major, "value": 0.35},
        tickOpacity={"condition": major, "value": 0.4},
    )


def _linear_text(axis: Axis) -> str:
    """The renderer's own text of a tick, or one with an exponent where that would be long."""
    largest = max(abs(axis.low), abs(axis.high))
    if 1e-3 <= largest < 1e6:
        return "datum.label"
    return "datum.value == 0 ? '0' : replace(format(datum.value, '.3~e'), 'e+', 'e')"


def _tooltip(x: Axis, y: Axis) -> list[alt.Tooltip]:
    import altair as alt

    return [
        alt.Tooltip("x:Q", title=x.title, format=".3~e" if x.log else "~g"),
        alt.Tooltip("text:N", title=y.title),
        alt.Tooltip("series:N", title="series"),
    ]


def _legend_width(names: Sequence[str], columns: int) -> float:
    """About how many pixels a legend takes, each column being as wide as its longest name and a symbol."""
    return sum(6.5 * max(len(name) for name in names[column::columns]) + 36 for column in range(columns))
