"""The chart of every answer that is a rate: final loss against learning rate, with what is recommended."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.layers import band, bare, edges, flags, layered, lines, place, points, rows, stacked
from stepsize.views.marks import (
    ChartPoint,
    Flag,
    Line,
    checked_some,
    edge_notes,
    line_through,
    place_flags,
    place_point,
)
from stepsize.views.theme import INK, SHAPES, WIDTH, shades
from stepsize.views.vega import Chart, alt

_TRAIN_HEIGHT = 130
_BESIDE = 0.5  # decades beside the range that is as good whose losses are shown
_HIGHEST = 10.0  # times the height of the loss within that range: what is above is moved onto the edge
_DEEPEST = 0.5  # times the height shown above the best loss: how far below it a shorter run is shown
_CURVE = "estimated loss, 10–90% band"
_BAR = "M-1.2,-0.22L1.2,-0.22L1.2,0.22L-1.2,0.22Z"  # the curve in the legend: Vega's "stroke" cannot be filled


@dataclass(frozen=True)
class CurvePoint:
    """One run of ``steps`` steps; a diverged one is drawn as a cross, whatever its loss."""

    lr: float
    loss: float
    steps: int
    seed: int = 0
    diverged: bool = False
    train_loss: float = math.nan  # NaN leaves it out of the panel of training losses


@dataclass(frozen=True, eq=False)
class CurveFit:
    """The fitted curve on an ascending grid of learning rates, with its 10–90% band."""

    lrs: NDArray[np.float64] | Sequence[float]
    loss: NDArray[np.float64] | Sequence[float]
    low: NDArray[np.float64] | Sequence[float]
    high: NDArray[np.float64] | Sequence[float]


@dataclass(frozen=True)
class AnswerPanel:
    """Losses against the rate: the axis shows the losses around the best one, what is far above is at its edge."""

    y: Axis
    points: tuple[ChartPoint, ...]  # the longest runs
    shorter: tuple[ChartPoint, ...]
    means: tuple[ChartPoint, ...]  # of each rate, if most of its seeds have a value; empty if no rate has several seeds
    joined: tuple[Line, ...]  # the means of each length


@dataclass(frozen=True)
class AnswerInfo:
    """Everything on the chart, at its place."""

    title: str
    lines: tuple[str, ...]
    x: Axis
    final: AnswerPanel
    train: AnswerPanel | None  # training losses, without those of diverged runs
    curve: tuple[Line, ...]
    band: tuple[tuple[float, float, float], ...]  # of the curve: (lr, low, high)
    flags: tuple[Flag, ...]  # the recommended rate, and that of the lowest training loss
    tried: tuple[Flag, ...]  # rates of runs that have not ended
    as_good: tuple[float, float] | None
    series: tuple[str, ...]  # names of the lengths, from the shortest to the longest


def answer_info(
    runs: Sequence[CurvePoint],
    horizon: int,
    *,
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
) -> AnswerInfo:
    """Return what the chart of an answer shows, and where.

    The longest runs stand out, shorter ones are faint. Training losses, if given, get a panel of their own. If
    ``joined``, means are connected from rate to rate where no curve is fitted. ``tried`` are the rates of runs that
    have not ended.

    Example:
        >>> runs = [CurvePoint(1e-3, 0.9, 125), CurvePoint(1e-2, 0.4, 2000), CurvePoint(1e-1, 9.0, 2000, diverged=True)]
        >>> info = answer_info(runs, 2000, lr=0.008)
        >>> info.series, [point.kind for point in info.final.points], info.flags[0].text
        (('125 steps', 'full runs (2,000 steps)'), ['inside', 'diverged'], 'lr 0.008')
    """
    checked_some(runs=runs)
    names = {steps: _length_name(steps, horizon) for steps in sorted({run.steps for run in runs})}
    marked = [] if lr is None else [(lr, f"lr {number_text(lr)}", "lr")]
    if train_optimum is not None:
        marked.append((train_optimum, f"lowest training loss {number_text(train_optimum)}", "optimum"))
    x = lr_axis([run.lr for run in runs] + [rate for rate, _, _ in marked] + list(as_good or ()) + list(tried))
    final = _panel(runs, _loss_axis(runs, max(names), curve, as_good, loss_label), names, joined=joined and not curve)
    notes = ["Green: the range that is as good."] if as_good else []
    notes += ["Dotted: rates being tried."] if tried else []
    return AnswerInfo(
        title=title,
        lines=wrapped(*_fitting(answer), conditions, " ".join([*notes, *edge_notes(final.points)])),
        x=x,
        final=final,
        train=_train_panel(runs, names, joined=joined),
        curve=line_through(_CURVE, curve.lrs, curve.loss, final.y) if curve else (),
        band=_band(curve, final.y) if curve else (),
        flags=place_flags(marked, x, WIDTH),
        tried=tuple(Flag(rate, "", "tried", 0, "right") for rate in sorted(set(tried))),
        as_good=as_good,
        series=tuple(names.values()),
    )


def answer_chart(info: AnswerInfo) -> Chart:
    """Return the chart of loss against learning rate: runs, curve with its band, the range and the rate."""
    x = info.x if info.train is None else bare(info.x)
    upper = layered(
        *band(info.as_good, x),
        *_band_area(info, x),
        *lines(info.curve, x, info.final.y, _colors(info), name="curve", width=2.4, interpolate="monotone"),
        *flags(info.tried, x, texts=False),
        *flags(info.flags, x),
        *_runs(info.final, info, x),
    )
    if info.train is None:
        return stacked(info.title, info.lines, upper)
    lower = layered(
        *band(info.as_good, info.x, height=_TRAIN_HEIGHT),
        *flags([*info.tried, *info.flags], info.x, height=_TRAIN_HEIGHT, texts=False),
        *_runs(info.train, info, info.x),
        height=_TRAIN_HEIGHT,
    )
    return stacked(info.title, info.lines, upper, lower)


def _colors(info: AnswerInfo) -> alt.Color:
    """The longer the runs, the darker; the curve in ink."""
    names, legend = _legend(info)
    scale = alt.Scale(domain=names, range=[*shades(len(info.series)), INK][: len(names)])
    return alt.Color("series:N", legend=legend, scale=scale)


def _shapes(info: AnswerInfo) -> alt.Shape:
    names, legend = _legend(info)
    shapes = [SHAPES[(len(info.series) - 1 - rank) % len(SHAPES)] for rank in range(len(info.series))]
    return alt.Shape("series:N", legend=legend, scale=alt.Scale(domain=names, range=[*shapes, _BAR][: len(names)]))


def _legend(info: AnswerInfo) -> tuple[list[str], alt.Legend]:
    return [*info.series, *([_CURVE] if info.curve else [])], alt.Legend(title=None, columns=4, labelLimit=WIDTH)


def _runs(panel: AnswerPanel, info: AnswerInfo, x: Axis) -> list[alt.Chart]:
    color, shape = _colors(info), _shapes(info)
    size, opacity = (26, 0.4) if panel.means else (90, 0.95)
    layers = [
        *lines(panel.joined, x, panel.y, color, name="joined", width=1.4, opacity=0.75),
        points(panel.shorter, x, panel.y, color, name="shorter", shape=shape, size=40, opacity=0.75),
        points(panel.points, x, panel.y, color, shape=shape, size=size, opacity=opacity),
    ]
    if panel.means:
        layers.append(points(panel.means, x, panel.y, color, name="means", shape=shape, size=70, opacity=0.95))
    return [*layers, *edges([*panel.shorter, *panel.points], x, panel.y, color)]


def _train_panel(runs: Sequence[CurvePoint], names: dict[int, str], *, joined: bool) -> AnswerPanel | None:
    if not any(math.isfinite(run.train_loss) for run in runs):
        return None
    trained = [replace(run, loss=run.train_loss) for run in runs if not run.diverged]
    y = value_axis([run.loss for run in trained], "training loss", may_log=True)
    return _panel(trained, replace(y, count=4), names, joined=joined)


def _panel(runs: Sequence[CurvePoint], y: Axis, names: dict[int, str], *, joined: bool) -> AnswerPanel:
    measured: dict[tuple[int, float], list[float]] = {}
    for run in sorted(runs, key=lambda run: (run.steps, run.lr)):
        measured.setdefault((run.steps, run.lr), []).append(math.nan if run.diverged else run.loss)
    several = any(len(losses) > 1 for losses in measured.values())
    means = {at: _mean(losses) for at, losses in measured.items()}
    placed = [(run, place_point(run.lr, run.loss, names[run.steps], y, diverged=run.diverged)) for run in runs]
    return AnswerPanel(
        y=y,
        points=tuple(point for run, point in placed if run.steps == max(names)),
        shorter=tuple(point for run, point in placed if run.steps != max(names)),
        means=tuple(
            place_point(lr, mean, names[steps], y)
            for (steps, lr), mean in means.items()
            if several and math.isfinite(mean)
        ),
        joined=_joined(means, names, y) if joined else (),
    )


def _loss_axis(
    runs: Sequence[CurvePoint], longest: int, curve: CurveFit | None, as_good: tuple[float, float] | None, label: str
) -> Axis:
    """Return the axis that shows the losses around the best one well."""
    values = [run.loss for run in runs if not run.diverged and math.isfinite(run.loss)]
    decisive = [run.loss for run in runs if run.steps == longest and not run.diverged and math.isfinite(run.loss)]
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


def _length_name(steps: int, horizon: int) -> str:
    return f"full runs ({steps:,} steps)" if steps == horizon else f"{steps:,} steps"


def _joined(means: dict[tuple[int, float], float], names: dict[int, str], y: Axis) -> tuple[Line, ...]:
    """Return the means of each length, connected from rate to rate; not across a rate that has none."""
    found: list[Line] = []
    for steps, name in names.items():
        rates = [lr for length, lr in means if length == steps]
        found += line_through(name, rates, [means[steps, lr] for lr in rates], y)
    return tuple(line for line in found if len(line.x) > 1)


def _band(curve: CurveFit, y: Axis) -> tuple[tuple[float, float, float], ...]:
    """Return the band, cut at the axis: a log axis has no place for an edge at or below zero."""
    return tuple(
        (float(x), min(max(float(low), y.low), y.high), min(max(float(high), y.low), y.high))
        for x, low, high in zip(curve.lrs, curve.low, curve.high, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    )


def _band_area(info: AnswerInfo, x: Axis) -> list[alt.Chart]:
    if not info.band:
        return []
    data = rows({"x": lr, "y": low, "y2": high} for lr, low, high in info.band)
    mark = alt.Chart(data, name="band").mark_area(color=INK, opacity=0.13, clip=True, interpolate="monotone")
    return [mark.encode(**place(x, info.final.y), y2="y2:Q")]


def _fitting(answer: str) -> list[str]:
    """Return the answer on one line, or the rate and the verdict on a line each where they do not fit."""
    return [answer] if len(wrapped(answer)) <= 1 else re.split(r"(?<=\.) (?=[A-Z])", answer, maxsplit=1)
