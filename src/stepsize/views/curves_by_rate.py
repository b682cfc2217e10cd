"""The chart of training curves by rate: how the loss fell in each run of a sweep, and where runs broke."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, step_axis, value_axis
from stepsize.views.layers import crosses, edges, layered, line_legend, lines, points
from stepsize.views.marks import (
    DIVERGED,
    Line,
    Point,
    checked_arrays,
    edge_notes,
    line_through,
    place_point,
)
from stepsize.views.theme import header, sequence_colour, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["CurvesByRateInfo", "CurvesByRateView", "RateCurve", "curves_by_rate_chart", "curves_by_rate_info"]

_MOST_POINTS = 6000  # of all curves together: some 50 bytes each
_POINTS = (30, 240)  # of a curve: at least and at most
_MOST_DECADES = 4  # below the beginning
_WINDOW = 0.02  # of the horizon, to each side of the point whose level is the mean over it
_DECADES = 0.5  # from which span on losses are drawn on a log axis: curves fall by ratios
_MOST_NAMED = 6
_ABOVE = 0.25  # of the height below the beginning: so much is shown above it
_DIGITS = 5
_RATE_DIGITS = 3
_CROWD = 24  # curves beyond which lines are thin


@dataclass(frozen=True, eq=False)
class RateCurve:
    """One run.

    Args:
        lr: Its peak learning rate, positive.
        losses: The training loss of each step, shape ``(steps,)``; may hold NaN and infinities.
        val_loss: The loss on unseen data at its end; NaN leaves it out.
        diverged_step: The step at which it was given up; None where it was not.
        seed: Its seed.

    Raises:
        InputError: If the rate is not positive or there is no step.
    """

    lr: float
    losses: NDArray[np.float64] | Sequence[float]
    val_loss: float = math.nan
    diverged_step: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            rule = "must be positive and finite, since colours go by its logarithm"
            raise InputError("lr", self.lr, rule)
        checked_arrays(losses=self.losses)
        if not len(self.losses):
            raise InputError("losses", self.losses, "must hold at least one step", "Leave this run out")


@dataclass(frozen=True, eq=False)
class CurvesByRateView:
    """What the chart of training curves shows.

    Args:
        curves: The runs, at least one.
        title: What was trained.
        subtitle: More about it, as sentences; wrapped by the chart.
        loss_label: The title of the vertical axis.

    Raises:
        InputError: If there is no run.
    """

    curves: tuple[RateCurve, ...]
    title: str = "Training curves by learning rate"
    subtitle: str = ""
    loss_label: str = "loss"

    def __post_init__(self) -> None:
        if not self.curves:
            raise InputError("curves", self.curves, "must hold at least one run")


@dataclass(frozen=True)
class CurvesByRateInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of steps.
        y: The axis of losses: clipped where they explode, log where they span half a decade.
        curves: The smoothed training losses, in finite pieces, as few points as show them.
        ends: The losses on unseen data at the ends of the runs.
        crosses: Where runs were given up.
        colours: Of each rate, from the lowest to the highest: its name and its colour.
        named: The rates that the legend names.
        lines: Subtitle and notes below the title.
    """

    x: Axis
    y: Axis
    curves: tuple[Line, ...]
    ends: tuple[Point, ...]
    crosses: tuple[Point, ...]
    colours: tuple[tuple[str, str], ...]
    named: tuple[str, ...]
    lines: tuple[str, ...]


def curves_by_rate_info(view: CurvesByRateView) -> CurvesByRateInfo:
    """Return what the chart of ``view`` shows, and where.

    The level drawn at step t is the mean of the finite losses from t - w to t + w, w being a fiftieth of the steps.
    It is less near the beginning, so that a curve begins where the run did.

    Args:
        view: Plain data.

    Returns:
        Axes, curves, ends, crosses, colours and sentences.

    Example:
        >>> curves = (RateCurve(0.01, [2.0, 1.8, 1.6]), RateCurve(0.1, [2.0, 3.0, 9.0], diverged_step=3))
        >>> info = curves_by_rate_info(CurvesByRateView(curves))
        >>> info.curves[0].y, info.crosses[0].x, info.colours
        ((2.0, 1.8, 1.7), 2.0, (('0.01', '#440154'), ('0.1', '#bddf26')))
    """
    longest = max(len(curve.losses) for curve in view.curves)
    most = min(max(_MOST_POINTS // len(view.curves), _POINTS[0]), _POINTS[1])
    drawn = [_smoothed(curve, longest, most) for curve in view.curves]
    y = _loss_axis(view, [levels for _, levels in drawn])
    rates = sorted({curve.lr for curve in view.curves})
    names = {rate: number_text(rate, _RATE_DIGITS) for rate in rates}
    ends = tuple(
        place_point(len(curve.losses), curve.val_loss, names[curve.lr], y)
        for curve in view.curves
        if curve.diverged_step is None and math.isfinite(curve.val_loss)
    )
    pieces = tuple(
        Line(piece.series, piece.x, tuple(_short(level) for level in piece.y))
        for curve, (steps, levels) in zip(view.curves, drawn, strict=True)
        for piece in line_through(names[curve.lr], steps, levels, y)
    )
    broken = tuple(
        _cross(curve, steps, levels, y)
        for curve, (steps, levels) in zip(view.curves, drawn, strict=True)
        if curve.diverged_step is not None
    )
    return CurvesByRateInfo(
        x=step_axis(longest),
        y=y,
        curves=pieces,
        ends=ends,
        crosses=broken,
        colours=tuple({names[rate]: _colour(rate, rates) for rate in rates}.items()),
        named=_named([names[rate] for rate in rates]),
        lines=wrapped(view.subtitle, " ".join(_notes(view, ends, broken))),
    )


def curves_by_rate_chart(view: CurvesByRateView) -> alt.LayerChart:
    """Return the chart of training curves: dark for low rates, light for high ones, crosses where runs broke.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = curves_by_rate_info(view)
    some = f"learning rate ({len(info.named)} of {len(info.colours)} named)"
    legend = line_legend(info.named, "learning rate" if len(info.named) == len(info.colours) else some)
    legend.values = list(info.named)
    names, tints = [name for name, _ in info.colours], [tint for _, tint in info.colours]
    colour = alt.Color("series:N", legend=legend, scale=alt.Scale(domain=names, range=tints))
    crowded = len(view.curves) > _CROWD
    chart = layered(
        *lines(
            info.curves, info.x, info.y, colour, name="curves",
            width=1.2 if crowded else 1.8, opacity=0.7 if crowded else 0.9,
        ),
        points(info.ends, info.x, info.y, colour, name="ends", shape=alt.value("diamond"), size=70, opacity=1),
        *edges(info.ends, info.x, info.y, colour),
        *crosses(info.crosses, info.x, info.y),
    )  # fmt: skip
    return themed(chart.properties(title=header(view.title, info.lines)))


def _smoothed(curve: RateCurve, longest: int, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return steps and levels of at most ``most`` points of a curve, as dense as those of the longest one."""
    losses = np.asarray(curve.losses, dtype=np.float64)
    count = len(losses)
    at = np.unique(
        np.linspace(0, count - 1, min(count, max(2, round(most * count / longest)))).round().astype(np.int64)
    )
    finite = np.isfinite(losses)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, losses, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    reach = np.minimum(max(1, round(_WINDOW * longest)), at)
    low, high = at - reach, np.minimum(at + reach + 1, count)
    seen = counts[high] - counts[low]
    with np.errstate(invalid="ignore", divide="ignore"):
        levels = np.where(seen > 0, (sums[high] - sums[low]) / seen, np.nan)
    return at.astype(np.float64), levels


def _loss_axis(view: CurvesByRateView, levels: Sequence[NDArray[np.float64]]) -> Axis:
    """Where the runs that lasted lie, from where they began; those that diverged have no say unless all did."""
    lasting = [y for curve, y in zip(view.curves, levels, strict=True) if curve.diverged_step is None] or list(levels)
    begun = [float(y[np.isfinite(y)][0]) for y in levels if np.isfinite(y).any()]
    vals = [curve.val_loss for curve in view.curves if curve.diverged_step is None]
    shown = np.concatenate([*lasting, vals])
    begin = float(np.median(begun)) if begun else math.nan
    keep = [begin] if begun else []
    return value_axis(_capped(shown, begin), view.loss_label, keep=keep, may_log=True, decades=_DECADES)


def _capped(levels: NDArray[np.float64], begin: float) -> NDArray[np.float64]:
    """Return ``levels`` without what lies far above the beginning, or many decades below it.

    Only where most of them fell below it; levels of exactly zero then go with the lowest others.
    """
    finite = levels[np.isfinite(levels)]
    if not finite.size or not np.median(finite) < begin:
        return levels
    if finite.min() >= 0 and (finite > 0).mean() > 0.5:
        levels = np.maximum(levels, begin / 10**_MOST_DECADES)
    least = float(np.nanmin(levels))
    cap = begin * (begin / least) ** _ABOVE if least > 0 else begin + _ABOVE * (begin - least)
    return np.minimum(levels, cap)


def _cross(curve: RateCurve, steps: NDArray[np.float64], levels: NDArray[np.float64], y: Axis) -> Point:
    """The last finite level of the curve, or the edge of the plot below or above it."""
    finite = np.flatnonzero(np.isfinite(levels))
    level = float(levels[finite[-1]]) if finite.size else y.high
    name, text = number_text(curve.lr, _RATE_DIGITS), f"{DIVERGED} at step {curve.diverged_step}"
    return Point(float(steps[-1]), min(max(level, y.low), y.high), DIVERGED, name, level, text)


def _colour(rate: float, rates: Sequence[float]) -> str:
    span = math.log(rates[-1] / rates[0])
    return sequence_colour(math.log(rate / rates[0]) / span if span > 0 else 0.0)


def _named(names: Sequence[str]) -> tuple[str, ...]:
    """All of a few names; of many, the first, the last and some evenly between."""
    chosen = np.linspace(0, len(names) - 1, min(len(names), _MOST_NAMED)).round().astype(int)
    return tuple(dict.fromkeys(names[place] for place in chosen))


def _notes(view: CurvesByRateView, ends: Sequence[Point], broken: Sequence[Point]) -> list[str]:
    notes = ["Lines: the training loss, smoothed; the lighter, the higher the rate."]
    if ends:
        notes.append("Diamonds: the loss on unseen data at the end.")
    if broken:
        notes.append(f"Crosses: {len(broken)} of {len(view.curves)} runs diverged.")
    return notes + list(edge_notes(ends))


def _short(level: float) -> float:
    """As many digits as the eye can see, so that charts of very many runs stay small."""
    return float(f"{level:.{_DIGITS}g}")
