"""The chart of a range test: losses along the ramp, the fit, and the rates read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, span_text, wrapped
from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.layers import band, edges, flags, layered, level, lines, points, stacked
from stepsize.views.marks import (
    ChartPoint,
    Flag,
    Line,
    checked_some,
    edge_notes,
    line_through,
    place_flags,
    place_point,
    thinned,
)
from stepsize.views.theme import INK, SERIES, WIDTH
from stepsize.views.vega import Chart, alt

_MOST_POINTS = 4000
_ENOUGH = 8  # points before the divergence that say where the interesting losses are
_HEADROOM = 0.4  # of the interesting losses' height, for the beginning of the blow-up


@dataclass(frozen=True)
class RangeTestInfo:
    """Everything on the chart, at its place."""

    title: str
    lines: tuple[str, ...]
    x: Axis
    y: Axis  # clipped where losses explode
    points: tuple[ChartPoint, ...]
    fit: tuple[Line, ...]
    flags: tuple[Flag, ...]
    series: tuple[str, ...]  # names of the ramps; a single one is "loss of each step"
    start_loss: float | None
    interval: tuple[float, float] | None


def range_test_info(
    lrs: NDArray[np.float64] | Sequence[float],
    losses: NDArray[np.float64] | Sequence[float],
    *,
    fit_lrs: NDArray[np.float64] | Sequence[float] = (),
    fit_losses: NDArray[np.float64] | Sequence[float] = (),
    title: str = "Range test",
    subtitle: str = "",
    start_loss: float | None = None,
    low: float | None = None,
    lr: float | None = None,
    high: float | None = None,
    diverged_at: float | None = None,
    interval: tuple[float, float] | None = None,
    ramp: NDArray[np.int64] | Sequence[int] = (),
) -> RangeTestInfo:
    """Return what the chart of a range test shows, and where.

    Losses may be NaN or infinite; the smoothed curve may be empty; ``ramp`` says which of several ramps a point
    belongs to.

    Example:
        >>> info = range_test_info([1e-3, 1e-2, 1e-1], [2.0, 1.0, float("nan")], lr=0.004)
        >>> [point.kind for point in info.points], info.flags[0].text
        (['inside', 'inside', 'not finite'], 'lr 0.004')
    """
    rates, levels = np.asarray(lrs, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    numbers = np.asarray(ramp if len(ramp) else np.zeros(len(rates)), dtype=np.int64)
    checked_some(lrs=lrs)
    read_off = (("low", low), ("lr", lr), ("high", high), ("diverged", diverged_at))
    marked = [(rate, f"{role} {number_text(rate)}", role) for role, rate in read_off if rate is not None]
    x = lr_axis([*rates.tolist(), *(rate for rate, _, _ in marked), *(interval or ())])
    safe = [y for at, y in zip(fit_lrs, fit_losses, strict=True) if at <= (high or lr or 0.0)]
    keep = [y for y in (*safe, start_loss) if y is not None and np.isfinite(y)]
    if diverged_at is not None and keep:  # and the first of the blow-up
        keep.append(max(keep) + _HEADROOM * (max(keep) - min(keep)))
    y = value_axis(levels[_interesting(diverged_at, rates, levels)], "training loss", keep=keep)
    names = {number: f"ramp {rank + 1}" for rank, number in enumerate(np.unique(numbers).tolist())}
    if len(names) == 1:
        names = dict.fromkeys(names, "loss of each step")
    placed = tuple(
        place_point(rates[i], levels[i], names[int(numbers[i])], y) for i in thinned(levels, _MOST_POINTS).tolist()
    )
    notes = ["Dots: the loss of each step."]
    if len(fit_lrs):
        notes.append("Line: smoothed, without lag.")
    if interval is not None:
        notes.append(f"Green: the interval of lr, {span_text(interval)}.")
    return RangeTestInfo(
        title=title,
        lines=wrapped(subtitle, " ".join(notes), " ".join(edge_notes(placed))),
        x=x,
        y=y,
        points=placed,
        fit=line_through("smoothed", fit_lrs, fit_losses, y),
        flags=place_flags(marked, x, WIDTH),
        series=tuple(names.values()),
        start_loss=start_loss,
        interval=interval,
    )


def range_test_chart(info: RangeTestInfo) -> Chart:
    """Return the chart of a range test: raw losses, fit, low, lr, high and the divergence."""
    names = info.series
    colors = alt.Scale(domain=list(names), range=[SERIES[i % len(SERIES)] for i in range(len(names))])
    color = alt.Color("series:N", scale=colors, legend=alt.Legend(title=None) if len(names) > 1 else None)
    return stacked(
        info.title,
        info.lines,
        layered(
            *band(info.interval, info.x),
            *flags(info.flags, info.x),
            *level(info.start_loss, "start", info.y),
            points(info.points, info.x, info.y, color, size=22, opacity=0.45),
            *edges(info.points, info.x, info.y, color),
            *lines(info.fit, info.x, info.y, alt.value(INK), name="fit", width=2.2),
        ),
    )


def _interesting(diverged_at: float | None, lrs: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The points that decide about the limits: those before the divergence, if there are enough of them."""
    before = lrs < (np.inf if diverged_at is None else diverged_at)
    enough = int((before & np.isfinite(losses)).sum()) >= _ENOUGH
    return before if enough else np.ones(len(lrs), dtype=np.bool_)
