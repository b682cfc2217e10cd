"""The charts of schedules: one rate an update, with what moves along with it, and small pictures for a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis, step_axis, value_axis
from stepsize.views.layers import flags, layered, line_legend, lines
from stepsize.views.marks import Flag, Line, checked_arrays, line_through, place_flags, thinned
from stepsize.views.theme import COLORS, HEIGHT, MUTED, SERIES, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

    Drawn = TypeVar("Drawn", alt.LayerChart, alt.VConcatChart)

__all__ = [
    "ScheduleCurve", "ScheduleInfo", "SchedulePanel", "ScheduleView",
    "schedule_chart", "schedule_info", "schedule_thumbnail",
]  # fmt: skip

_MOST_UPDATES = 1500  # of a curve; each gives the two ends of a riser, hence 3000 points
_MOST_EVEN = 1000  # of them, the lowest and the highest of even stretches; the others are jumps
_MOST_DECADES = 6  # of a log axis: the last update of a decay to zero would otherwise take half of it
_MOST_SMALL_DECADES = 4  # of that of a small panel
_NARROW = 2.0  # pixels: treads below this width are drawn as the slope that they look like
_MOST_CURVES = len(COLORS)
# Of lines: the first is the widest, so that it shows beside a later one that coincides with it.
_WIDEST, _THINNEST, _WIDENING = 3.0, 1.8, 0.6
_KEY_ROLE = "optimum"  # the muted, dashed look of a flag
_LARGE_HEIGHT, _SMALL_HEIGHT = 240, 84  # of the panels where there are several
_SMALL_LABELS = 3
_SMALL = {  # field of a curve: title, levels that its axis must show
    "momentum": ("momentum", ()),
    "weight_decay": ("weight decay", (0.0,)),
    "effective": ("lr/(1−m)", (0.0,)),
    "timescale": ("1/(lr·wd)", ()),
}
_MAY_BE_INFINITE = ("effective", "timescale")
_THUMB_WIDTH, _THUMB_HEIGHT = 220, 90


@dataclass(frozen=True, eq=False)
class ScheduleCurve:
    """One schedule, update by update.

    Args:
        name: What the legend calls it.
        lr: The learning rate (or the factor) of each update, finite, shape ``(n,)``.
        momentum: The momentum of each update, finite, of the same shape; None where there is none.
        weight_decay: The weight decay of each update, finite, of the same shape; None where there is none.
        effective: lr / (1 - momentum), of the same shape, infinite at momentum 1; None leaves it out.
        timescale: 1 / (lr * weight decay) in steps, of the same shape, infinite where either is 0; None leaves it out.

    Raises:
        InputError: If the name is empty, or a value is NaN, or infinite where it must not be.
    """

    name: str
    lr: NDArray[np.float64] | Sequence[float]
    momentum: NDArray[np.float64] | Sequence[float] | None = None
    weight_decay: NDArray[np.float64] | Sequence[float] | None = None
    effective: NDArray[np.float64] | Sequence[float] | None = None
    timescale: NDArray[np.float64] | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("name", self.name, "must not be empty", "Name the schedule as the legend shall call it")
        for field in ("lr", *_SMALL):
            values = self.values(field)
            if values is not None:
                _check_numbers(f"{field} of '{self.name}'", values, infinite=field in _MAY_BE_INFINITE)

    def values(self, field: str) -> NDArray[np.float64] | None:
        """Return ``field`` as an array; None where this curve has none."""
        given: ArrayLike | None = getattr(self, field)
        return None if given is None else np.asarray(given, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class ScheduleView:
    """What the chart of one or several schedules shows.

    The rate of an update holds until the next one, and so it is drawn: give every update, for the chart
    thins what the eye cannot see. A coarse sample of a smooth schedule shows as the staircase that it is.

    Args:
        steps: The updates, strictly increasing, shape ``(n,)``.
        curves: One a schedule, 1 to 8, with different names.
        marks: Key points ``(step, text)``, drawn as flags; sensible with a single curve.
        title: What is shown.
        subtitle: More about it, as sentences; wrapped by the chart.
        lr_label: The title of the large panel's vertical axis: "learning rate", or "factor".
        log_lr: Whether that axis is logarithmic.

    Raises:
        InputError: If shapes differ, steps do not increase, a mark lies outside them, there are too few or too
            many curves, two share a name, or a log axis has nothing positive to show.
    """

    steps: NDArray[np.float64] | NDArray[np.integer[Any]] | Sequence[float]
    curves: tuple[ScheduleCurve, ...]
    marks: tuple[tuple[float, str], ...] = ()
    title: str = "Schedule"
    subtitle: str = ""
    lr_label: str = "learning rate"
    log_lr: bool = False

    def __post_init__(self) -> None:
        steps = _checked_steps(self.steps)
        names = [curve.name for curve in self.curves]
        if not 1 <= len(names) <= _MOST_CURVES:
            rule = f"must hold 1 to {_MOST_CURVES} schedules, since more colours cannot be told apart"
            raise InputError("curves", len(names), rule, "Draw them on several charts")
        if len(set(names)) < len(names):
            raise InputError("curves", names, "must have different names", "Rename one: the legend tells them by name")
        for curve in self.curves:
            for field in ("lr", *_SMALL):
                values = curve.values(field)
                if values is not None:
                    _check_length(f"{field} of '{curve.name}'", values, steps)
        for step, text in self.marks:
            if not steps[0] <= step <= _end(steps):
                rule = f"must lie between the first and the last step, {steps[0]:g} to {_end(steps):g}"
                raise InputError("marks", (step, text), rule, "Leave it out, or draw more steps")
        if self.log_lr and not any(np.max(curve.lr) > 0 for curve in self.curves):
            raise InputError("log_lr", True, "must be False where no learning rate is positive", "Use a linear axis")


@dataclass(frozen=True)
class SchedulePanel:
    """One panel of the chart.

    Attributes:
        field: What it shows: ``"lr"``, ``"momentum"``, ``"weight_decay"``, ``"effective"`` or ``"timescale"``.
        y: Its vertical axis.
        lines: The curves that have it, each in finite pieces; a change from one update to the next is vertical.
        height: In pixels.
    """

    field: str
    y: Axis
    lines: tuple[Line, ...]
    height: int


@dataclass(frozen=True)
class ScheduleInfo:
    """Everything that stands on the chart, at its place.

    Attributes:
        x: The axis of steps, shared by all panels.
        panels: From top to bottom; the first is the learning rate.
        flags: The key points.
        series: The names of the schedules.
        lines: Subtitle and notes below the title.
    """

    x: Axis
    panels: tuple[SchedulePanel, ...]
    flags: tuple[Flag, ...]
    series: tuple[str, ...]
    lines: tuple[str, ...]


def schedule_info(view: ScheduleView) -> ScheduleInfo:
    """Return what the chart of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, the panels that any curve has something for, flags and sentences.

    Example:
        >>> info = schedule_info(ScheduleView([0, 1, 2], (ScheduleCurve("step", [0.1, 0.1, 0.01]),)))
        >>> info.panels[0].lines[0].x, info.panels[0].lines[0].y
        ((0.0, 2.0, 2.0, 3.0), (0.1, 0.1, 0.01, 0.01))
    """
    steps = np.asarray(view.steps, dtype=np.float64)
    first, end = float(steps[0]), _end(steps)
    x = step_axis(math.ceil(end - first))
    x = replace(x, low=x.low + first, high=x.high + first)
    axes = {"lr": _lr_axis(view)} | {field: axis for field in _SMALL if (axis := _small_axis(view, field)) is not None}
    height = HEIGHT if len(axes) == 1 else _LARGE_HEIGHT
    panels = tuple(
        SchedulePanel(field, axis, _curve_lines(view, steps, field, axis), height if field == "lr" else _SMALL_HEIGHT)
        for field, axis in axes.items()
    )
    return ScheduleInfo(
        x=x,
        panels=panels,
        flags=place_flags([(step, text, _KEY_ROLE) for step, text in view.marks], x, WIDTH),
        series=tuple(curve.name for curve in view.curves),
        lines=wrapped(view.subtitle, " ".join(_notes(view, axes))),
    )


def schedule_chart(view: ScheduleView) -> alt.LayerChart | alt.VConcatChart:
    """Return the chart of schedules: the learning rate, and below it what moves along with it.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = schedule_info(view)
    title = header(view.title, info.lines)
    if len(info.panels) == 1:
        return _rounded(_drawn_panel(info, info.panels[0], info.x).properties(title=title))
    bare = replace(info.x, bare=True)
    stacked = [_drawn_panel(info, panel, bare) for panel in info.panels[:-1]]
    stacked.append(_drawn_panel(info, info.panels[-1], info.x))
    return _rounded(alt.vconcat(*stacked, spacing=10).properties(title=title))


def schedule_thumbnail(
    steps: NDArray[np.float64] | NDArray[np.integer[Any]] | Sequence[float],
    factors: NDArray[np.float64] | Sequence[float],
    title: str = "",
) -> alt.LayerChart:
    """Return a small, quiet picture of a schedule, for a page with many of them.

    Its vertical axis bears 0 and 1, or 0 and the peak where that is below 1/2 or above 2.

    Args:
        steps: The updates, strictly increasing, shape ``(n,)``.
        factors: The factor of each, finite, of the same shape.
        title: Stands above it, if given.

    Returns:
        An altair chart of 220 by 90 pixels, without axes and title; write it with ``save_chart``.

    Raises:
        InputError: If shapes differ, steps do not increase, or a factor is not finite.
    """
    import altair as alt

    at, values = _checked_steps(steps), np.asarray(factors, dtype=np.float64)
    _check_length("factors", values, at)
    _check_numbers("factors", values, infinite=False)
    end = _end(at)
    peak = float(values.max())
    top = 1.0 if 0.5 <= peak <= 2 or peak <= 0 else peak
    low, high = min(0.0, float(values.min())), max(top, peak)
    pad = 0.04 * (high - low)
    y = Axis(low - pad, high + pad, False, "factor")
    x = Axis(float(at[0]), end, False, "step")
    curve = lines(line_through("factor", *_corners(at, values, y), y), x, y, alt.value(SERIES[0]), name="factor")[0]
    picture = layered(
        curve.encode(
            x=_bare_encoding(alt.X, x, (x.low, min(end, float(at[-1]), key=_digits)), flush=True),
            y=_bare_encoding(alt.Y, y, (0.0, top), flush=False),
        ),
        height=_THUMB_HEIGHT,
    ).properties(width=_THUMB_WIDTH)
    if title:
        picture = picture.properties(title=alt.TitleParams(text=title, fontSize=12, offset=6))
    quiet: alt.LayerChart = _rounded(picture).configure_view(stroke=None)
    return quiet


def _checked_steps(steps: ArrayLike) -> NDArray[np.float64]:
    checked_arrays(steps=steps)
    array = np.asarray(steps, dtype=np.float64)
    if not array.size:
        raise InputError("steps", steps, "must hold at least one step", "Give the updates that the schedule is for")
    if not np.isfinite(array).all() or not (np.diff(array) > 0).all():
        raise InputError("steps", steps, "must be finite and strictly increasing", "Sort them and drop repeated ones")
    return array


def _check_length(name: str, values: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
    try:
        checked_arrays(**{"steps": steps, name: values})
    except InputError as error:
        remedy = "Evaluate the schedule at each of the steps"
        raise InputError(error.argument, error.received, error.rule, remedy) from None


def _check_numbers(name: str, values: NDArray[np.float64], *, infinite: bool) -> None:
    bad = np.isnan(values) if infinite else ~np.isfinite(values)
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        rule = "must not hold NaN" if infinite else "must be finite"
        remedy = f"See entry {place}, the first of {int(bad.sum())} that are not"
        raise InputError(name, float(values.ravel()[place]), rule, remedy)


def _end(steps: NDArray[np.float64]) -> float:
    """Where the last update ends: it is as long as the one before it."""
    return float(steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0))


def _all_values(view: ScheduleView, field: str) -> NDArray[np.float64]:
    found = [values for curve in view.curves if (values := curve.values(field)) is not None]
    return np.concatenate(found) if found else np.zeros(0)


def _finite(view: ScheduleView, field: str) -> NDArray[np.float64]:
    values = _all_values(view, field)
    return values[np.isfinite(values)]


def _lr_axis(view: ScheduleView) -> Axis:
    rates = _all_values(view, "lr")
    if view.log_lr:
        positive = rates[rates > 0]
        return lr_axis(positive[positive >= positive.max() / 10**_MOST_DECADES], view.lr_label)
    return value_axis(rates, view.lr_label, keep=(0.0, float(rates.min()), float(rates.max())))


def _small_axis(view: ScheduleView, field: str) -> Axis | None:
    """The axis of a small panel; None where no curve has anything finite for it."""
    title, keep = _SMALL[field]
    finite = _finite(view, field)
    if field != "timescale":
        shown = (*keep, float(finite.min()), float(finite.max())) if finite.size else ()
        return replace(value_axis(finite, title, keep=shown), count=_SMALL_LABELS) if finite.size else None
    positive = finite[finite > 0]
    if not positive.size:
        return None
    axis = lr_axis(positive[positive <= positive.min() * 10**_MOST_SMALL_DECADES], title)
    return replace(axis, count=_SMALL_LABELS)


def _curve_lines(view: ScheduleView, steps: NDArray[np.float64], field: str, axis: Axis) -> tuple[Line, ...]:
    return tuple(
        line
        for curve in view.curves
        if (values := curve.values(field)) is not None
        for line in line_through(curve.name, *_corners(steps, values, axis), axis)
    )


def _corners(
    steps: NDArray[np.float64], values: NDArray[np.float64], axis: Axis
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the line of values that hold until the next step: treads, joined by vertical risers.

    Where steps are too narrow for treads, a value leads to the next in a slope, but for jumps. A stretch of
    thinned steps ends at the value of the last of them, so that what follows is drawn as it is.
    What the axis has no place for is NaN.
    """
    drawn = np.where(np.isfinite(values) & ((values > 0) | (not axis.log)), values, np.nan)
    levels = _filled(np.log10(drawn) if axis.log else drawn)
    changes, beside = _changes(levels)
    after = _kept(levels, changes, beside)[1:]
    end = _end(steps)
    wide = np.diff(steps)[after - 1] * WIDTH >= _NARROW * (end - steps[0])
    rising = wide | (changes > 2 * beside)[after - 1]
    x = np.stack([np.where(rising, steps[after], steps[after - 1]), steps[after]], axis=1).ravel()
    y = np.stack([drawn[after - 1], drawn[after]], axis=1).ravel()
    x, y = np.concatenate([steps[:1], x, [end]]), np.concatenate([drawn[:1], y, drawn[-1:]])
    new = np.append(True, (np.diff(x) != 0) | (np.diff(y) != 0))
    return x[new], y[new]


def _changes(levels: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much ``levels`` change from each step to the next, and the larger change beside it in its direction.

    A slope has changes of its own direction beside it; a jump has not, nor have the two sides of a spike.
    """
    changes = np.diff(levels)
    beside = [np.append(0.0, changes)[:-1], np.append(changes, 0.0)[1:]]
    alike = [np.where(np.sign(other) == np.sign(changes), np.abs(other), 0.0) for other in beside]
    return np.abs(changes), np.maximum(*alike)


def _filled(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``levels`` with gaps filled so that they change into and out of them by more than anywhere else."""
    finite = levels[np.isfinite(levels)]
    beyond = float(finite.max() + 2 * np.ptp(finite) + 1) if finite.size else 0.0
    return np.where(np.isfinite(levels), levels, beyond)


def _kept(levels: NDArray[np.float64], changes: NDArray[np.float64], beside: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the steps to draw, as indices: all that change something or, where they are very many, the telling ones.

    Among very many, the lowest and the highest of each stretch remain, the first, the last, and the jumps:
    changes that stand out most from those beside them.
    """
    ends = np.array([0, len(levels) - 1])
    changed = np.union1d(np.flatnonzero(changes) + 1, ends)
    if len(changed) <= _MOST_UPDATES:
        return changed
    jumps = np.argsort(beside - changes, kind="stable")[: _MOST_UPDATES - _MOST_EVEN - len(ends)] + 1
    return np.unique(np.concatenate([ends, jumps, thinned(levels, _MOST_EVEN)]))


def _notes(view: ScheduleView, axes: dict[str, Axis]) -> list[str]:
    notes = []
    rates = _all_values(view, "lr")
    if view.log_lr and not (rates > 0).all():
        notes.append(f"Not positive, hence left out: {int((rates <= 0).sum())} of {len(rates)} values.")
    if view.log_lr and ((rates > 0) & (rates < axes["lr"].low)).any():
        notes.append(f"The axis ends {_MOST_DECADES} decades below the peak.")
    if "effective" in axes:
        notes.append("m: momentum.")
    if "timescale" in axes:
        notes.append("1/(lr·wd): the time scale of weight decay, in steps.")
        if (_finite(view, "timescale") > axes["timescale"].high).any():
            notes.append(f"Its axis ends {_MOST_SMALL_DECADES} decades above the lowest.")
    for field in _MAY_BE_INFINITE:
        values, title = _all_values(view, field), _SMALL[field][0]
        infinite = int(np.isinf(values).sum())
        if infinite and field in axes:
            notes.append(f"Infinite, hence left out: {infinite} of {len(values)} values of {title}.")
        elif infinite:
            notes.append(f"{title} is infinite throughout.")
    return notes


def _rounded(chart: Drawn) -> Drawn:
    """Return ``chart`` in the common look, with lines whose sharp corners do not stick out beyond the peak."""
    styled: Drawn = themed(chart).configure_line(strokeJoin="round")
    return styled


def _drawn_panel(info: ScheduleInfo, panel: SchedulePanel, x: Axis) -> alt.LayerChart:
    import altair as alt

    count = len(info.series)
    scale = alt.Scale(domain=list(info.series), range=list(COLORS[:count]))
    colour = alt.Color("series:N", scale=scale, legend=line_legend(info.series) if count > 1 else None)
    widening = min(_WIDENING, (_WIDEST - _THINNEST) / max(1, count - 1))
    drawn = [
        layer
        for place, name in enumerate(info.series)
        for layer in lines(
            [line for line in panel.lines if line.series == name],
            x,
            panel.y,
            colour,
            name=f"line{place}_{panel.field}",  # altair counts on from a number at the end
            width=_THINNEST + (count - 1 - place) * widening,
        )
    ]
    rules = flags(info.flags, x, height=panel.height, texts=panel is info.panels[0])
    return layered(*rules, *drawn, height=panel.height)


def _bare_encoding(channel: Any, axis: Axis, ticks: tuple[float, float], *, flush: bool) -> Any:
    """The encoding of a thumbnail: two ticks with their numbers, no grid and no title."""
    import altair as alt

    texts = [f"{tick:,.0f}" if tick == round(tick) and abs(tick) >= 1 else number_text(tick, 2) for tick in ticks]
    look = alt.Axis(
        values=list(ticks),
        labelExpr=f"{texts}[indexof({list(ticks)}, datum.value)]",
        labelFlush=flush,
        labelFontSize=10,
        labelColor=MUTED,
        grid=False,
        tickSize=3,
    )
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False, zero=False)
    return channel("x" if channel is alt.X else "y", type="quantitative", title=None, scale=scale, axis=look)


def _digits(number: float) -> int:
    """How many digits a reader sees before the zeros: of 999 and 1000, the second is the nicer end."""
    return len(f"{number:.12g}".rstrip("0"))
