"""The chart of a few named series over rates, steps, cost or batch sizes, told apart by color and dash."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import wrapped
from stepsize.views.axes import Axis, lr_axis, step_axis, value_axis
from stepsize.views.marks import INSIDE, Dots, Lines, checked_some, edge_notes, line_through, place_flags, place_point
from stepsize.views.plot import ChartInfo, Looks, Plot
from stepsize.views.theme import COLORS, DASHES, WIDTH

_DECADES = 0.5  # from which span on losses are drawn on a log axis


@dataclass(frozen=True, eq=False)
class Series:
    """One series: x rises, losses may be NaN or infinite; ``marked`` is the x that is to stand out."""

    name: str
    x: NDArray[np.float64] | Sequence[float]
    losses: NDArray[np.float64] | Sequence[float]
    marked: float | None = None


def series_info(
    series: Sequence[Series],
    over: Literal["learning rate", "step", "cost", "batch size"],
    *,
    title: str,
    subtitle: str = "",
    label: str = "loss",
    places: Sequence[tuple[float, str, str]] = (),
) -> ChartInfo:
    """Return what the chart of ``series`` shows, and where; those beyond the eighth are left out, and named.

    Over rates and costs each has a point for each value, the marked one larger; over a cost it is a stair. ``places``
    are told by a flag each (x, text, role), unless beyond the axis.

    Example:
        >>> one = Series("adam", [1e-3, 1e-2, 1e-1], [0.5, 0.3, float("inf")], marked=1e-2)
        >>> info = series_info([one], "learning rate", title="net")
        >>> info.plots[0]["series"][0].x, [point.x for point in info.plots[0]["marked"]], info.lines
        ((0.001, 0.01), [0.01], ('Crosses at the top: 1 not finite.',))
    """
    checked_some(series=series)
    shown, left = series[: len(COLORS)], series[len(COLORS) :]
    losses = np.concatenate([np.asarray(one.losses, dtype=np.float64) for one in shown])
    ends = [min(filter(math.isfinite, one.losses), default=math.nan) for one in shown]
    x = _axis_over(over, np.concatenate([np.asarray(one.x, dtype=np.float64) for one in shown]))
    y = value_axis(losses, label, keep=ends, may_log=True, decades=_DECADES)
    placed = tuple(
        place_point(float(x), float(loss), one.name, y)
        for one in shown
        for x, loss in zip(one.x, one.losses, strict=True)
        if over in ("learning rate", "cost")
    )
    tuned = {(one.name, one.marked) for one in shown if one.marked is not None}
    marked = tuple(point for point in placed if (point.series, point.x) in tuned and point.kind == INSIDE)
    note = f"Not drawn, to keep lines apart: {', '.join(one.name for one in left)}." if left else ""
    curves = tuple(line for one in shown for line in line_through(one.name, one.x, one.losses, y))
    count = len(shown)
    plot = Plot(
        x=x,
        y=y,
        marks=(
            Lines("series", curves, width=1.8, interpolate="step-after" if over == "cost" else None),
            Dots("points", placed, size=24, opacity=0.9),
            Dots("marked", marked, size=110, opacity=1),
        ),
        looks=Looks(tuple(one.name for one in shown), COLORS[:count], DASHES[:count], legend=count > 1),
        flags=place_flags([place for place in places if x.low <= place[0] <= x.high], x, WIDTH),
    )
    return ChartInfo(title, wrapped(subtitle, " ".join([note, *edge_notes(placed)]).strip()), (plot,))


def best_so_far(name: str, costs: Sequence[float], losses: Sequence[float]) -> Series:
    """Return the best of ``losses`` so far where it improved, and where the search ended.

    Example:
        >>> best = best_so_far("random", [1.0, 2.0, 3.0, 4.0], [0.5, float("inf"), 0.3, 0.4])
        >>> best.x, best.losses
        ([1.0, 3.0, 4.0], [0.5, 0.3, 0.3])
    """
    found = Series(name, costs, losses)
    finite = np.where(np.isfinite(losses), losses, np.inf)
    best = np.minimum.accumulate(finite)
    new = best < np.append(np.inf, best[:-1])
    new[-1] = True
    return replace(found, x=np.asarray(costs)[new].tolist(), losses=best[new].tolist())


def _axis_over(over: str, xs: NDArray[np.float64]) -> Axis:
    if over in ("learning rate", "batch size"):
        return lr_axis(xs, over)
    if over == "step":
        return step_axis(int(xs.max()))
    return Axis(0.0, 1.03 * float(xs.max()), False, "cost in full runs")
