"""The chart of the best so far against cost: what each way to search had found after how many trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.layers import edges, layered, level, lines, points, series_encodings
from stepsize.views.marks import Line, Point, checked_arrays, edge_notes, line_through, place_point
from stepsize.views.theme import COLOURS, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "BestAgainstCostInfo", "BestAgainstCostView", "CostSeries", "best_against_cost_chart", "best_against_cost_info",
]  # fmt: skip

_MOST_SERIES = len(COLOURS)


@dataclass(frozen=True, eq=False)
class CostSeries:
    """One search: what its runs reached, in the order in which they ended.

    Args:
        name: What the legend calls it.
        costs: What had been spent when each run ended, positive and never falling, shape ``(runs,)``.
        values: What each run reached, lower is better, of the same shape; NaN or infinite where it reached nothing.

    Raises:
        InputError: If the name is empty, there is no run, shapes differ, or costs fall or are not positive.
    """

    name: str
    costs: NDArray[np.float64] | Sequence[float]
    values: NDArray[np.float64] | Sequence[float]

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name", self.name, "must not be empty", "Name the search as the legend shall call it")
        costs_name = f"costs of '{self.name}'"
        checked_arrays(**{costs_name: self.costs, f"values of '{self.name}'": self.values})
        costs = np.asarray(self.costs, dtype=np.float64)
        if not costs.size:
            raise InputError(costs_name, self.costs, "must hold at least one run", "Leave this search out")
        if not np.isfinite(costs).all() or costs[0] <= 0 or (np.diff(costs) < 0).any():
            rule = "must be positive and never fall: what had been spent in all when each run ended"
            raise InputError(costs_name, self.costs, rule, "Give numpy.cumsum of the costs of the runs")


@dataclass(frozen=True, eq=False)
class BestAgainstCostView:
    """What the chart of the best so far shows.

    Args:
        series: One a search, 1 to 8, with different names.
        target: A level to compare with; None where there is none.
        target_text: What it is.
        title: What was searched.
        subtitle: More about it, as sentences; wrapped by the chart.
        loss_label: The title of the vertical axis.
        cost_label: The title of the horizontal axis.
        log_cost: Whether the axis of costs is logarithmic.

    Raises:
        InputError: If there are too few or too many searches, or two share a name.
    """

    series: tuple[CostSeries, ...]
    target: float | None = None
    target_text: str = "target"
    title: str = "Best so far against cost"
    subtitle: str = ""
    loss_label: str = "best validation loss"
    cost_label: str = "cost in full trainings"
    log_cost: bool = False

    def __post_init__(self) -> None:
        names = [series.name for series in self.series]
        if not 1 <= len(names) <= _MOST_SERIES:
            rule = f"must hold 1 to {_MOST_SERIES} searches, since more colours cannot be told apart"
            raise InputError("series", len(names), rule, "Draw them on several charts")
        if len(set(names)) < len(names):
            raise InputError("series", names, "must have different names", "Rename one: the legend tells them by name")


@dataclass(frozen=True)
class BestAgainstCostInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of costs.
        y: The axis of losses: clipped where the first ones are far up, log where they span decades.
        best: One line a search, a stair that falls at each improvement and ends where the search did.
        improvements: Where the best became better.
        target: The level to compare with.
        series: The names of the searches.
        lines: Subtitle and notes below the title.
    """

    x: Axis
    y: Axis
    best: tuple[Line, ...]
    improvements: tuple[Point, ...]
    target: float | None
    series: tuple[str, ...]
    lines: tuple[str, ...]


def best_against_cost_info(view: BestAgainstCostView) -> BestAgainstCostInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, stairs, improvements, target and sentences.

    Example:
        >>> series = CostSeries("random", [1.0, 2.0, 3.0, 4.0], [0.5, float("inf"), 0.3, 0.4])
        >>> info = best_against_cost_info(BestAgainstCostView((series,)))
        >>> info.best[0].x, info.best[0].y
        ((1.0, 3.0, 3.0, 4.0), (0.5, 0.5, 0.3, 0.3))
    """
    found = {series.name: _improved(series) for series in view.series}
    levels = [value for _, values in found.values() for value in values]
    ends = [values[-1] for _, values in found.values() if len(values)]
    keep = [*ends, *([view.target] if view.target is not None and math.isfinite(view.target) else [])]
    y = value_axis(levels, view.loss_label, keep=keep, may_log=True)
    improvements = tuple(
        place_point(cost, value, name, y)
        for name, (costs, values) in found.items()
        for cost, value in zip(costs, values, strict=True)
    )
    empty = [name for name, (costs, _) in found.items() if not len(costs)]
    notes = [f"Nothing was reached by: {', '.join(empty)}."] if empty else []
    return BestAgainstCostInfo(
        x=_cost_axis(view),
        y=y,
        best=tuple(
            line
            for series in view.series
            for line in line_through(series.name, *_stair(*found[series.name], float(series.costs[-1])), y)
        ),
        improvements=improvements,
        target=view.target,
        series=tuple(found),
        lines=wrapped(view.subtitle, " ".join([*notes, *edge_notes(improvements)])),
    )


def best_against_cost_chart(view: BestAgainstCostView) -> alt.LayerChart:
    """Return the chart of the best so far: a stair a search, told apart by colour and dash.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    info = best_against_cost_info(view)
    colour, dash = series_encodings(info.series)
    text = "" if info.target is None else f"{view.target_text} {number_text(info.target)}"
    chart = layered(
        *level(info.target, text, info.y),
        *lines(info.best, info.x, info.y, colour, name="best", width=2.2, dash=dash),
        points(info.improvements, info.x, info.y, colour, name="improvements", size=36, opacity=1),
        *edges(info.improvements, info.x, info.y, colour),
    )
    return themed(chart.properties(title=header(view.title, info.lines)))


def _improved(series: CostSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the costs at which the best became better, and the best from there on."""
    values = np.asarray(series.values, dtype=np.float64)
    best = np.minimum.accumulate(np.where(np.isfinite(values), values, np.inf))
    new = best < np.append(np.inf, best[:-1])
    return np.asarray(series.costs, dtype=np.float64)[new], best[new]


def _stair(
    costs: NDArray[np.float64], values: NDArray[np.float64], end: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the corners of values that hold until the next one, the last one until ``end``."""
    if not len(costs):
        return costs, values
    x = np.append(np.repeat(costs, 2)[1:], end)
    return x, np.repeat(values, 2)


def _cost_axis(view: BestAgainstCostView) -> Axis:
    costs = np.concatenate([np.asarray(series.costs, dtype=np.float64) for series in view.series])
    if view.log_cost:
        return lr_axis(costs, view.cost_label)
    last = float(costs.max())
    return replace(value_axis([0.0, last], view.cost_label), low=0.0, high=1.03 * last)
