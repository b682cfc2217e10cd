"""The chart of outcomes: what trainings of several tasks reached, one row a schedule, one dot a seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, value_axis
from stepsize.views.layers import layered, rows, x_encoding
from stepsize.views.marks import ABOVE, BELOW, INSIDE, NOT_FINITE, Point, checked_arrays, place_point
from stepsize.views.theme import INK, MUTED, SERIES, WARNING, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "Outcome", "OutcomeGroup", "OutcomeMean", "OutcomePanel", "OutcomesInfo", "OutcomesView",
    "outcomes_chart", "outcomes_info",
]  # fmt: skip

_ROW = 24  # pixels
_MOST_DECIMALS = 6
_SHAPES = {  # kind of a point: shape, colour, pixels from the left where they stand on an edge
    INSIDE: ("circle", SERIES[0], None),
    ABOVE: ("triangle-right", SERIES[0], WIDTH - 20),
    BELOW: ("triangle-left", SERIES[0], 7),
    NOT_FINITE: ("cross", WARNING, WIDTH - 7),
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one schedule reached on one task.

    Args:
        name: Of the schedule, as its row shows it.
        losses: The final loss of each seed, shape ``(seeds,)``; NaN or infinite where a training diverged.

    Raises:
        InputError: If the name is empty or there is no loss.
    """

    name: str
    losses: NDArray[np.float64] | Sequence[float]

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name", self.name, "must not be empty", "Name the schedule as its row shall show it")
        checked_arrays(**{f"losses of '{self.name}'": self.losses})
        if not len(self.losses):
            rule = "must hold the final loss of at least one seed"
            raise InputError(f"losses of '{self.name}'", self.losses, rule, "Leave this outcome out")


@dataclass(frozen=True, eq=False)
class OutcomeGroup:
    """One task and what each schedule reached on it.

    Args:
        task: Its name.
        outcomes: One a schedule, at least one, with different names.
        loss_label: The title of its axis: "final loss", or the metric; lower is better.

    Raises:
        InputError: If there is no outcome, or two share a name.
    """

    task: str
    outcomes: tuple[Outcome, ...]
    loss_label: str = "final loss"

    def __post_init__(self) -> None:
        names = [outcome.name for outcome in self.outcomes]
        if not names:
            rule = "must hold at least one schedule"
            raise InputError(f"outcomes of '{self.task}'", self.outcomes, rule, "Leave this task out")
        if len(set(names)) < len(names):
            rule = "must have different names"
            raise InputError(f"outcomes of '{self.task}'", names, rule, "Join the seeds of one schedule in one outcome")


@dataclass(frozen=True, eq=False)
class OutcomesView:
    """What the chart of outcomes shows.

    Args:
        groups: One panel a task, at least one.
        title: What was compared.
        subtitle: How, as sentences; wrapped by the chart.
        best_first: Whether each panel has the lowest mean on top; else the rows stand in the order given.

    Raises:
        InputError: If there is no task.
    """

    groups: tuple[OutcomeGroup, ...]
    title: str = "Final losses by schedule"
    subtitle: str = ""
    best_first: bool = True

    def __post_init__(self) -> None:
        if not self.groups:
            raise InputError("groups", self.groups, "must hold at least one task", "Give an OutcomeGroup for each")


@dataclass(frozen=True)
class OutcomeMean:
    """The mean over the seeds of a row that reached something.

    Attributes:
        name: Of the row.
        mean: Over its finite losses; NaN where there is none.
        low: One standard error below, moved onto the edge of the axis where it lies outside; equal to ``high``
            where there is a single seed.
        high: One standard error above, likewise.
        text: Both in numbers, and how many seeds are not in them.
    """

    name: str
    mean: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class OutcomePanel:
    """One panel of the chart.

    Attributes:
        task: Its title.
        axis: The horizontal axis of losses: log where they span decades, not stretched by outliers.
        points: The loss of each seed, ``y`` being its place on the axis and ``series`` its row.
        means: One a row, from top to bottom.
    """

    task: str
    axis: Axis
    points: tuple[Point, ...]
    means: tuple[OutcomeMean, ...]


@dataclass(frozen=True)
class OutcomesInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        panels: From top to bottom.
        lines: Subtitle and notes below the title.
    """

    panels: tuple[OutcomePanel, ...]
    lines: tuple[str, ...]


def outcomes_info(view: OutcomesView) -> OutcomesInfo:
    """Return what the chart of ``view`` shows, and where.

    With n finite losses of standard deviation s (n - 1 in its denominator), the standard error is s / sqrt(n).

    Args:
        view: Plain data.

    Returns:
        Per task its axis, the dots (those beyond the axis moved onto its edge) and the means; sentences.

    Example:
        >>> rows = (Outcome("constant", [0.5, 0.7]), Outcome("cosine", [0.3, 0.5, float("nan")]))
        >>> [mean.text for mean in outcomes_info(OutcomesView((OutcomeGroup("digits", rows),))).panels[0].means]
        ['0.40 ± 0.10, 1 diverged', '0.60 ± 0.10']
    """
    panels = tuple(_panel(group, best_first=view.best_first) for group in view.groups)
    return OutcomesInfo(panels, wrapped(view.subtitle, " ".join(_notes(panels))))


def outcomes_chart(view: OutcomesView) -> alt.LayerChart | alt.VConcatChart:
    """Return the chart of outcomes: a panel a task, a row a schedule, a dot a seed, and their mean.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = outcomes_info(view)
    drawn = [_drawn_panel(panel) for panel in info.panels]
    return themed(alt.vconcat(*drawn, spacing=18).properties(title=header(view.title, info.lines)))


def _panel(group: OutcomeGroup, *, best_first: bool) -> OutcomePanel:
    losses = {outcome.name: np.asarray(outcome.losses, dtype=np.float64) for outcome in group.outcomes}
    finite = {name: values[np.isfinite(values)] for name, values in losses.items()}
    means = {name: float(values.mean()) if values.size else math.nan for name, values in finite.items()}
    bulk = [level for values in finite.values() for level in _bulk(values)]
    axis = value_axis(np.concatenate(list(finite.values())), group.loss_label, keep=bulk, may_log=True)
    names = list(losses)
    if best_first:
        names.sort(key=lambda name: means[name] if math.isfinite(means[name]) else math.inf)
    return OutcomePanel(
        task=group.task,
        axis=axis,
        points=tuple(place_point(seed, loss, name, axis) for name in names for seed, loss in enumerate(losses[name])),
        means=tuple(_mean(name, finite[name], len(losses[name]), axis) for name in names),
    )


def _bulk(values: NDArray[np.float64]) -> tuple[float, ...]:
    """The levels of a row that must be seen: its median and where all but outliers lie, three deviations above."""
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
    """A mean as precise as its standard error, of which two digits are told."""
    decimals = 1 - math.floor(math.log10(error)) if error > 0 else -1
    if 0 <= decimals <= _MOST_DECIMALS:
        return f"{mean:.{decimals}f} ± {error:.{decimals}f}"
    return f"{number_text(mean, 4)} ± {number_text(error, 2)}"


def _notes(panels: Sequence[OutcomePanel]) -> list[str]:
    points = [point for panel in panels for point in panel.points]
    several = any(mean.low < mean.high for panel in panels for mean in panel.means)
    notes = ["Dots: seeds. Bars: their mean" + (", with its standard error." if several else ".")]
    if any(point.kind in (ABOVE, BELOW) for point in points):
        notes.append("Triangles: beyond the axis.")
    if any(point.kind == NOT_FINITE for point in points):
        notes.append("Crosses: diverged, left out.")
    return notes


def _drawn_panel(panel: OutcomePanel) -> alt.LayerChart:
    import altair as alt

    names = [mean.name for mean in panel.means]
    look = alt.Axis(labelLimit=WIDTH / 2, labelPadding=8, ticks=False, domain=False, grid=True)
    row = alt.Y("series:N", title=None, scale=alt.Scale(domain=names), axis=look)
    title = alt.TitleParams(text=panel.task, frame="group", fontSize=13, offset=6)
    layers = [*_dots(panel, row, [INSIDE]), *_bars(panel, row), *_dots(panel, row, [ABOVE, BELOW, NOT_FINITE])]
    return layered(*layers, height=_ROW * len(names)).properties(title=title)


def _dots(panel: OutcomePanel, row: alt.Y, kinds: Sequence[str]) -> list[alt.Chart]:
    """A layer for each of the kinds of points: circles inside, triangles and crosses on the edges."""
    import altair as alt

    tooltip = [alt.Tooltip("series:N"), alt.Tooltip("x:Q", title="seed"), alt.Tooltip("text:N", title=panel.axis.title)]
    layers = []
    for kind in kinds:
        shape, colour, edge = _SHAPES[kind]
        data = [asdict(point) for point in panel.points if point.kind == kind]
        if not data:
            continue
        # Vega's cross is a plus, which half a right angle turns into an x.
        mark = alt.Chart(rows(data), name=f"dots {kind}".replace(" ", "_")).mark_point(
            shape=shape, filled=True, size=50 if edge is None else 100, opacity=0.6 if edge is None else 1,
            angle=45 if shape == "cross" else 0,
        )  # fmt: skip
        x = x_encoding(panel.axis, "y") if edge is None else alt.value(edge)
        layers.append(mark.encode(x=x, y=row, color=alt.value(colour), tooltip=tooltip))
    return layers


def _bars(panel: OutcomePanel, row: alt.Y) -> list[alt.Chart]:
    """The means with their errors and, beyond the right edge, their numbers."""
    import altair as alt

    texts = alt.Chart(rows({"series": mean.name, "text": mean.text} for mean in panel.means), name="texts")
    label = texts.mark_text(align="left", baseline="middle", dx=8, color=MUTED, fontSize=11)
    layers = [label.encode(x=alt.value(WIDTH), y=row, text="text:N")]
    ranges = [asdict(mean) | {"series": mean.name} for mean in panel.means if mean.low < mean.high]
    inside = [mean for mean in panel.means if panel.axis.low <= mean.mean <= panel.axis.high]
    shown = [asdict(mean) | {"series": mean.name} for mean in inside]
    if ranges:
        error = alt.Chart(rows(ranges), name="errors").mark_rule(color=INK, strokeWidth=2.5)
        layers.append(error.encode(x=x_encoding(panel.axis, "low"), x2="high:Q", y=row))
    if shown:
        tick = alt.Chart(rows(shown), name="means").mark_tick(color=INK, thickness=3.5, size=15, opacity=1)
        layers.append(tick.encode(x=x_encoding(panel.axis, "mean"), y=row))
    return layers
