"""The chart of training curves by rate: how the loss fell in each run of a sweep, and where runs broke."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import wrapped
from stepsize.views.axes import Axis, lr_axis, step_axis, value_axis
from stepsize.views.marks import (
    DIVERGED,
    ChartPoint,
    Dots,
    Line,
    Lines,
    checked_some,
    edge_notes,
    line_through,
    place_point,
)
from stepsize.views.plot import ChartInfo, Looks, Plot

_MOST_POINTS = 6000  # of all curves together: some 50 bytes each
_POINTS = (30, 240)  # of a curve: at least and at most
_MOST_DECADES = 4  # below the beginning
_WINDOW = 0.02  # of the horizon, to each side of the point whose level is the mean over it
_DECADES = 0.5  # from which span on losses are drawn on a log axis: curves fall by ratios
_ABOVE = 0.25  # of the height below the beginning: so much is shown above it
_DIGITS = 5  # as many as the eye can see, so that charts of very many runs stay small
_CROWD = 24  # curves beyond which lines are thin


@dataclass(frozen=True, eq=False)
class RateCurve:
    """One run: the training loss of each step, the final validation loss (NaN if none), and where it diverged."""

    lr: float
    losses: NDArray[np.float64] | Sequence[float]
    val_loss: float = math.nan
    diverged_step: int | None = None


def curves_by_rate_info(curves: Sequence[RateCurve], *, title: str = "Training loss vs. step") -> ChartInfo:
    """Return what the chart of ``curves`` shows, and where.

    The level drawn at step t is the mean of the finite losses from t - w to t + w, w being a fiftieth of the steps.
    It is less near the beginning, so that a curve begins where the run did.

    Example:
        >>> curves = (RateCurve(0.01, [2.0, 1.8, 1.6]), RateCurve(0.1, [2.0, 3.0, 9.0], diverged_step=3))
        >>> [plot] = curves_by_rate_info(curves).plots
        >>> plot["curves"][0].y, plot["ends"][0].x
        ((2.0, 1.8, 1.7), 2.0)
    """
    checked_some(curves=curves)
    longest = max(len(curve.losses) for curve in curves)
    most = min(max(_MOST_POINTS // len(curves), _POINTS[0]), _POINTS[1])
    drawn = [_smoothed(curve, longest, most) for curve in curves]
    y = _loss_axis(curves, [levels for _, levels in drawn])
    ends = tuple(
        place_point(len(curve.losses), curve.val_loss, curve.lr, y)
        for curve in curves
        if curve.diverged_step is None and math.isfinite(curve.val_loss)
    )
    broken = tuple(
        _cross(curve, steps, levels, y)
        for curve, (steps, levels) in zip(curves, drawn, strict=True)
        if curve.diverged_step is not None
    )
    lines = tuple(
        Line(piece.series, piece.x, tuple(float(f"{level:.{_DIGITS}g}") for level in piece.y))
        for curve, (steps, levels) in zip(curves, drawn, strict=True)
        for piece in line_through(curve.lr, steps, levels, y)
    )
    width, opacity = (1.2, 0.7) if len(curves) > _CROWD else (1.8, 0.9)
    plot = Plot(
        x=step_axis(longest),
        y=y,
        marks=(
            Lines("curves", lines, width=width, opacity=opacity),
            Dots("ends", ends + broken, size=60, opacity=1, shape="diamond", filled=False),
        ),
        looks=Looks(gradient=lr_axis([curve.lr for curve in curves])),  # dark for low rates, light for high ones
    )
    return ChartInfo(title, wrapped(" ".join(_notes(ends, broken, len(curves)))), (plot,))


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


def _loss_axis(curves: Sequence[RateCurve], levels: Sequence[NDArray[np.float64]]) -> Axis:
    """Return the axis of the runs that finished, from where they began; diverged ones count only if all did."""
    finished = [curve for curve in curves if curve.diverged_step is None]
    lasting = [y for curve, y in zip(curves, levels, strict=True) if curve.diverged_step is None] or list(levels)
    begun = [float(y[np.isfinite(y)][0]) for y in levels if np.isfinite(y).any()]
    shown = np.concatenate([*lasting, [curve.val_loss for curve in finished]])
    begin = float(np.median(begun)) if begun else math.nan
    return value_axis(_capped(shown, begin), "loss", keep=begun and [begin], may_log=True, decades=_DECADES)


def _capped(levels: NDArray[np.float64], begin: float) -> NDArray[np.float64]:
    """Return ``levels`` without what is far above the beginning, or many decades below it.

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


def _cross(curve: RateCurve, steps: NDArray[np.float64], levels: NDArray[np.float64], y: Axis) -> ChartPoint:
    """The last finite level of the curve, or the edge of the plot below or above it."""
    finite = np.flatnonzero(np.isfinite(levels))
    level = float(levels[finite[-1]]) if finite.size else y.high
    text = f"{DIVERGED} at step {curve.diverged_step}"
    return ChartPoint(float(steps[-1]), min(max(level, y.low), y.high), DIVERGED, curve.lr, level, text)


def _notes(ends: Sequence[ChartPoint], broken: Sequence[ChartPoint], runs: int) -> list[str]:
    notes = ["Lines: smoothed training loss (lighter = higher learning rate)."]
    if ends:
        notes.append("Diamonds: final validation loss.")
    if broken:
        notes.append(f"Crosses: {len(broken)} of {runs} runs diverged.")
    return notes + list(edge_notes(ends))
