"""The chart of schedules: one rate per update, and what moves along with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stepsize.curves.numerals import wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, lr_axis, step_axis, value_axis
from stepsize.views.marks import Lines, line_through, place_flags, thinned
from stepsize.views.plot import ChartInfo, Looks, Plot
from stepsize.views.theme import COLORS, HEIGHT, WIDTH

Floats = NDArray[np.float64]
Curve: TypeAlias = "Mapping[str, ArrayLike]"
"""The values of a schedule, update by update, by field."""

_MOST_POINTS = 2000  # of a curve
_MOST_DECADES = 6  # of a log axis: the last update of a decay to zero would otherwise take half of it
_MOST_SMALL_DECADES = 4  # of that of a small panel
# Of lines: the first is the widest, so that it shows beside a later one that coincides with it.
_WIDEST, _THINNEST, _WIDENING = 3.0, 1.8, 0.6
_KEY_ROLE = "optimum"  # the muted, dashed look of a flag
_LARGE_HEIGHT, _SMALL_HEIGHT = 240, 84  # of the panels if there are several
_SMALL_LABELS = 3
_SMALL: dict[str, tuple[str, tuple[float, ...]]] = {  # field of a curve: title, levels that its axis must show
    "momentum": ("momentum", ()),
    "weight_decay": ("weight decay", (0.0,)),
    "effective_lr": ("lr/(1−m)", (0.0,)),
    "timescale": ("1/(lr·wd)", ()),
}
_MAY_BE_INFINITE = ("effective_lr", "timescale")


def schedule_info(
    steps: ArrayLike,
    curves: Mapping[str, Curve],
    *,
    marks: Sequence[tuple[float, str]] = (),
    title: str = "Schedule",
    subtitle: str = "",
    lr_label: str = "learning rate",
    log_lr: bool = False,
) -> ChartInfo:
    """Return what the chart of 1 to 8 schedules shows, and where; the rate of an update holds until the next one.

    ``curves`` are the schedules by name, each with the values that it has at ``steps`` by field: ``lr`` (rate or
    factor), ``momentum``, ``weight_decay``, ``effective_lr`` and ``timescale``, of which the last two may be infinite.

    Example:
        >>> [plot] = schedule_info([0, 1, 2], {"step": {"lr": [0.1, 0.1, 0.01]}}).plots
        >>> plot["line0_lr"][0].x, plot["line0_lr"][0].y
        ((0.0, 2.0, 3.0), (0.1, 0.01, 0.01))
    """
    at = np.asarray(steps, dtype=np.float64)
    fields = {field: _all(curves, field) for field in ("lr", *_SMALL)}
    if log_lr and not (fields["lr"] > 0).any():
        raise InputError("log_lr", True, "must be False if no learning rate is positive", "Use a linear axis")
    first, end = float(at[0]), _end(at)
    x = step_axis(math.ceil(end - first))
    x = replace(x, low=x.low + first, high=x.high + first)
    axes = {"lr": _lr_axis(fields["lr"], lr_label, log_lr)}
    axes |= {field: axis for field in _SMALL if (axis := _small_axis(fields[field], field)) is not None}
    count = len(curves)
    lr_plot = Plot(
        x=x,
        y=axes["lr"],
        marks=_lines(at, curves, "lr", axes["lr"]),
        looks=Looks(tuple(curves), COLORS[:count], legend=count > 1),
        flags=place_flags([(step, text, _KEY_ROLE) for step, text in marks], x, WIDTH),
        height=HEIGHT if len(axes) == 1 else _LARGE_HEIGHT,
    )
    small = [
        replace(lr_plot, y=axis, marks=_lines(at, curves, field, axis), height=_SMALL_HEIGHT)
        for field, axis in axes.items()
        if field != "lr"
    ]
    return ChartInfo(title, wrapped(subtitle, " ".join(_notes(fields, axes, log_lr))), (lr_plot, *small))


def _lines(steps: Floats, curves: Mapping[str, Curve], field: str, axis: Axis) -> tuple[Lines, ...]:
    """Return the curves that have a field, the first the widest."""
    widening = min(_WIDENING, (_WIDEST - _THINNEST) / max(1, len(curves) - 1))
    found = []
    for place, (name, curve) in enumerate(curves.items()):
        pieces = line_through(name, *_treads(steps, _floats(curve, field), axis), axis) if field in curve else ()
        width = _THINNEST + (len(curves) - 1 - place) * widening
        # altair counts on from a number at the end of a name
        found.append(Lines(f"line{place}_{field}", pieces, width=width, interpolate="step-after"))
    return tuple(found)


def _all(curves: Mapping[str, Curve], field: str) -> Floats:
    return np.concatenate([np.zeros(0), *(_floats(curve, field) for curve in curves.values() if field in curve)])


def _floats(curve: Curve, field: str) -> Floats:
    return np.asarray(curve[field], dtype=np.float64)


def _treads(steps: Floats, values: Floats, axis: Axis) -> tuple[Floats, Floats]:
    """Return where the line changes, and its end: of very many changes those that keep the look of them all.

    What the axis has no place for is NaN; the value before it holds until there.
    """
    drawn = np.where(np.isfinite(values) & ((values > 0) | (not axis.log)), values, np.nan)
    ends = np.array([0, len(drawn) - 1])
    kept = np.union1d(np.flatnonzero(np.diff(drawn)) + 1, ends)
    if len(kept) > _MOST_POINTS:
        levels = np.log10(drawn[kept]) if axis.log else drawn[kept]
        kept = np.union1d(kept[thinned(levels, _MOST_POINTS)], ends)
    x, y = np.append(steps[kept], _end(steps)), np.append(drawn[kept], drawn[-1])
    gaps = np.flatnonzero(np.isnan(y[1:]) & ~np.isnan(y[:-1])) + 1
    return np.insert(x, gaps, x[gaps]), np.insert(y, gaps, y[gaps - 1])


def _end(steps: Floats) -> float:
    """Where the last update ends: it is as long as the one before it."""
    return float(steps[-1] + (steps[-1] - steps[-2] if len(steps) > 1 else 1.0))


def _lr_axis(rates: Floats, label: str, log: bool) -> Axis:
    if log:
        positive = rates[rates > 0]
        return lr_axis(positive[positive >= positive.max() / 10**_MOST_DECADES], label)
    return value_axis(rates, label, keep=(0.0, float(rates.min()), float(rates.max())))


def _small_axis(values: Floats, field: str) -> Axis | None:
    """Return the axis of a small panel; None if no curve has anything finite for it."""
    title, keep = _SMALL[field]
    finite = values[np.isfinite(values)]
    if field == "timescale":
        finite = finite[finite > 0]
    if not finite.size:
        return None
    if field == "timescale":
        axis = lr_axis(finite[finite <= finite.min() * 10**_MOST_SMALL_DECADES], title)
    else:
        axis = value_axis(finite, title, keep=(*keep, float(finite.min()), float(finite.max())))
    return replace(axis, count=_SMALL_LABELS)


def _notes(fields: dict[str, Floats], axes: dict[str, Axis], log_lr: bool) -> list[str]:
    notes, rates = [], fields["lr"]
    if log_lr and not (rates > 0).all():
        notes.append(f"Left out because not positive: {int((rates <= 0).sum())} of {len(rates)} values.")
    if log_lr and ((rates > 0) & (rates < axes["lr"].low)).any():
        notes.append(f"The axis ends {_MOST_DECADES} decades below the peak.")
    if "effective_lr" in axes:
        notes.append("m: momentum.")
    if "timescale" in axes:
        notes.append("1/(lr·wd): the time scale of weight decay, in steps.")
        scales = fields["timescale"]
        if (scales[np.isfinite(scales)] > axes["timescale"].high).any():
            notes.append(f"Its axis ends {_MOST_SMALL_DECADES} decades above the lowest.")
    for field in _MAY_BE_INFINITE:
        values, title = fields[field], _SMALL[field][0]
        infinite = int(np.isinf(values).sum())
        if infinite and field in axes:
            notes.append(f"Left out because infinite: {infinite} of {len(values)} values of {title}.")
        elif infinite:
            notes.append(f"{title} is infinite throughout.")
    return notes
