"""The chart of a range test: losses along the ramp, the fit, and the rates read off it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, span_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.layers import band, edges, flags, layered, level, lines, points
from stepsize.views.marks import (
    Flag,
    Line,
    Point,
    checked_arrays,
    edge_notes,
    line_through,
    place_flags,
    place_point,
    thinned,
)
from stepsize.views.theme import INK, SERIES, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["RangeTestInfo", "RangeTestView", "range_test_chart", "range_test_info"]

_MOST_POINTS = 4000
_ENOUGH = 8  # points before the divergence that say where the interesting losses lie
_HEADROOM = 0.4  # of the interesting losses' height, for the beginning of the blow-up


@dataclass(frozen=True, eq=False)
class RangeTestView:
    """What the chart of a range test shows.

    Args:
        lrs: The learning rate of the reference group at each step, positive, shape ``(points,)``.
        losses: The raw losses, of the same shape; may hold NaN and infinities.
        fit_lrs: Where the smoothed curve is given, shape ``(fit points,)``; may be empty.
        fit_losses: The smoothed curve, of the same shape.
        title: What was tested.
        subtitle: The verdict, as a sentence; wrapped by the chart.
        base_level: The loss before the ramp changed anything.
        low: The smallest rate that makes progress.
        lr: The rate that the test suggests.
        high: The largest rate that is still safe.
        diverged_at: The rate at which the test was given up.
        interval: Where the suggested rate lies, with its uncertainty.
        ramp: Which of several ramps a point belongs to, of the shape of ``lrs``; empty for a single one.
        loss_label: The title of the vertical axis.

    Raises:
        InputError: If shapes differ, there is no point, or a rate is not positive.
    """

    lrs: NDArray[np.float64] | Sequence[float]
    losses: NDArray[np.float64] | Sequence[float]
    fit_lrs: NDArray[np.float64] | Sequence[float] = ()
    fit_losses: NDArray[np.float64] | Sequence[float] = ()
    title: str = "Range test"
    subtitle: str = ""
    base_level: float | None = None
    low: float | None = None
    lr: float | None = None
    high: float | None = None
    diverged_at: float | None = None
    interval: tuple[float, float] | None = None
    ramp: NDArray[np.int64] | Sequence[int] = ()
    loss_label: str = "training loss"

    def __post_init__(self) -> None:
        checked_arrays(lrs=self.lrs, losses=self.losses)
        checked_arrays(fit_lrs=self.fit_lrs, fit_losses=self.fit_losses)
        if len(self.ramp):
            checked_arrays(lrs=self.lrs, ramp=self.ramp)
        if not len(self.lrs):
            raise InputError("lrs", self.lrs, "must hold at least one point")
        rates = np.asarray(self.lrs, dtype=np.float64)
        if not (np.isfinite(rates) & (rates > 0)).all():
            raise InputError("lrs", self.lrs, "must be positive and finite, since their axis is logarithmic")


@dataclass(frozen=True)
class RangeTestInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of learning rates.
        y: The axis of losses, clipped where they explode.
        points: The raw losses.
        fit: The smoothed curve, in finite pieces.
        flags: The rates read off, with their texts.
        series: The names of the ramps; a single one is "loss of each step".
        lines: The verdict and the notes below the title.
    """

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    fit: tuple[Line, ...]
    flags: tuple[Flag, ...]
    series: tuple[str, ...]
    lines: tuple[str, ...]


def range_test_info(view: RangeTestView) -> RangeTestInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, points (those beyond the axes moved onto the edge), fit, flags and sentences.

    Example:
        >>> info = range_test_info(RangeTestView([1e-3, 1e-2, 1e-1], [2.0, 1.0, float("nan")], lr=0.004))
        >>> [point.kind for point in info.points], info.flags[0].text
        (['inside', 'inside', 'not finite'], 'lr 0.004')
    """
    lrs, losses = np.asarray(view.lrs, dtype=np.float64), np.asarray(view.losses, dtype=np.float64)
    ramp = np.asarray(view.ramp if len(view.ramp) else np.zeros(len(lrs)), dtype=np.int64)
    marked = _marked(view)
    x = lr_axis([*lrs.tolist(), *(rate for rate, _, _ in marked), *(view.interval or ())])
    y = value_axis(losses[_interesting(view, lrs, losses)], view.loss_label, keep=_levels(view))
    names = {number: f"ramp {place + 1}" for place, number in enumerate(np.unique(ramp).tolist())}
    if len(names) == 1:
        names = dict.fromkeys(names, "loss of each step")
    placed = tuple(
        place_point(lrs[i], losses[i], names[int(ramp[i])], y) for i in thinned(losses, _MOST_POINTS).tolist()
    )
    return RangeTestInfo(
        x=x,
        y=y,
        points=placed,
        fit=line_through("smoothed", view.fit_lrs, view.fit_losses, y),
        flags=place_flags(marked, x, WIDTH),
        series=tuple(names.values()),
        lines=wrapped(view.subtitle, " ".join(_legend(view)), " ".join(edge_notes(placed))),
    )


def range_test_chart(view: RangeTestView) -> alt.LayerChart:
    """Return the chart of a range test: raw losses, fit, low, lr, high and the divergence.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = range_test_info(view)
    several = len(info.series) > 1
    legend = alt.Legend(title=None) if several else None
    scale = alt.Scale(domain=list(info.series), range=[SERIES[i % len(SERIES)] for i in range(len(info.series))])
    colour = alt.Color("series:N", scale=scale, legend=legend)
    chart = layered(
        *band(view.interval, info.x),
        *flags(info.flags, info.x),
        *level(view.base_level, "start", info.y),
        points(info.points, info.x, info.y, colour, size=22, opacity=0.45),
        *edges(info.points, info.x, info.y, colour),
        *lines(info.fit, info.x, info.y, alt.value(INK), name="fit", width=2.2),
    )
    return themed(chart.properties(title=header(view.title, info.lines)))


def _marked(view: RangeTestView) -> list[tuple[float, str, str]]:
    rates = (("low", view.low), ("lr", view.lr), ("high", view.high), ("diverged", view.diverged_at))
    return [(rate, f"{role} {number_text(rate)}", role) for role, rate in rates if rate is not None]


def _interesting(view: RangeTestView, lrs: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The points that decide about the limits: those before the divergence, where there are enough of them."""
    before = lrs < (np.inf if view.diverged_at is None else view.diverged_at)
    enough = int((before & np.isfinite(losses)).sum()) >= _ENOUGH
    return before if enough else np.ones(len(lrs), dtype=np.bool_)


def _levels(view: RangeTestView) -> list[float]:
    """The levels that must be seen: the start, the fit up to the last safe rate, and the first of the blow-up."""
    last = view.high if view.high is not None else view.lr
    fit = [float(y) for x, y in zip(view.fit_lrs, view.fit_losses, strict=True) if last is not None and x <= last]
    levels = [y for y in (*fit, view.base_level) if y is not None and np.isfinite(y)]
    if view.diverged_at is None or not levels:
        return levels
    return [*levels, max(levels) + _HEADROOM * (max(levels) - min(levels))]


def _legend(view: RangeTestView) -> tuple[str, ...]:
    notes = ["Dots: the loss of each step."]
    if len(view.fit_lrs):
        notes.append("Line: smoothed, without lag.")
    if view.interval is not None:
        notes.append(f"Green: the interval of lr, {span_text(view.interval)}.")
    return tuple(notes)
