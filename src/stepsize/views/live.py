"""Charts of a page that stays open: axes and series are known, points arrive later and move the axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepsize.errors import InputError
from stepsize.views.layers import layered, looks, x_encoding, y_encoding
from stepsize.views.signals import SignalPanel
from stepsize.views.theme import DARK, EXTENT, INK, MUTED, WIDTH, themed
from stepsize.views.vega import Chart, alt

_HEIGHT = 170
_PHONE = 480  # pixels: what is narrower
_NARROW = {"columns": 1, "tickCount": 4}  # … has at most: columns of a legend, ticks
_BESIDE = 84  # pixels of the numbers and the title beside a plot that cannot measure itself


def live_chart(panel: SignalPanel) -> Chart:
    """Return the chart of a panel without points: they go into ``line``, ``raw``, ``future``, ``hover`` and ``marks``.

    Its parameters ``x_low``, ``x_high``, ``y_low`` and ``y_high`` move the axes.
    """
    names = [f"{one.run}\n{one.signal}" for one in panel.lines]  # no name of a run holds a line break
    look = looks(names, None, [one.color for one in panel.lines], [one.dash for one in panel.lines])
    place = {"x": _moving(x_encoding(panel.x), "x"), "y": _moving(y_encoding(panel.y), "y")}
    base = [alt.Chart(_later(name)).encode(**place, color=look["color"]) for name in ("raw", "line", "future", "hover")]
    raw, line, future = (one.encode(detail="series:N", order=alt.Order("x:Q")) for one in base[:3])
    tooltip = [alt.Tooltip("x:Q", title="step", format=",d"), alt.Tooltip("y:Q", title=panel.title, format=".4~g")]
    marks = alt.Chart(_later("marks")).encode(x=place["x"])
    text = marks.encode(text="text:N", y=alt.Y("row:Q", scale=None, axis=None))
    style: dict[str, Any] = {"align": "left", "dx": 4, "fontSize": 12, "fontWeight": "bold"}
    layers = [
        marks.mark_rule(strokeWidth=1.4, strokeDash=[4, 3], color=MUTED, clip=True),
        raw.mark_line(clip=True, strokeWidth=1, opacity=0.3),
        line.mark_line(clip=True, strokeWidth=1.8).encode(strokeDash=look["strokeDash"]),
        future.mark_line(clip=True, strokeWidth=1.4, strokeDash=[3, 4], opacity=0.8),
        base[3].mark_point(opacity=0, size=120, clip=True).encode(tooltip=[*tooltip, alt.Tooltip("name:N", title=" ")]),
        text.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", clip=True, **style),
        text.mark_text(color=INK, clip=True, **style),
    ]
    axes = {"x_low": panel.x.low, "x_high": panel.x.high, "y_low": panel.y.low, "y_high": panel.y.high}
    moved = [alt.param(name=name, value=value) for name, value in axes.items()]
    chart: Chart = themed(layered(*layers, height=_HEIGHT).add_params(*moved))
    styled: Chart = chart.configure_axisY(minExtent=EXTENT, maxExtent=EXTENT)
    return styled


def page_spec(chart: Chart, width: int, *, dark: bool = False) -> dict[str, Any]:
    """Return a chart as Vega-Lite takes it, ``width`` pixels wide, without its title, which the page writes itself."""
    if not 200 <= width <= 10_000:
        raise InputError("width", width, "must be between 200 and 10,000 pixels")
    spec: dict[str, Any] = chart.to_dict(validate=False)  # which takes most of the time, and pages are drawn in tests
    spec.pop("title", None)
    spec["config"]["padding"] = 4
    if "vconcat" not in spec:
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    found: dict[str, Any] = _fitted(spec, width - _BESIDE * ("vconcat" in spec), DARK if dark else {})
    return found


def in_dark(value: Any) -> Any:
    """Return plain values, such as a panel's, with the colors of a dark page."""
    return _fitted(value, WIDTH, DARK)


def _later(name: str) -> Any:
    return alt.InlineData(values=[], name=name)


def _moving(encoding: Any, name: str) -> Any:
    """Return an encoding along an axis whose ends are parameters of the chart."""
    encoding["scale"]["domain"] = [alt.ExprRef(expr=f"{name}_low"), alt.ExprRef(expr=f"{name}_high")]
    return encoding


def _fitted(part: Any, width: int, colors: Mapping[str, str]) -> Any:
    """Return a part of a chart with the width of the page instead of the usual one, and other colors."""
    if isinstance(part, dict):
        return {key: _sized(key, value, width, colors) for key, value in part.items()}
    if isinstance(part, list):
        return [_fitted(one, width, colors) for one in part]
    return colors.get(part.upper(), part) if isinstance(part, str) else part


def _sized(key: str, value: Any, width: int, colors: Mapping[str, str]) -> Any:
    if key in ("values", "datasets"):
        return value
    if key in ("width", "value") and value == WIDTH:
        return width
    if key in _NARROW and width < _PHONE and isinstance(value, int):
        return min(value, _NARROW[key])
    return _fitted(value, width, colors)
