"""The chart of an lr curve: final loss against learning rate, with the fit and the recommendation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, span_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis, value_axis
from stepsize.views.layers import band, edges, flags, layered, lines, points, rows, x_encoding, y_encoding
from stepsize.views.marks import (
    DIVERGED,
    NOT_FINITE,
    Flag,
    Line,
    Point,
    checked_arrays,
    edge_notes,
    line_through,
    place_flags,
    place_point,
)
from stepsize.views.theme import INK, SERIES, SHAPES, WARNING, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["CurveFit", "CurvePoint", "LrCurveInfo", "LrCurveView", "lr_curve_chart", "lr_curve_info"]

_MARGIN = 0.12  # a text centred at less than this share of the width from an edge could leave the plot


@dataclass(frozen=True)
class CurvePoint:
    """One run on the lr curve.

    Args:
        lr: Its peak learning rate, positive.
        loss: What it reached; NaN or infinite where it reached nothing.
        steps: Its horizon, in updates; the rung that it belongs to.
        seed: Its seed.
        diverged: Whether it was given up; it is drawn as a cross then, whatever its loss.
    """

    lr: float
    loss: float
    steps: int
    seed: int = 0
    diverged: bool = False


@dataclass(frozen=True, eq=False)
class CurveFit:
    """The fitted curve on a grid of learning rates.

    Args:
        lrs: The grid, positive, ascending, shape ``(grid,)``.
        mean: The fitted loss, of the same shape.
        low: The lower edge of its band, of the same shape.
        high: The upper edge of its band, of the same shape.

    Raises:
        InputError: If the shapes differ.
    """

    lrs: NDArray[np.float64] | Sequence[float]
    mean: NDArray[np.float64] | Sequence[float]
    low: NDArray[np.float64] | Sequence[float]
    high: NDArray[np.float64] | Sequence[float]

    def __post_init__(self) -> None:
        checked_arrays(lrs=self.lrs, mean=self.mean, low=self.low, high=self.high)


@dataclass(frozen=True, eq=False)
class LrCurveView:
    """What the chart of an lr curve shows.

    Args:
        points: The runs, at least one.
        optimizer: Its name, which the recommendation is for.
        schedule: Its name.
        horizon: The full number of updates that the recommendation is for.
        batch_size: Examples an update; None where unknown.
        fit: The fitted curve; None where there is none.
        lr: The recommendation; None where there is no answer.
        interval: Where the best rate lies, with its uncertainty.
        train_optimum: The rate that the training loss alone would choose.
        title: What was searched.
        verdict: The answer, as a sentence; wrapped by the chart.
        loss_label: The title of the vertical axis: "validation loss", or the metric.

    Raises:
        InputError: If there is no point, or a rate is not positive.
    """

    points: tuple[CurvePoint, ...]
    optimizer: str
    schedule: str
    horizon: int
    batch_size: int | None = None
    fit: CurveFit | None = None
    lr: float | None = None
    interval: tuple[float, float] | None = None
    train_optimum: float | None = None
    title: str = "Loss against learning rate"
    verdict: str = ""
    loss_label: str = "validation loss"

    def __post_init__(self) -> None:
        if not self.points:
            raise InputError("points", self.points, "must hold at least one run")
        for point in self.points:
            if not (math.isfinite(point.lr) and point.lr > 0):
                raise InputError("points", point, "must have positive, finite rates, since their axis is logarithmic")


@dataclass(frozen=True)
class Caption:
    """A text below marks, centred at the rate ``x`` or, near an edge, aligned so that it stays in the plot."""

    x: float
    align: Literal["left", "center", "right"]
    text: str


@dataclass(frozen=True)
class LrCurveInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of learning rates.
        y: The axis of losses: clipped where they explode, log where they span decades.
        points: The runs.
        rungs: Per rung the mean over its seeds, connected.
        fit: The fitted curve, in finite pieces.
        edges: The lower and the upper edge of its band, as ``(lr, low, high)``.
        flags: The recommendation and the optimum of the training loss.
        series: The names of the rungs, from the shortest to the longest.
        lines: Verdict, setting and notes below the title.
        broken: What the crosses are, and where their text stands; None where there are none.
    """

    x: Axis
    y: Axis
    points: tuple[Point, ...]
    rungs: tuple[Line, ...]
    fit: tuple[Line, ...]
    edges: tuple[tuple[float, float, float], ...]
    flags: tuple[Flag, ...]
    series: tuple[str, ...]
    lines: tuple[str, ...]
    broken: Caption | None


def lr_curve_info(view: LrCurveView) -> LrCurveInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, runs (those beyond the axes moved onto the edge), rungs, fit, flags and sentences.

    Example:
        >>> runs = (CurvePoint(1e-3, 0.9, 125), CurvePoint(1e-2, 0.4, 125), CurvePoint(1e-1, 9.0, 125, diverged=True))
        >>> info = lr_curve_info(LrCurveView(runs, "adamw", "cosine", horizon=2000, lr=0.008))
        >>> info.series, [point.kind for point in info.points], info.flags[0].text
        (('125 steps (T/16)',), ['inside', 'inside', 'diverged'], 'recommended 0.008')
    """
    fit = view.fit
    marked = _marked(view)
    x = lr_axis([point.lr for point in view.points] + [rate for rate, _, _ in marked] + list(view.interval or ()))
    losses = [point.loss for point in view.points if not point.diverged]
    y = value_axis(losses, view.loss_label, keep=_levels(view), may_log=True)
    names = {steps: _rung_name(steps, view.horizon) for steps in sorted({point.steps for point in view.points})}
    placed = tuple(
        place_point(point.lr, point.loss, names[point.steps], y, diverged=point.diverged) for point in view.points
    )
    return LrCurveInfo(
        x=x,
        y=y,
        points=placed,
        rungs=_rung_lines(view, names, y),
        fit=line_through("fit", fit.lrs, fit.mean, y) if fit else (),
        edges=_band_edges(fit, y) if fit else (),
        flags=place_flags(marked, x, WIDTH),
        series=tuple(names.values()),
        lines=wrapped(view.verdict, _setting(view), " ".join(_legend(view)), " ".join(_notes(placed))),
        broken=_caption(placed, x),
    )


def lr_curve_chart(view: LrCurveView) -> alt.LayerChart:
    """Return the chart of an lr curve: runs by rung, fit with its band, interval and recommendation.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = lr_curve_info(view)
    names = list(info.series)
    legend = alt.Legend(title="horizon of the run")
    colour = alt.Color("series:N", legend=legend, scale=alt.Scale(domain=names, range=_cycled(SERIES, len(names))))
    shape = alt.Shape("series:N", legend=legend, scale=alt.Scale(domain=names, range=_cycled(SHAPES, len(names))))
    chart = layered(
        *band(view.interval, info.x),
        *flags(info.flags, info.x),
        *_fit_band(info),
        *lines(info.rungs, info.x, info.y, colour, name="rungs", width=1.2, opacity=0.6),
        *lines(info.fit, info.x, info.y, alt.value(INK), name="fit", width=2.2),
        points(info.points, info.x, info.y, colour, shape=shape, size=70, opacity=0.9),
        *edges(info.points, info.x, info.y, colour),
        *_broken_caption(info),
    )
    return themed(chart.properties(title=header(view.title, info.lines)))


def _marked(view: LrCurveView) -> list[tuple[float, str, str]]:
    marked = []
    if view.lr is not None:
        marked.append((view.lr, f"recommended {number_text(view.lr)}", "lr"))
    if view.train_optimum is not None:
        marked.append((view.train_optimum, f"best training loss {number_text(view.train_optimum)}", "optimum"))
    return marked


def _levels(view: LrCurveView) -> list[float]:
    """The levels that must be seen: the fit in the interval and at its minimum."""
    if view.fit is None:
        return []
    low, high = view.interval if view.interval is not None else (math.inf, -math.inf)
    inside = [float(y) for x, y in zip(view.fit.lrs, view.fit.mean, strict=True) if low <= x <= high]
    finite = [float(y) for y in view.fit.mean if math.isfinite(y)]
    return [y for y in inside if math.isfinite(y)] + ([min(finite)] if finite else [])


def _rung_name(steps: int, horizon: int) -> str:
    if steps == horizon:
        return f"{steps} steps (T)"
    return f"{steps} steps (T/{number_text(horizon / steps, digits=2)})" if steps < horizon else f"{steps} steps"


def _rung_lines(view: LrCurveView, names: dict[int, str], y: Axis) -> tuple[Line, ...]:
    """Per rung, the mean loss of each rate over the seeds that reached something."""
    found: list[Line] = []
    for steps, name in names.items():
        reached = [p for p in view.points if p.steps == steps and not p.diverged and math.isfinite(p.loss)]
        rates = sorted({point.lr for point in reached})
        means = [float(np.mean([point.loss for point in reached if point.lr == rate])) for rate in rates]
        if len(rates) > 1:
            found += line_through(name, rates, means, y)
    return tuple(found)


def _band_edges(fit: CurveFit, y: Axis) -> tuple[tuple[float, float, float], ...]:
    """The band, cut at the axis: a log axis has no place for an edge at or below zero."""
    return tuple(
        (float(x), min(max(float(low), y.low), y.high), min(max(float(high), y.low), y.high))
        for x, low, high in zip(fit.lrs, fit.low, fit.high, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    )


def _setting(view: LrCurveView) -> str:
    size = f", batch size {view.batch_size}" if view.batch_size is not None else ""
    return f"For {view.optimizer}, {view.schedule}, T = {view.horizon} steps{size}."


def _legend(view: LrCurveView) -> list[str]:
    notes = []
    if view.fit is not None:
        notes.append("Dark line: fit, carried to T, with its uncertainty.")
    if view.interval is not None:
        notes.append(f"Green: the interval of the best rate, {span_text(view.interval)}.")
    return notes


def _fit_band(info: LrCurveInfo) -> list[alt.Chart]:
    import altair as alt

    if not info.edges:
        return []
    data = rows({"x": x, "y": low, "y2": high} for x, low, high in info.edges)
    mark = alt.Chart(data, name="fit_band").mark_area(color=INK, opacity=0.13, clip=True)
    return [mark.encode(x=x_encoding(info.x), y=y_encoding(info.y), y2="y2:Q")]


def _notes(points: Sequence[Point]) -> tuple[str, ...]:
    """What stands on the edges, without the crosses: they have a text of their own."""
    return edge_notes([point for point in points if point.kind != NOT_FINITE])


def _caption(points: Sequence[Point], x: Axis) -> Caption | None:
    crosses = [point for point in points if point.kind in (DIVERGED, NOT_FINITE)]
    if not crosses:
        return None
    counts = {kind: sum(point.kind == kind for point in crosses) for kind in (DIVERGED, NOT_FINITE)}
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    first, last = min(point.x for point in crosses), max(point.x for point in crosses)
    if x.position(last) > 1 - _MARGIN and x.position(first) > 0.5:
        return Caption(last, "right", text)
    if x.position(first) < _MARGIN and x.position(last) < 0.5:
        return Caption(first, "left", text)
    return Caption(math.sqrt(first * last), "center", text)


def _broken_caption(info: LrCurveInfo) -> list[alt.Chart]:
    import altair as alt

    if info.broken is None:
        return []
    base = alt.Chart(rows([asdict(info.broken)]), name="broken")
    align = info.broken.align
    shift = {"left": -5, "center": 0, "right": 5}[align]
    mark = base.mark_text(align=align, dx=shift, baseline="top", color=WARNING, fontSize=12)
    return [mark.encode(x=x_encoding(info.x), y=alt.value(16), text="text:N")]


def _cycled(choices: Sequence[str], count: int) -> list[str]:
    return [choices[i % len(choices)] for i in range(count)]
