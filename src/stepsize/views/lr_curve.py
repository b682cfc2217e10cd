"""The chart of an lr curve: final loss against learning rate, with the fit and the recommendation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
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
from stepsize.views.theme import INK, SHAPES, WARNING, WIDTH, header, shades, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["CurveFit", "CurvePanel", "CurvePoint", "LrCurveInfo", "LrCurveView", "lr_curve_chart", "lr_curve_info"]

_TRAIN_HEIGHT = 130
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
        train_loss: Its training loss, for the panel below; NaN leaves it out there.
    """

    lr: float
    loss: float
    steps: int
    seed: int = 0
    diverged: bool = False
    train_loss: float = math.nan


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

    Where a rate was trained from several seeds, each run is a faint point, equal seeds are joined by thin lines and
    the means stand out. Training losses, where there are any, get a panel of their own, on the same rates.

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
        confidence: How surely the best rate lies in the interval, in (0, 1); None where that is not known.
        joined: Whether runs of neighbouring rates are joined by lines: not where they differ in more than the rate.

    Raises:
        InputError: If there is no point, a rate is not positive, or the confidence is no share.
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
    confidence: float | None = None
    joined: bool = True

    def __post_init__(self) -> None:
        if not self.points:
            raise InputError("points", self.points, "must hold at least one run")
        if self.confidence is not None and not 0 < self.confidence < 1:
            raise InputError("confidence", self.confidence, "must lie between 0 and 1", "Write 80 % as 0.8")
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
class CurvePanel:
    """Losses against the rate.

    Attributes:
        y: The axis of losses: clipped where they explode, log where they span decades.
        points: The runs.
        seeds: Per rung the runs of each seed, connected; empty where no rate has several.
        means: Per rung and rate the mean over the seeds that reached something, where most did; empty where no rate
            has several.
        rungs: Per rung the means, connected; parted by rates that have none.
        broken: What the crosses are, and where their text stands; None where there are none.
    """

    y: Axis
    points: tuple[Point, ...]
    seeds: tuple[Line, ...]
    means: tuple[Point, ...]
    rungs: tuple[Line, ...]
    broken: Caption | None = None


@dataclass(frozen=True)
class LrCurveInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of learning rates.
        judged: The losses that decide.
        train: The training losses, without the diverged; None where there are none.
        fit: The fitted curve, in finite pieces.
        edges: The lower and the upper edge of its band, as ``(lr, low, high)``.
        flags: The recommendation and the optimum of the training loss.
        series: The names of the rungs, from the shortest to the longest.
        lines: Verdict, setting and notes below the title.
    """

    x: Axis
    judged: CurvePanel
    train: CurvePanel | None
    fit: tuple[Line, ...]
    edges: tuple[tuple[float, float, float], ...]
    flags: tuple[Flag, ...]
    series: tuple[str, ...]
    lines: tuple[str, ...]


def lr_curve_info(view: LrCurveView) -> LrCurveInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, runs (those beyond the axes moved onto the edge), rungs, fit, flags and sentences.

    Example:
        >>> runs = (CurvePoint(1e-3, 0.9, 125), CurvePoint(1e-2, 0.4, 125), CurvePoint(1e-1, 9.0, 125, diverged=True))
        >>> info = lr_curve_info(LrCurveView(runs, "adamw", "cosine", horizon=2000, lr=0.008))
        >>> info.series, [point.kind for point in info.judged.points], info.flags[0].text
        (('125 steps (T/16)',), ['inside', 'inside', 'diverged'], 'recommended 0.008')
    """
    fit = view.fit
    marked = _marked(view)
    x = lr_axis([point.lr for point in view.points] + [rate for rate, _, _ in marked] + list(view.interval or ()))
    names = {steps: _rung_name(steps, view.horizon) for steps in sorted({point.steps for point in view.points})}
    judged = _panel(view.points, names, view.loss_label, keep=_levels(view), joined=view.joined)
    train = None
    if any(math.isfinite(point.train_loss) for point in view.points):
        trained = [replace(point, loss=point.train_loss) for point in view.points]
        train = _panel(trained, names, "training loss", joined=view.joined)
        train = replace(train, points=tuple(point for point in train.points if point.kind != DIVERGED))
    return LrCurveInfo(
        x=x,
        judged=replace(judged, broken=_caption(judged.points, x)),
        train=train,
        fit=line_through("fit", fit.lrs, fit.mean, judged.y) if fit else (),
        edges=_band_edges(fit, judged.y) if fit else (),
        flags=place_flags(marked, x, WIDTH),
        series=tuple(names.values()),
        lines=wrapped(
            view.verdict,
            _setting(view),
            " ".join(_legend(view, several=bool(judged.means))),
            " ".join(_notes(judged.points)),
        ),
    )


def lr_curve_chart(view: LrCurveView) -> alt.LayerChart | alt.VConcatChart:
    """Return the chart of an lr curve: runs by rung, fit with its band, interval and recommendation.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = lr_curve_info(view)
    title = header(view.title, info.lines)
    if info.train is None:
        return themed(_judged_panel(view, info, info.x, legend=True).properties(title=title))
    upper = _judged_panel(view, info, replace(info.x, bare=True), legend=True)
    lower = layered(
        *band(view.interval, info.x, height=_TRAIN_HEIGHT),
        *flags(info.flags, info.x, height=_TRAIN_HEIGHT, texts=False),
        *_runs(info.train, info, info.x, legend=True),
        height=_TRAIN_HEIGHT,
    )
    return themed(alt.vconcat(upper, lower, spacing=10).properties(title=title))


def _judged_panel(view: LrCurveView, info: LrCurveInfo, x: Axis, *, legend: bool) -> alt.LayerChart:
    import altair as alt

    return layered(
        *band(view.interval, x),
        *flags(info.flags, x),
        *_fit_band(info, x),
        *_runs(info.judged, info, x, legend=legend),
        *lines(info.fit, x, info.judged.y, alt.value(INK), name="fit", width=2.2),
        *_broken_caption(info.judged, x),
    )


def _runs(panel: CurvePanel, info: LrCurveInfo, x: Axis, *, legend: bool) -> list[alt.Chart]:
    """The runs by rung: the longer, the darker; shapes tell the rungs too."""
    import altair as alt

    names = list(info.series)
    shown = alt.Legend(title="horizon of the run") if legend else None
    colour = alt.Color("series:N", legend=shown, scale=alt.Scale(domain=names, range=shades(len(names))))
    shape = alt.Shape("series:N", legend=shown, scale=alt.Scale(domain=names, range=_cycled(SHAPES, len(names))))
    several = bool(panel.means)
    layers = [
        *lines(panel.seeds, x, panel.y, colour, name="seeds", width=0.8, opacity=0.45),
        *lines(panel.rungs, x, panel.y, colour, name="rungs", width=1.4 if several else 1.2, opacity=0.75),
        points(
            panel.points, x, panel.y, colour, shape=shape,
            size=26 if several else 70, opacity=0.4 if several else 0.95,
        ),
    ]  # fmt: skip
    if several:
        layers.append(points(panel.means, x, panel.y, colour, name="means", shape=shape, size=70, opacity=0.95))
    return [*layers, *edges(panel.points, x, panel.y, colour)]


def _panel(
    runs: Sequence[CurvePoint], names: dict[int, str], label: str, *, joined: bool, keep: Sequence[float] = ()
) -> CurvePanel:
    y = value_axis([run.loss for run in runs if not run.diverged], label, keep=keep, may_log=True)
    measured: dict[tuple[int, float], dict[int, float]] = {}
    for run in sorted(runs, key=lambda run: (run.steps, run.lr, run.seed)):
        measured.setdefault((run.steps, run.lr), {})[run.seed] = math.nan if run.diverged else run.loss
    several = any(len(seeds) > 1 for seeds in measured.values())
    means = {place: _mean(list(seeds.values())) for place, seeds in measured.items()}
    return CurvePanel(
        y=y,
        points=tuple(place_point(run.lr, run.loss, names[run.steps], y, diverged=run.diverged) for run in runs),
        seeds=_seed_lines(measured, names, y) if joined and several else (),
        means=tuple(
            place_point(lr, mean, names[steps], y)
            for (steps, lr), mean in means.items()
            if several and math.isfinite(mean)
        ),
        rungs=_rung_lines(means, names, y) if joined else (),
    )


def _mean(losses: Sequence[float]) -> float:
    """The mean of what was reached; NaN unless most seeds reached something, for a lucky one is no mean."""
    reached = [loss for loss in losses if math.isfinite(loss)]
    return float(np.mean(reached)) if 2 * len(reached) > len(losses) else math.nan


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


def _rung_lines(means: dict[tuple[int, float], float], names: dict[int, str], y: Axis) -> tuple[Line, ...]:
    """Per rung, the means connected from rate to rate; not across a rate that has none."""
    found: list[Line] = []
    for steps, name in names.items():
        rates = [lr for rung, lr in means if rung == steps]
        found += line_through(name, rates, [means[steps, lr] for lr in rates], y)
    return tuple(line for line in found if len(line.x) > 1)


def _seed_lines(
    measured: dict[tuple[int, float], dict[int, float]], names: dict[int, str], y: Axis
) -> tuple[Line, ...]:
    """Per rung that has several seeds, those of each connected from rate to rate: they are compared in pairs."""
    found: list[Line] = []
    for steps, name in names.items():
        rates = [lr for rung, lr in measured if rung == steps]
        seeds = sorted({seed for lr in rates for seed in measured[steps, lr]})
        for seed in seeds if len(seeds) > 1 else ():
            own = [lr for lr in rates if seed in measured[steps, lr]]
            found += line_through(name, own, [measured[steps, lr][seed] for lr in own], y)
    return tuple(line for line in found if len(line.x) > 1)


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


def _legend(view: LrCurveView, *, several: bool) -> list[str]:
    notes = []
    if several:
        joined = " joined seed by seed;" if view.joined else ""
        notes.append(f"Faint: single runs,{joined} large: their means.")
    if view.fit is not None:
        notes.append("Dark line: fit, carried to T, with its uncertainty.")
    if view.interval is not None:
        share = "" if view.confidence is None else f"{number_text(100 * view.confidence)} % "
        notes.append(f"Green: the {share}interval of the best rate, {span_text(view.interval)}.")
    return notes


def _fit_band(info: LrCurveInfo, x: Axis) -> list[alt.Chart]:
    import altair as alt

    if not info.edges:
        return []
    data = rows({"x": lr, "y": low, "y2": high} for lr, low, high in info.edges)
    mark = alt.Chart(data, name="fit_band").mark_area(color=INK, opacity=0.13, clip=True)
    return [mark.encode(x=x_encoding(x), y=y_encoding(info.judged.y), y2="y2:Q")]


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


def _broken_caption(panel: CurvePanel, x: Axis) -> list[alt.Chart]:
    import altair as alt

    if panel.broken is None:
        return []
    base = alt.Chart(rows([asdict(panel.broken)]), name="broken")
    align = panel.broken.align
    shift = {"left": -5, "center": 0, "right": 5}[align]
    mark = base.mark_text(align=align, dx=shift, baseline="top", color=WARNING, fontSize=12)
    return [mark.encode(x=x_encoding(x), y=alt.value(16), text="text:N")]


def _cycled(choices: Sequence[str], count: int) -> list[str]:
    return [choices[i % len(choices)] for i in range(count)]
