"""The chart of every answer that is a rate: final loss against learning rate, with what is recommended."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text, wrapped
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
from stepsize.views.theme import ANSWER, INK, SHAPES, WARNING, WIDTH, header, shades, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["AnswerInfo", "AnswerPanel", "AnswerView", "CurveFit", "CurvePoint", "answer_chart", "answer_info"]

_TRAIN_HEIGHT = 130
_MARGIN = 0.12  # a text centered at less than this fraction of the width from an edge could leave the plot
_CHARACTER = 6.0  # pixels, of the font in the plot
_BESIDE = 0.5  # decades beside the range that is as good whose losses are shown
_HIGHEST = 10.0  # times the height of the loss within that range: what lies above is moved onto the edge
_DEEPEST = 0.5  # times the height shown above the best loss: how far below it a shorter run is shown
_CURVE = "estimated loss, 10–90% band"
_BAR = "M-1.2,-0.22L1.2,-0.22L1.2,0.22L-1.2,0.22Z"  # the curve in the legend: Vega's "stroke" cannot be filled


@dataclass(frozen=True)
class CurvePoint:
    """One run.

    Args:
        lr: Peak learning rate, positive.
        loss: Final value; NaN or infinite if there is none.
        steps: Length of the run.
        seed: Random seed.
        diverged: Whether the run diverged; it is drawn as a cross then, whatever its loss.
        train_loss: Final training loss, for the panel below; NaN leaves it out there.
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
        loss: The fitted loss, same shape.
        low: The lower edge of its 10–90% band, same shape.
        high: The upper edge, same shape.

    Raises:
        InputError: If the shapes differ.
    """

    lrs: NDArray[np.float64] | Sequence[float]
    loss: NDArray[np.float64] | Sequence[float]
    low: NDArray[np.float64] | Sequence[float]
    high: NDArray[np.float64] | Sequence[float]

    def __post_init__(self) -> None:
        checked_arrays(lrs=self.lrs, loss=self.loss, low=self.low, high=self.high)


@dataclass(frozen=True, eq=False)
class AnswerView:
    """What the chart of an answer shows.

    The longest runs stand out, shorter ones are faint. Training losses, if given, get a panel of their own.

    Args:
        points: The runs, at least one.
        horizon: Steps of a full run.
        title: What is shown.
        answer: The answer as a sentence; wrapped by the chart.
        conditions: What the answer is valid for, as a sentence.
        curve: The fitted curve for the longest runs; None without one.
        lr: The recommended rate; None without an answer.
        as_good: The range to shade; None for none.
        range_name: What that range is, in a few words.
        train_optimum: The rate with the lowest training loss, if it is to be marked.
        loss_label: Title of the vertical axis: "validation loss", or the metric.
        seeds: How runs of one rate on several seeds are shown: with their ``"means"``, these also ``"joined"`` from
            rate to rate, or each run ``"apart"``.

    Raises:
        InputError: If there is no point, or a rate is not positive.
    """

    points: tuple[CurvePoint, ...]
    horizon: int
    title: str = "Loss vs. learning rate"
    answer: str = ""
    conditions: str = ""
    curve: CurveFit | None = None
    lr: float | None = None
    as_good: tuple[float, float] | None = None
    range_name: str = "as good"
    train_optimum: float | None = None
    loss_label: str = "validation loss"
    seeds: Literal["apart", "means", "joined"] = "apart"

    def __post_init__(self) -> None:
        if not self.points:
            raise InputError("points", self.points, "must hold at least one run")
        for point in self.points:
            if not (math.isfinite(point.lr) and point.lr > 0):
                raise InputError("points", point, "must have positive, finite rates, since their axis is logarithmic")


@dataclass(frozen=True)
class Caption:
    """A text centered at the rate ``x`` or, near an edge, aligned so that it stays in the plot."""

    x: float
    align: Literal["left", "center", "right"]
    text: str


@dataclass(frozen=True)
class AnswerPanel:
    """Losses against the rate.

    Attributes:
        y: The axis of losses: it shows the surroundings of the best loss, what is far above lies on its edge.
        points: The longest runs.
        shorter: The others.
        seeds: The runs of each seed, connected; empty unless joined.
        means: The mean of each rate, if most of its seeds have a value; empty if no rate has several.
        joined: The means of each length, connected; interrupted at rates without one.
        broken: Says what the crosses are; None without any.
    """

    y: Axis
    points: tuple[Point, ...]
    shorter: tuple[Point, ...]
    seeds: tuple[Line, ...]
    means: tuple[Point, ...]
    joined: tuple[Line, ...]
    broken: Caption | None = None


@dataclass(frozen=True)
class AnswerInfo:
    """Everything on the chart, at its place.

    Attributes:
        x: The axis of learning rates.
        final: The losses that decide.
        train: The training losses, without those of diverged runs; None without any.
        curve: The fitted curve, in finite pieces.
        band: Its lower and upper edge, as ``(lr, low, high)``.
        flags: The recommended rate, and that of the lowest training loss.
        range_name: Says what the shaded range is; None without one.
        series: Names of the lengths, from the shortest to the longest.
        lines: Answer, conditions and notes below the title.
    """

    x: Axis
    final: AnswerPanel
    train: AnswerPanel | None
    curve: tuple[Line, ...]
    band: tuple[tuple[float, float, float], ...]
    flags: tuple[Flag, ...]
    range_name: Caption | None
    series: tuple[str, ...]
    lines: tuple[str, ...]


def answer_info(view: AnswerView) -> AnswerInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, runs (those beyond the axes moved onto the edge), curve, flags and sentences.

    Example:
        >>> runs = (CurvePoint(1e-3, 0.9, 125), CurvePoint(1e-2, 0.4, 2000), CurvePoint(1e-1, 9.0, 2000, diverged=True))
        >>> info = answer_info(AnswerView(runs, horizon=2000, lr=0.008))
        >>> info.series, [point.kind for point in info.final.points], info.flags[0].text
        (('125 steps', 'full runs (2,000 steps)'), ['inside', 'diverged'], 'lr 0.008')
    """
    names = {steps: _length_name(steps, view.horizon) for steps in sorted({point.steps for point in view.points})}
    marked = _marked(view)
    x = lr_axis([point.lr for point in view.points] + [lr for lr, _, _ in marked] + list(view.as_good or ()))
    final = _panel(view, view.points, names, view.loss_label)
    curve = view.curve
    return AnswerInfo(
        x=x,
        final=replace(final, broken=_crosses_caption((*final.points, *final.shorter), x)),
        train=_train_panel(view, names),
        curve=line_through(_CURVE, curve.lrs, curve.loss, final.y) if curve else (),
        band=_band(curve, final.y) if curve else (),
        flags=place_flags(marked, x, WIDTH),
        range_name=None if view.as_good is None else _range_caption(view.as_good, view.lr, view.range_name, x),
        series=tuple(names.values()),
        lines=wrapped(*_fitting(view.answer), view.conditions, " ".join(_notes(final.points))),
    )


def answer_chart(view: AnswerView) -> alt.LayerChart | alt.VConcatChart:
    """Return the chart of loss against learning rate: runs, curve with its band, the range and the rate.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = answer_info(view)
    title = header(view.title, info.lines)
    if info.train is None:
        return themed(_final_panel(view, info, info.x).properties(title=title))
    upper = _final_panel(view, info, replace(info.x, bare=True))
    lower = layered(
        *band(view.as_good, info.x, height=_TRAIN_HEIGHT),
        *flags(info.flags, info.x, height=_TRAIN_HEIGHT, texts=False),
        *_runs(info.train, info, info.x, apart=view.seeds == "apart"),
        height=_TRAIN_HEIGHT,
    )
    return themed(alt.vconcat(upper, lower, spacing=10).properties(title=title))


def _final_panel(view: AnswerView, info: AnswerInfo, x: Axis) -> alt.LayerChart:
    return layered(
        *band(view.as_good, x),
        *_text(info.range_name, x, 8, ANSWER, name="range_name"),
        *_band_area(info, x),
        *lines(info.curve, x, info.final.y, _colors(info), name="curve", width=2.4, smooth=True),
        *flags(info.flags, x),
        *_runs(info.final, info, x, apart=view.seeds == "apart"),
        *_text(info.final.broken, x, 16, WARNING, name="broken"),
    )


def _colors(info: AnswerInfo) -> alt.Color:
    """The longer the runs, the darker; the curve in ink."""
    import altair as alt

    names, legend = _legend(info)
    scale = alt.Scale(domain=names, range=[*shades(len(info.series)), INK][: len(names)])
    return alt.Color("series:N", legend=legend, scale=scale)


def _shapes(info: AnswerInfo) -> alt.Shape:
    import altair as alt

    names, legend = _legend(info)
    shapes = [SHAPES[(len(info.series) - 1 - place) % len(SHAPES)] for place in range(len(info.series))]
    return alt.Shape("series:N", legend=legend, scale=alt.Scale(domain=names, range=[*shapes, _BAR][: len(names)]))


def _legend(info: AnswerInfo) -> tuple[list[str], alt.Legend]:
    import altair as alt

    return [*info.series, *([_CURVE] if info.curve else [])], alt.Legend(title=None, columns=4, labelLimit=WIDTH)


def _runs(panel: AnswerPanel, info: AnswerInfo, x: Axis, *, apart: bool) -> list[alt.Chart]:
    color, shape = _colors(info), _shapes(info)
    faint = bool(panel.means) and not apart
    layers = [
        *lines(panel.seeds, x, panel.y, color, name="seeds", width=0.8, opacity=0.45),
        *lines(panel.joined, x, panel.y, color, name="joined", width=1.4, opacity=0.75),
        points(panel.shorter, x, panel.y, color, name="shorter", shape=shape, size=40, opacity=0.75),
        points(panel.points, x, panel.y, color, shape=shape, size=26 if faint else 90, opacity=0.4 if faint else 0.95),
    ]
    if panel.means:
        layers.append(points(panel.means, x, panel.y, color, name="means", shape=shape, size=70, opacity=0.95))
    return [*layers, *edges([*panel.shorter, *panel.points], x, panel.y, color)]


def _train_panel(view: AnswerView, names: dict[int, str]) -> AnswerPanel | None:
    if not any(math.isfinite(point.train_loss) for point in view.points):
        return None
    trained = [replace(point, loss=point.train_loss) for point in view.points if not point.diverged]
    return _panel(replace(view, curve=None), trained, names, "training loss")


def _panel(view: AnswerView, runs: Sequence[CurvePoint], names: dict[int, str], label: str) -> AnswerPanel:
    longest = max(names)
    y = _loss_axis(view, runs, longest, label)
    measured: dict[tuple[int, float], dict[int, float]] = {}
    for run in sorted(runs, key=lambda run: (run.steps, run.lr, run.seed)):
        measured.setdefault((run.steps, run.lr), {})[run.seed] = math.nan if run.diverged else run.loss
    several = view.seeds != "apart" and any(len(seeds) > 1 for seeds in measured.values())
    means = {place: _mean(list(seeds.values())) for place, seeds in measured.items()}
    joined = view.seeds == "joined"
    placed = [(run, place_point(run.lr, run.loss, names[run.steps], y, diverged=run.diverged)) for run in runs]
    return AnswerPanel(
        y=y,
        points=tuple(point for run, point in placed if run.steps == longest),
        shorter=tuple(point for run, point in placed if run.steps != longest),
        seeds=_seed_lines(measured, names, y) if joined and several else (),
        means=tuple(
            place_point(lr, mean, names[steps], y)
            for (steps, lr), mean in means.items()
            if several and math.isfinite(mean)
        ),
        joined=_joined(means, names, y) if joined else (),
    )


def _loss_axis(view: AnswerView, runs: Sequence[CurvePoint], longest: int, label: str) -> Axis:
    """Return the axis that shows the losses around the best one well."""
    values = [run.loss for run in runs if not run.diverged and math.isfinite(run.loss)]
    decisive = [run.loss for run in runs if run.steps == longest and not run.diverged and math.isfinite(run.loss)]
    if view.curve is None or view.as_good is None or not decisive:
        return value_axis(values, label, may_log=True)
    lrs, loss, high = (np.asarray(values, float) for values in (view.curve.lrs, view.curve.loss, view.curve.high))
    near = (lrs >= view.as_good[0] * 10**-_BESIDE) & (lrs <= view.as_good[1] * 10**_BESIDE)
    inside = (lrs >= view.as_good[0] * 0.99) & (lrs <= view.as_good[1] * 1.01)
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


def _marked(view: AnswerView) -> list[tuple[float, str, str]]:
    marked = []
    if view.lr is not None:
        marked.append((view.lr, f"lr {number_text(view.lr)}", "lr"))
    if view.train_optimum is not None:
        marked.append((view.train_optimum, f"lowest training loss {number_text(view.train_optimum)}", "optimum"))
    return marked


def _length_name(steps: int, horizon: int) -> str:
    return f"full runs ({steps:,} steps)" if steps == horizon else f"{steps:,} steps"


def _joined(means: dict[tuple[int, float], float], names: dict[int, str], y: Axis) -> tuple[Line, ...]:
    """Return the means of each length, connected from rate to rate; not across a rate that has none."""
    found: list[Line] = []
    for steps, name in names.items():
        rates = [lr for length, lr in means if length == steps]
        found += line_through(name, rates, [means[steps, lr] for lr in rates], y)
    return tuple(line for line in found if len(line.x) > 1)


def _seed_lines(
    measured: dict[tuple[int, float], dict[int, float]], names: dict[int, str], y: Axis
) -> tuple[Line, ...]:
    """Return, for each length with several seeds, the runs of each seed, connected from rate to rate."""
    found: list[Line] = []
    for steps, name in names.items():
        rates = [lr for length, lr in measured if length == steps]
        seeds = sorted({seed for lr in rates for seed in measured[steps, lr]})
        for seed in seeds if len(seeds) > 1 else ():
            own = [lr for lr in rates if seed in measured[steps, lr]]
            found += line_through(name, own, [measured[steps, lr][seed] for lr in own], y)
    return tuple(line for line in found if len(line.x) > 1)


def _band(curve: CurveFit, y: Axis) -> tuple[tuple[float, float, float], ...]:
    """Return the band, cut at the axis: a log axis has no place for an edge at or below zero."""
    return tuple(
        (float(x), min(max(float(low), y.low), y.high), min(max(float(high), y.low), y.high))
        for x, low, high in zip(curve.lrs, curve.low, curve.high, strict=True)
        if math.isfinite(low) and math.isfinite(high)
    )


def _band_area(info: AnswerInfo, x: Axis) -> list[alt.Chart]:
    import altair as alt

    if not info.band:
        return []
    data = rows({"x": lr, "y": low, "y2": high} for lr, low, high in info.band)
    mark = alt.Chart(data, name="band").mark_area(color=INK, opacity=0.13, clip=True, interpolate="monotone")
    return [mark.encode(x=x_encoding(x), y=y_encoding(info.final.y), y2="y2:Q")]


def _fitting(answer: str) -> list[str]:
    """Return the answer on one line, or the rate and the verdict on a line each where they do not fit."""
    return [answer] if len(wrapped(answer)) <= 1 else re.split(r"(?<=\.) (?=[A-Z])", answer, maxsplit=1)


def _notes(marks: Sequence[Point]) -> tuple[str, ...]:
    """Return what the triangles on the edges are; the crosses have a text of their own."""
    return edge_notes([point for point in marks if point.kind != NOT_FINITE])


def _range_caption(span: tuple[float, float], lr: float | None, text: str, x: Axis) -> Caption:
    """Return the name of the range in its wider part, clear of the rule at ``lr``; beside it where that is narrow."""
    low, high = span
    if lr is not None and low < lr < high:
        low, high = (low, lr) if lr / low > high / lr else (lr, high)
    needed = (_CHARACTER * len(text) + 10) / WIDTH
    if x.position(high) - x.position(low) >= needed:
        return Caption(math.sqrt(low * high), "center", text)
    gap = (x.high / x.low) ** (10 / WIDTH)
    if x.position(span[1]) + needed < 1:
        return Caption(span[1] * gap, "left", text)
    return Caption(span[0] / gap, "right", text)


def _crosses_caption(marks: Sequence[Point], x: Axis) -> Caption | None:
    """Return what the crosses are, between the first and the last one and inside the plot."""
    crosses = [point for point in marks if point.kind in (DIVERGED, NOT_FINITE)]
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


def _text(caption: Caption | None, x: Axis, y: float, color: str, *, name: str) -> list[alt.Chart]:
    import altair as alt

    if caption is None:
        return []
    base = alt.Chart(rows([asdict(caption)]), name=name)
    shift = {"left": -5, "center": 0, "right": 5}[caption.align]
    mark = base.mark_text(align=caption.align, dx=shift, baseline="top", color=color, fontSize=12)
    return [mark.encode(x=x_encoding(x), y=alt.value(y), text="text:N")]
