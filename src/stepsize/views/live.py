"""Charts of a page that stays open: axes and series are known, points arrive later and move the axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stepsize.errors import InputError
from stepsize.views.axes import Axis, step_axis
from stepsize.views.layers import layered, x_encoding, y_encoding
from stepsize.views.report import EXTENT, PANELS, Series, is_shown, panel_axis, series_name
from stepsize.views.theme import COLORS, DARK, DASHES, INK, MUTED, WIDTH, themed
from stepsize.views.vega import Chart, alt

_HEIGHT = 170
_TITLE = {"val_loss": "validation loss", "loss": "training loss"}
_OF_GROUPS = {f"{kind}/0": tuple(f"{kind}/{group}" for group in range(len(DASHES))) for kind in ("lr", "momentum")}
LIVE_SIGNALS = frozenset(name for names in (*PANELS.values(), *_OF_GROUPS.values()) for name in names)
"""Names of the signals that are shown."""

_PHONE = 480  # pixels: what is narrower
_NARROW = {"columns": 1, "tickCount": 4}  # … has at most: columns of a legend, ticks
_BESIDE = 84  # pixels of the numbers and the title beside a plot that cannot measure itself


@dataclass(frozen=True)
class LiveSeries:
    """A signal of a run: its name on the page, its color and its dashes; no two of a panel have both in common."""

    run: str
    signal: str
    name: str
    color: str
    dash: tuple[float, ...]


@dataclass(frozen=True)
class LivePanel:
    """A panel: its title, the axes for the points so far, and what it shows."""

    title: str
    x: Axis
    y: Axis
    series: tuple[LiveSeries, ...]


def live_info(runs: Mapping[str, Mapping[str, Series]], planned: int = 0) -> tuple[LivePanel, ...]:
    """Return the panels of one run, or of several runs on top of each other; all ``planned`` steps are on the axis.

    Example:
        >>> import numpy as np
        >>> signals = {"loss": (np.arange(3), np.array([2.0, 1.0, 0.5])), "lr/0": (np.arange(3), np.full(3, 0.1))}
        >>> [(panel.title, [one.name for one in panel.series]) for panel in live_info({"net": signals})]
        [('loss', ['training']), ('learning rate', ['group 0'])]
        >>> [(panel.title, [one.name for one in panel.series]) for panel in live_info({"a": signals, "b": signals})]
        [('training loss', ['a', 'b']), ('learning rate', ['a', 'b'])]
    """
    last = max((int(steps[-1]) for one in runs.values() for steps, _ in one.values() if len(steps)), default=0)
    x = step_axis(max(last, planned))
    panels = []
    for title, signals in _wanted(runs).items():
        known = [(run, name) for name in signals for run, one in runs.items() if is_shown(name, one)]
        if (y := panel_axis(title, (runs[run][name] for run, name in known))) is not None:
            panels.append(LivePanel(title, x, y, _series(known, list(runs))))
    return tuple(panels)


def live_chart(panel: LivePanel) -> Chart:
    """Return the chart of a panel without points: they go into ``line``, ``raw``, ``future`` and ``marks``.

    Its parameters ``x_low``, ``x_high``, ``y_low`` and ``y_high`` move the axes.
    """
    names = [f"{one.run}\n{one.signal}" for one in panel.series]  # no name of a run holds a line break
    scale = alt.Scale(domain=names, range=[one.color for one in panel.series])
    color = alt.Color("series:N", scale=scale, legend=None)
    dashes = alt.Scale(domain=names, range=[list(one.dash) for one in panel.series])
    dash = alt.StrokeDash("series:N", scale=dashes, legend=None)
    place = {"x": _moving(x_encoding(panel.x), "x"), "y": _moving(y_encoding(panel.y), "y")}
    base = [alt.Chart(_later(name)).encode(**place, color=color) for name in ("raw", "line", "future")]
    raw, line, future = (one.encode(detail="series:N", order=alt.Order("x:Q")) for one in base)
    tooltip = [alt.Tooltip("x:Q", title="step", format=",d"), alt.Tooltip("y:Q", title=panel.title, format=".4~g")]
    marks = alt.Chart(_later("marks")).encode(x=place["x"])
    text = marks.encode(text="text:N", y=alt.Y("row:Q", scale=None, axis=None))
    look: dict[str, Any] = {"align": "left", "dx": 4, "fontSize": 12, "fontWeight": "bold"}
    layers = [
        marks.mark_rule(strokeWidth=1.4, strokeDash=[4, 3], color=MUTED, clip=True),
        raw.mark_line(clip=True, strokeWidth=1, opacity=0.3),
        line.mark_line(clip=True, strokeWidth=1.8).encode(strokeDash=dash),
        future.mark_line(clip=True, strokeWidth=1.4, strokeDash=[3, 4], opacity=0.8),
        base[1].mark_point(opacity=0, size=120, clip=True).encode(tooltip=[*tooltip, alt.Tooltip("name:N", title=" ")]),
        text.mark_text(stroke="white", strokeWidth=4, strokeJoin="round", clip=True, **look),
        text.mark_text(color=INK, clip=True, **look),
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
    spec: dict[str, Any] = chart.to_dict()
    spec.pop("title", None)
    spec["config"]["padding"] = 4
    if "vconcat" not in spec:
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    found: dict[str, Any] = _fitted(spec, width - _BESIDE * ("vconcat" in spec), DARK if dark else {})
    return found


def in_dark(value: Any) -> Any:
    """Return plain values, such as a panel's, with the colors of a dark page."""
    return _fitted(value, WIDTH, DARK)


def _wanted(runs: Mapping[str, Mapping[str, Series]]) -> dict[str, Sequence[str]]:
    """Return the signals of each panel: of one run together, of several runs one signal a panel."""
    if len(runs) > 1:
        first = [(title, names[:1] if names[0] in _OF_GROUPS else names) for title, names in PANELS.items()]
        return {_TITLE.get(name, title): [name] for title, names in first for name in names}
    return {title: _OF_GROUPS.get(names[0], names) for title, names in PANELS.items()}


def _series(known: Sequence[tuple[str, str]], runs: Sequence[str]) -> tuple[LiveSeries, ...]:
    """Return the series with their looks: of several runs a run has the same one in all panels."""
    found = []
    for place, (run, signal) in enumerate(known):
        alone = len(runs) == 1
        index = place if alone else runs.index(run)
        name = series_name(signal) if alone else run
        dash = DASHES[(index + index // len(COLORS)) % len(DASHES)]
        found.append(LiveSeries(run, signal, name, COLORS[index % len(COLORS)], tuple(dash)))
    return tuple(found)


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
