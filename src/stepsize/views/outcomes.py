"""The chart of outcomes: what runs reached, one row per configuration, one dot per seed, a panel per task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.views.axes import Axis, value_axis
from stepsize.views.layers import CROSS, layered, rows, stacked, x_encoding
from stepsize.views.marks import ABOVE, BELOW, INSIDE, NOT_FINITE, ChartPoint, checked_some, place_point
from stepsize.views.theme import INK, MUTED, SERIES, WARNING, WIDTH
from stepsize.views.vega import Chart, alt

_ROW = 24  # pixels
_MOST_DECIMALS = 6
_SHAPES = {INSIDE: "circle", ABOVE: "triangle-right", BELOW: "triangle-left", NOT_FINITE: CROSS}


@dataclass(frozen=True, eq=False)
class OutcomeGroup:
    """One task: for each row the final loss of each seed, NaN or infinite if a run diverged."""

    task: str
    losses: Mapping[str, NDArray[np.float64] | Sequence[float]]
    loss_label: str = "final loss"


@dataclass(frozen=True)
class OutcomeMean:
    """The mean over the seeds of a row that reached something, with one standard error (n - 1) to each side."""

    name: str
    mean: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class OutcomePanel:
    """One panel; ``y`` of a point is its place on the axis, ``series`` its row."""

    task: str
    axis: Axis
    points: tuple[ChartPoint, ...]
    means: tuple[OutcomeMean, ...]  # one per row, from top to bottom


@dataclass(frozen=True)
class OutcomesInfo:
    """Everything on the chart, at its place."""

    title: str
    lines: tuple[str, ...]
    panels: tuple[OutcomePanel, ...]


def outcomes_info(groups: Sequence[OutcomeGroup], *, title: str = "Final losses", subtitle: str = "") -> OutcomesInfo:
    """Return what the chart of outcomes shows, and where; the lowest mean is on top.

    Example:
        >>> group = OutcomeGroup("digits", {"constant": [0.5, 0.7], "cosine": [0.3, 0.5, float("nan")]})
        >>> [mean.text for mean in outcomes_info([group]).panels[0].means]
        ['0.40 ± 0.10, 1 diverged', '0.60 ± 0.10']
    """
    checked_some(groups=groups)
    panels = tuple(map(_panel, groups))
    return OutcomesInfo(title, wrapped(subtitle, " ".join(_notes(panels))), panels)


def outcomes_chart(info: OutcomesInfo) -> Chart:
    """Return the chart of outcomes: a panel per task, a row per configuration, a dot per seed, and their mean."""
    return stacked(info.title, info.lines, *(_drawn_panel(panel) for panel in info.panels), spacing=18)


def _panel(group: OutcomeGroup) -> OutcomePanel:
    losses = {name: np.asarray(values, dtype=np.float64) for name, values in group.losses.items()}
    finite = {name: values[np.isfinite(values)] for name, values in losses.items()}
    bulk = [level for values in finite.values() for level in _bulk(values)]
    axis = value_axis(np.concatenate(list(finite.values())), group.loss_label, keep=bulk, may_log=True)
    means = [_mean(name, finite[name], len(losses[name]), axis) for name in losses]
    means.sort(key=lambda one: one.mean if math.isfinite(one.mean) else math.inf)
    placed = [
        place_point(seed, loss, one.name, axis) for one in means for seed, loss in enumerate(losses[one.name].tolist())
    ]
    return OutcomePanel(group.task, axis, tuple(placed), tuple(means))


def _bulk(values: NDArray[np.float64]) -> tuple[float, ...]:
    """The levels of a row that must be seen: its median and where all but outliers are, three deviations above."""
    if not values.size:
        return ()
    median = float(np.median(values))
    deviation = float(np.median(np.abs(values - median)))
    return median, min(float(values.max()), median + 3 * deviation)


def _mean(name: str, finite: NDArray[np.float64], seeds: int, axis: Axis) -> OutcomeMean:
    lost = seeds - len(finite)
    if lost == seeds:
        return OutcomeMean(name, math.nan, math.nan, math.nan, f"{lost} diverged")
    mean = float(finite.mean())
    error = float(finite.std(ddof=1)) / math.sqrt(len(finite)) if len(finite) > 1 else 0.0
    text = _measured_text(mean, error) if len(finite) > 1 else number_text(mean, 4)
    low, high = (min(max(level, axis.low), axis.high) for level in (mean - error, mean + error))
    return OutcomeMean(name, mean, low, high, f"{text}, {lost} diverged" if lost else text)


def _measured_text(mean: float, error: float) -> str:
    """A mean as precise as its standard error, which has two digits."""
    decimals = 1 - math.floor(math.log10(error)) if error > 0 else -1
    if 0 <= decimals <= _MOST_DECIMALS:
        return f"{mean:.{decimals}f} ± {error:.{decimals}f}"
    return f"{number_text(mean, 4)} ± {number_text(error, 2)}"


def _notes(panels: Sequence[OutcomePanel]) -> list[str]:
    kinds = {point.kind for panel in panels for point in panel.points}
    several = any(mean.low < mean.high for panel in panels for mean in panel.means)
    notes = ["Dots: seeds. Bars: their mean" + (", with its standard error." if several else ".")]
    if kinds & {ABOVE, BELOW}:
        notes.append("Triangles: beyond the axis.")
    if NOT_FINITE in kinds:
        notes.append("Crosses: diverged, left out.")
    return notes


def _drawn_panel(panel: OutcomePanel) -> alt.LayerChart:
    names = [mean.name for mean in panel.means]
    look = alt.Axis(labelLimit=WIDTH / 2, labelPadding=8, ticks=False, domain=False, grid=True)
    row = alt.Y("series", type="nominal", title=None, scale=alt.Scale(domain=names), axis=look)
    title = alt.TitleParams(text=panel.task, frame="group", fontSize=13, offset=6)
    drawn = layered(*_dots(panel, row), *_bars(panel, row), height=_ROW * len(names))
    return drawn.properties(title=title)


def _dots(panel: OutcomePanel, row: alt.Y) -> list[alt.Chart]:
    """Circles inside, triangles and crosses at the edges."""
    tooltip = [alt.Tooltip("series:N"), alt.Tooltip("x:Q", title="seed"), alt.Tooltip("text:N", title=panel.axis.title)]
    wrong: dict[str, Any] = {"condition": {"test": f"datum.kind == '{NOT_FINITE}'", "value": WARNING}}
    mark = alt.Chart(
        rows(asdict(point) | {"shape": _SHAPES[point.kind]} for point in panel.points), name="dots"
    ).mark_point(filled=True, size=60)
    encoded: alt.Chart = mark.encode(
        x=x_encoding(panel.axis, "y"),
        y=row,
        shape=alt.Shape("shape:N", scale=None),
        color={**wrong, "value": SERIES[0]},
        opacity={"condition": {"test": f"datum.kind == '{INSIDE}'", "value": 0.6}, "value": 1},
        tooltip=tooltip,
    )
    return [encoded]


def _bars(panel: OutcomePanel, row: alt.Y) -> list[alt.Chart]:
    """The means with their errors and, beyond the right edge, their numbers."""
    means = [asdict(mean) | {"series": mean.name} for mean in panel.means]
    base = alt.Chart(rows(means), name="texts").encode(y=row)
    label = base.mark_text(align="left", baseline="middle", dx=8, color=MUTED, fontSize=11)
    inside = [one for one in means if panel.axis.low <= one["mean"] <= panel.axis.high]
    finite = [one for one in means if math.isfinite(one["mean"])]
    error = alt.Chart(rows(finite), name="errors").mark_rule(color=INK, strokeWidth=2.5)
    tick = alt.Chart(rows(inside), name="means").mark_tick(color=INK, thickness=3.5, size=15, opacity=1)
    return [
        label.encode(x=alt.value(WIDTH), text="text:N"),
        error.encode(x=x_encoding(panel.axis, "low"), x2="high:Q", y=row),
        tick.encode(x=x_encoding(panel.axis, "mean"), y=row),
    ]
