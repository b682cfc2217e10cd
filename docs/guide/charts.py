"""The guide's charts: lines on two axes, few and large enough for a phone, in the look of all charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import ArrayLike

from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.layers import rows, x_encoding, y_encoding
from stepsize.views.theme import COLORS, CONFIG, DASHES, INK, MUTED

__all__ = ["Series", "Upright", "line_chart", "log_axis", "plain_axis", "stacked"]

_WIDTH, _HEIGHT = 400, 250  # a picture of about 480 pixels, which a phone shows nearly as it is
_FONT = 15
_LIGHTEST = 0.88  # of the sequence of colors: lines on white must be seen


@dataclass(frozen=True)
class Series:
    """A line, a cloud of points, or both.

    Args:
        name: In the legend.
        x: Shape (n,).
        y: Shape (n,); what is not finite is left out.
        points: Whether each value is marked.
        line: Whether values are connected.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    points: bool = False
    line: bool = True
    half: ArrayLike = field(default=())


@dataclass(frozen=True)
class Upright:
    """A dashed upright with its text beside it."""

    x: float
    text: str
    left: bool = False


def log_axis(values: ArrayLike, title: str = "learning rate") -> Axis:
    """Return a log axis that shows all of ``values``."""
    return lr_axis(values, title)


def plain_axis(values: ArrayLike, title: str, *, may_log: bool = True) -> Axis:
    """Return an axis with robust limits, log where that reads better."""
    return value_axis(values, title, may_log=may_log)


def line_chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    title: str,
    *,
    ordered: bool = False,
    uprights: Sequence[Upright] = (),
    columns: int = 2,
) -> alt.LayerChart:
    """Return the chart of ``series``; colors run from dark to light where they have an order."""
    names = [one.name for one in series]
    scheme = alt.SchemeParams(name="viridis", extent=[0, _LIGHTEST], count=len(names))
    plain = alt.Scale(domain=names, range=list(COLORS[: len(names)]))
    legend = alt.Legend(
        title=None, columns=columns, symbolType="stroke", symbolSize=260, symbolStrokeWidth=3, labelLimit=_WIDTH
    )
    color = alt.Color(
        "series:N",
        legend=legend if len(names) > 1 else None,
        scale=alt.Scale(domain=names, scheme=scheme) if ordered else plain,
    )
    dash = alt.StrokeDash(
        "series:N", legend=None, scale=alt.Scale(domain=names, range=[[]] if ordered else list(DASHES[: len(names)]))
    )
    layers = [*_uprights(uprights, x), *_bars(series, x, y, color), *_lines(series, x, y, color, dash)]
    layers += _points(series, x, y, color)
    chart = alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT)
    return chart.properties(title=alt.TitleParams(text=title, offset=24 if uprights else 10))


def stacked(*charts: alt.LayerChart) -> alt.LayerChart | alt.VConcatChart:
    """Return one chart, or several below each other, in the look of all charts."""
    whole = charts[0] if len(charts) == 1 else alt.VConcatChart(vconcat=list(charts), spacing=18)
    if len(charts) > 1:
        whole = whole.resolve_scale(color="independent", strokeDash="independent")
    larger = {
        "axis": {**CONFIG["axis"], "labelFontSize": _FONT - 1, "titleFontSize": _FONT},
        "legend": {**CONFIG["legend"], "labelFontSize": _FONT},
        "title": {**CONFIG["title"], "fontSize": _FONT + 1},
    }
    styled: alt.LayerChart | alt.VConcatChart = whole.configure(**{**CONFIG, **larger})
    return styled


def _rows_of(series: Sequence[Series], y: Axis) -> list[dict[str, Any]]:
    found = []
    for one in series:
        halves = np.asarray(one.half, dtype=float) if len(np.asarray(one.half)) else np.zeros(len(np.asarray(one.x)))
        for a, b, half in zip(np.asarray(one.x, float), np.asarray(one.y, float), halves, strict=True):
            if math.isfinite(a) and math.isfinite(b) and (not y.log or b > 0):
                low = max(b - half, y.low) if y.log else b - half
                found.append({"series": one.name, "x": a, "y": b, "low": low, "high": b + half, "half": half})
    return found


def _lines(series: Sequence[Series], x: Axis, y: Axis, color: Any, dash: Any) -> list[alt.Chart]:
    data = _rows_of([one for one in series if one.line], y)
    if not data:
        return []
    mark = alt.Chart(rows(data)).mark_line(strokeWidth=2.4, clip=True)
    return [mark.encode(x=x_encoding(x), y=y_encoding(y), color=color, strokeDash=dash, order=alt.Order("x:Q"))]


def _points(series: Sequence[Series], x: Axis, y: Axis, color: Any) -> list[alt.Chart]:
    data = _rows_of([one for one in series if one.points or not one.line], y)
    if not data:
        return []
    mark = alt.Chart(rows(data)).mark_point(filled=True, size=60, opacity=0.85, clip=True)
    return [mark.encode(x=x_encoding(x), y=y_encoding(y), color=color)]


def _bars(series: Sequence[Series], x: Axis, y: Axis, color: Any) -> list[alt.Chart]:
    data = [row for row in _rows_of(series, y) if row["half"] > 0]
    if not data:
        return []
    mark = alt.Chart(rows(data)).mark_rule(strokeWidth=1.6, opacity=0.6, clip=True)
    return [mark.encode(x=x_encoding(x), y=y_encoding(y, "low"), y2="high:Q", color=color)]


def _uprights(uprights: Sequence[Upright], x: Axis) -> list[alt.Chart]:
    layers = []
    for one in uprights:
        base = alt.Chart(rows([{"x": one.x, "text": one.text}]))
        rule = base.mark_rule(color=MUTED, strokeWidth=1.4, strokeDash=[5, 3])
        side: Any = "right" if one.left else "left"
        label = base.mark_text(align=side, dx=-4 if one.left else 4, fontSize=_FONT - 2, color=INK)
        layers += [
            rule.encode(x=x_encoding(x), y=alt.value(-14), y2=alt.value(_HEIGHT)),
            label.encode(x=x_encoding(x), y=alt.value(-10), text="text:N"),
        ]
    return layers
