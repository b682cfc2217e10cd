"""The chart of every answer that is a rate: final loss against learning rate, with what is recommended."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.marks import (
    Dots,
    Flag,
    Line,
    Lines,
    checked_some,
    edge_notes,
    line_through,
    place_flags,
    place_point,
)
from stepsize.views.plot import ChartInfo, Looks, Plot
from stepsize.views.theme import INK, SHAPES, WIDTH, shades

if TYPE_CHECKING:
    from stepsize.curves.lr_model import Point

_TRAIN_HEIGHT = 130
_BESIDE = 0.5  # decades beside the range that is as good whose losses are shown
_HIGHEST = 10.0  # times the height of the loss within that range: what is above is moved onto the edge
_DEEPEST = 0.5  # times the height shown above the best loss: how far below it a shorter run is shown
_CURVE = "estimated loss, 10–90% band"
_BAR = "M-1.2,-0.22L1.2,-0.22L1.2,0.22L-1.2,0.22Z"  # the curve in the legend: Vega's "stroke" cannot be filled


@dataclass(frozen=True, eq=False)
class CurveFit:
    """The fitted curve on an ascending grid of learning rates, with its 10–90% band."""

    lrs: NDArray[np.float64] | Sequence[float]
    loss: NDArray[np.float64] | Sequence[float]
    low: NDArray[np.float64] | Sequence[float]
    high: NDArray[np.float64] | Sequence[float]


def answer_info(
    runs: Sequence[Point],
    horizon: int,
    *,
    train: Sequence[Point] = (),
    title: str = "Loss vs. learning rate",
    answer: str = "",
    conditions: str = "",
    curve: CurveFit | None = None,
    lr: float | None = None,
    as_good: tuple[float, float] | None = None,
    train_optimum: float | None = None,
    loss_label: str = "validation loss",
    joined: bool = False,
    tried: Sequence[float] = (),
) -> ChartInfo:
    """Return what the chart of an answer shows, and where.

    The longest runs stand out, shorter ones are faint; one that diverged is a cross, whatever its value. The training
    losses of the runs in ``train``, if there are any, get a panel of their own. If ``joined``, means are connected from
    rate to rate where no curve is fitted. ``tried`` are the rates of runs that have not ended.

    Example:
        >>> from stepsize.curves.lr_model import Point
        >>> runs = [Point(1e-3, 0.9, share=1 / 16), Point(1e-2, 0.4), Point(1e-1, 9.0, diverged=True)]
        >>> [plot] = answer_info(runs, 2000, lr=0.008).plots
        >>> plot.looks.names, [point.kind for point in plot["points"]], plot.flags[0].text
        (('125 steps', 'full runs (2,000 steps)'), ['inside', 'diverged'], 'lr 0.008')
    """
    checked_some(runs=runs)
    names = {share: _length_name(share, horizon) for share in sorted({run.share for run in runs})}
    marked = [] if lr is None else [(lr, f"lr {number_text(lr)}", "lr")]
    if train_optimum is not None:
        marked.append((train_optimum, f"lowest training loss {number_text(train_optimum)}", "optimum"))
    x = lr_axis([run.lr for run in runs] + [rate for rate, _, _ in marked] + list(as_good or ()) + list(tried))
    y = _loss_axis(runs, max(names), curve, as_good, loss_label)
    dotted = tuple(Flag(rate, "", "tried", 0, "right") for rate in sorted(set(tried)))
    final = Plot(
        x=x,
        y=y,
        marks=(*_curve(curve, y), *_runs(runs, y, names, joined=joined and not curve)),
        looks=_looks(tuple(names.values()), curve),
        flags=(*dotted, *place_flags(marked, x, WIDTH)),
        interval=as_good,
        area=_band(curve, y) if curve else (),
    )
    plots = [final]
    if any(math.isfinite(run.value) for run in train):
        y = replace(value_axis([run.value for run in train], "training loss", may_log=True), count=4)
        marks = _runs(train, y, names, joined=joined)
        plots.append(replace(final, y=y, marks=marks, area=(), height=_TRAIN_HEIGHT))
    notes = ["Green: the range that is as good."] if as_good else []
    notes += ["Dotted: rates being tried."] if tried else []
    notes += edge_notes(final["points"])
    return ChartInfo(title, wrapped(*_fitting(answer), conditions, " ".join(notes)), tuple(plots))


def _looks(series: Sequence[str], curve: CurveFit | None) -> Looks:
    """The longer the runs, the darker; the curve in ink."""
    names = (*series, *([_CURVE] if curve else []))
    shapes = [SHAPES[(len(series) - 1 - rank) % len(SHAPES)] for rank in range(len(series))]
    return Looks(names, (*shades(len(series)), INK)[: len(names)], (), (*shapes, _BAR)[: len(names)], legend=True)


def _curve(curve: CurveFit | None, y: Axis) -> list[Lines]:
    if curve is None:
        return []
    return [Lines("curve", line_through(_CURVE, curve.lrs, curve.loss, y), width=2.4, interpolate="monotone")]


def _runs(runs: Sequence[Point], y: Axis, names: dict[float, str], *, joined: bool) -> tuple[Lines | Dots, ...]:
    """Return the longest runs, which stand out, the shorter ones, and the mean of each rate if it has several seeds."""
    measured: dict[tuple[float, float], list[float]] = {}
    for run in sorted(runs, key=lambda run: (run.share, run.lr)):
        measured.setdefault((run.share, run.lr), []).append(math.nan if run.diverged else run.value)
    means = {at: _mean(losses) for at, losses in measured.items()}
    shown = [
        place_point(lr, mean, names[share], y)
        for (share, lr), mean in means.items()
        if len(runs) > len(means) and y.low <= mean <= y.high
    ]
    placed = [(run, place_point(run.lr, run.value, names[run.share], y, diverged=run.diverged)) for run in runs]
    longest, shorter = (
        tuple(point for run, point in placed if (run.share == max(names)) == wanted) for wanted in (True, False)
    )
    return (
        Lines("joined", _joined(means, names, y) if joined else (), width=1.4, opacity=0.75),
        Dots("shorter", shorter, size=40, opacity=0.75),
        Dots("points", longest, size=26 if shown else 90, opacity=0.4 if shown else 0.95),
        Dots("means", tuple(shown), size=70, opacity=0.95),
    )


def _loss_axis(
    runs: Sequence[Point], longest: float, curve: CurveFit | None, as_good: tuple[float, float] | None, label: str
) -> Axis:
    """Return the axis that shows the losses around the best one well."""
    values = [run.value for run in runs if not run.diverged and math.isfinite(run.value)]
    decisive = [run.value for run in runs if run.share == longest and not run.diverged and math.isfinite(run.value)]
    if curve is None or as_good is None or not decisive:
        return value_axis(values, label, may_log=True)
    lrs, loss, high = (np.asarray(values, float) for values in (curve.lrs, curve.loss, curve.high))
    near = (lrs >= as_good[0] * 10**-_BESIDE) & (lrs <= as_good[1] * 10**_BESIDE)
    inside = (lrs >= as_good[0] * 0.99) & (lrs <= as_good[1] * 1.01)
    if not inside.any():
        return value_axis(values, label, may_log=True)
    best = min(float(loss[near].min()), *decisive)
    height = max(float(high[inside].max()), float(loss[inside].max())) - best
    top = min(float(loss[near].max()), best + _HIGHEST * height)
    bottom = best - _DEEPEST * (top - best)
    shown = [value for value in values if bottom <= value <= top]
    return value_axis(shown, label, keep=[best, top], may_log=True)


def _mean(losses: Sequence[float]) -> float:
    """Return the mean; NaN unless most seeds have a value, since the mean of the lucky ones says nothing."""
    reached = [loss for loss in losses if math.isfinite(loss)]
    return float(np.mean(reached)) if 2 * len(reached) > len(losses) else math.nan


def _length_name(share: float, horizon: int) -> str:
    return f"full runs ({horizon:,} steps)" if share == 1 else f"{max(1, round(share * horizon)):,} steps"


def _joined(means: dict[tuple[float, float], float], names: dict[float, str], y: Axis) -> tuple[Line, ...]:
    """Return the means of each length, connected from rate to rate; not across a rate that has none."""
    found: list[Line] = []
    for share, name in names.items():
        rates = [lr for length, lr in means if length == share]
        found += line_through(name, rates, [means[share, lr] for lr in rates], y)
    return tuple(line for line in found if len(line.x) > 1)


def _band(curve: CurveFit, y: Axis) -> tuple[tuple[float, float, float], ...]:
    """Return the band, cut at the axis: a log axis has no place for an edge at or below zero."""
    return tuple(
        (float(x), min(max(float(low), y.low), y.high), min(max(float(high), y.low), y.high))
        for x, low, high in zip(curve.lrs, curve.low, curve.high, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    )


def _fitting(answer: str) -> list[str]:
    """Return the answer on one line, or the rate and the verdict on a line each where they do not fit."""
    return [answer] if len(wrapped(answer)) <= 1 else re.split(r"(?<=\.) (?=[A-Z])", answer, maxsplit=1)
