"""The heat map of a sweep: what was reached at each place of two dimensions, drawn as it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, clip_levels, lr_axis, value_axis
from stepsize.views.layers import crosses, gradient, layered, lines, place, rows, stacked, x_encoding, y_encoding
from stepsize.views.marks import DIVERGED, NOT_FINITE, ChartPoint, Line, checked_some
from stepsize.views.theme import INK
from stepsize.views.vega import Chart, alt

Scale: TypeAlias = Literal["log", "linear", "complement", "even"]
Spot: TypeAlias = "float | int | str"

_FILLED = 2 / 3  # of all crossings of a grid; below, runs are points, since most of the plane was not measured
_LOG_RATIO = 3.0  # from here on, colors go by ratios
_DARK = 0.62  # fraction of the colors that white numbers are readable on
_MOST_NUMBERED = (12, 14)  # columns and rows that have room for a number in each cell
_EVEN = "Use the scale 'even', which has a place for each value"
_LOST = "#ECEEF1"
_CORNER = (0.88, 0.76)  # of a cell: where the cross for some of its runs is


@dataclass(frozen=True)
class MapRun:
    """One run: its values of both dimensions, and what it reached."""

    x: float
    y: Spot
    loss: float
    diverged: bool = False

    @property
    def broken(self) -> bool:
        """Whether it reached nothing."""
        return self.diverged or not math.isfinite(self.loss)


@dataclass(frozen=True)
class MapDimension:
    """One dimension: ``complement`` is the log of 1 - value, ``even`` has one place per value, for words and zeros."""

    name: str
    scale: Scale = "log"

    @property
    def log(self) -> bool:
        """Whether equal distances on its axis are equal ratios."""
        return self.scale in ("log", "complement")

    def place(self, value: Spot, ordered: Sequence[Spot]) -> float:
        """Return where ``value`` is, in units of the axis.

        Raises:
            InputError: If it has no place on this scale.
        """
        if self.scale == "even":
            return float(ordered.index(value))
        if isinstance(value, str) or not math.isfinite(value):
            raise InputError(self.name, value, f"must be a finite number on a {self.scale} scale", _EVEN)
        if self.scale == "log" and value <= 0:
            raise InputError(self.name, value, "must be positive on a log scale", _EVEN)
        if self.scale == "complement" and value >= 1:
            raise InputError(self.name, value, "must be less than 1 on a complement scale", _EVEN)
        return _rounded(1 - float(value)) if self.scale == "complement" else float(value)


@dataclass(frozen=True)
class _Ruler:
    """The axis of a dimension, and where its values are and their cells begin and end, in units of the axis."""

    axis: Axis
    places: dict[Spot, float]
    cells: dict[Spot, tuple[float, float]]
    texts: dict[Spot, str]


@dataclass(frozen=True)
class MapPlace:
    """All that was measured at one place, and where its cell begins and ends."""

    x: float
    y: float
    x1: float
    x2: float
    y1: float
    y2: float
    loss: float  # mean over the runs that reached something; NaN if none did
    runs: int
    diverged: int
    broken: int  # how many reached nothing, the diverged among them
    name: str

    @property
    def text(self) -> str:
        """What was reached, in words."""
        reached = "" if self.broken == self.runs else number_text(self.loss, 4)
        lost = f"{self.broken} of {self.runs} {DIVERGED if self.diverged == self.broken else NOT_FINITE}"
        return ", ".join(part for part in (reached, lost if self.broken else "") if part)


@dataclass(frozen=True)
class HeatMapInfo:
    """Everything on the map, at its place."""

    title: str
    lines: tuple[str, ...]
    x: Axis
    y: Axis
    gridded: bool  # whether places are cells, else points
    places: tuple[MapPlace, ...]
    key: Axis | None  # of colors; None if nothing was reached anywhere
    best: MapPlace | None  # the lowest mean of the places where every run reached something
    crosses: tuple[ChartPoint, ...]
    guide: tuple[Line, ...]
    numbered: bool


def heat_map_info(
    runs: Sequence[MapRun],
    dimension: MapDimension,
    *,
    effective_lr: float | None = None,
    title: str = "Loss over two dimensions",
    answer: str = "",
    loss_label: str = "validation loss",
) -> HeatMapInfo:
    """Return what the heat map of ``runs`` over the learning rate and a second ``dimension`` shows, and where.

    Runs at the crossings of a grid are cells that reach halfway to their neighbors, other runs are points. Nothing is
    drawn where nothing was measured. ``effective_lr`` draws the line of rates r and momenta m with this r / (1 - m).

    Example:
        >>> runs = [MapRun(lr, m, 0.1 + m * lr) for lr in (0.01, 0.1) for m in (0.0, 0.9)]
        >>> info = heat_map_info(runs, MapDimension("momentum", "complement"))
        >>> info.gridded, info.best.name, info.y.texts
        (True, 'learning rate 0.01, momentum 0', ((1.0, '0'), (0.1, '0.9')))
    """
    checked_some(runs=runs)
    columns, rows_ = len({run.x for run in runs}), len({run.y for run in runs})
    crossings = len({(run.x, run.y) for run in runs})
    gridded = min(columns, rows_) > 1 and crossings >= _FILLED * columns * rows_
    x = _ruler(MapDimension("learning rate"), [run.x for run in runs], gridded=gridded)
    y = _ruler(dimension, [run.y for run in runs], gridded=gridded)
    places = _places(runs, x, y)
    reached = [one for one in places if one.broken < one.runs]
    best = min((one for one in reached if not one.broken), key=lambda one: one.loss, default=None)
    key = _key([one.loss for one in reached], loss_label) if reached else None
    guide = () if effective_lr is None else (_guide(effective_lr, y),)
    notes = _notes(places, best, key, "cells" if gridded else "points")
    return HeatMapInfo(
        title=title,
        lines=wrapped(answer, " ".join([*notes, *(f"Dashed: {line.series}." for line in guide)])),
        x=x.axis,
        y=y.axis,
        gridded=gridded,
        places=places,
        key=key,
        best=best,
        crosses=tuple(_cross(one, x.axis, y.axis, gridded=gridded) for one in places if one.broken),
        guide=guide,
        numbered=gridded and not guide and columns <= _MOST_NUMBERED[0] and rows_ <= _MOST_NUMBERED[1],
    )


def heat_map_chart(info: HeatMapInfo) -> Chart:
    """Return the heat map: cells or points colored by loss, crosses, the best one outlined."""
    lost = [one for one in info.places if one.broken == one.runs]
    layers = [_marks(lost, info, alt.value(_LOST), "lost")] if info.gridded and lost else []
    if info.key is not None:
        shown = [one for one in info.places if one.broken < one.runs]
        layers.append(_marks(shown, info, gradient("loss", info.key), "places"))
        layers += _numbers(shown, info, info.key)
    layers = [*layers, *_drawn_guide(info)] if info.gridded else [*_drawn_guide(info), *layers]
    return stacked(info.title, info.lines, layered(*layers, *_outline(info), *crosses(info.crosses, info.x, info.y)))


def _ruler(dimension: MapDimension, values: Sequence[Spot], *, gridded: bool) -> _Ruler:
    distinct = list(dict.fromkeys(values))
    numbers = sorted(value for value in distinct if not isinstance(value, str))
    ordered: list[Spot] = [*numbers, *(value for value in distinct if isinstance(value, str))]
    places = [dimension.place(value, ordered) for value in ordered]
    levels = np.log10(places) if dimension.log else np.asarray(places)
    ends = (levels[1] - levels[0], levels[-1] - levels[-2]) if len(levels) > 1 else (1.0, 1.0)
    between = [levels[0] - ends[0] / 2, *(levels[1:] + levels[:-1]) / 2, levels[-1] + ends[1] / 2]
    bounds = [float(10**bound if dimension.log else bound) for bound in between]
    texts = {value: _text(value, dimension) for value in ordered}
    if gridded or dimension.scale == "even":
        axis = Axis(min(bounds[0], bounds[-1]), max(bounds[0], bounds[-1]), dimension.log, dimension.name)
        axis = replace(axis, texts=tuple(zip(places, texts.values(), strict=True)))
    elif dimension.log:
        axis = lr_axis(places, dimension.name)
    else:
        axis = value_axis(places, dimension.name, keep=places)
    return _Ruler(
        axis=replace(axis, complement=dimension.scale == "complement"),
        places=dict(zip(ordered, places, strict=True)),
        cells=dict(zip(ordered, pairwise(bounds), strict=True)),
        texts={value: f"{dimension.name} {text}" for value, text in texts.items()},
    )


def _places(runs: Sequence[MapRun], x: _Ruler, y: _Ruler) -> tuple[MapPlace, ...]:
    found: dict[tuple[Spot, Spot], list[MapRun]] = {}
    for run in runs:
        found.setdefault((run.x, run.y), []).append(run)
    places = []
    for (at_x, at_y), here in found.items():
        losses = [run.loss for run in here if not run.broken]
        places.append(
            MapPlace(
                x.places[at_x],
                y.places[at_y],
                *x.cells[at_x],
                *y.cells[at_y],
                loss=float(np.mean(losses)) if losses else math.nan,
                runs=len(here),
                diverged=sum(run.diverged for run in here),
                broken=len(here) - len(losses),
                name=f"{x.texts[at_x]}, {y.texts[at_y]}",
            )
        )
    return tuple(places)


def _key(losses: Sequence[float], label: str) -> Axis:
    """Colors end where the worse half is far above the better one, so that the better half can be told apart."""
    least, most = min(losses), max(losses)
    log = least > 0 and most / least > _LOG_RATIO
    levels = np.log10(losses) if log else np.asarray(losses)
    low, high = clip_levels(levels, [float(levels.min())], quantile=0.5)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        pad = 0.1 if log else 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low - pad, high + pad
    return Axis(float(10**low), float(10**high), True, label) if log else Axis(low, high, False, label)


def _cross(one: MapPlace, x: Axis, y: Axis, *, gridded: bool) -> ChartPoint:
    """In the middle if no run reached anything, else in the corner of the cell, off its number."""
    at = (one.x, one.y)
    if gridded and one.broken < one.runs:
        corner = replace(x, low=one.x1, high=one.x2), replace(y, low=one.y1, high=one.y2)
        at = (corner[0].at(_CORNER[0]), corner[1].at(_CORNER[1]))
    kind = DIVERGED if one.diverged == one.broken else NOT_FINITE
    return ChartPoint(at[0], at[1], kind, one.name, math.nan, one.text)


def _guide(effective: float, y: _Ruler) -> Line:
    """Return the line of the same lr / (1 - m): straight, where momentum is on its complement scale."""
    distances = tuple(sorted((y.places[value] for value in y.places), reverse=True))[:: max(1, len(y.places) - 1)]
    return Line(f"lr/(1−m) = {number_text(effective)}", tuple(effective * d for d in distances), distances)


def _notes(places: Sequence[MapPlace], best: MapPlace | None, key: Axis | None, what: str) -> list[str]:
    notes = []
    if best is not None:
        notes.append(f"Outlined: the best, {number_text(best.loss)} at {best.name}.")
    broken = [one for one in places if one.broken]
    if broken:
        kind = "diverged" if all(one.diverged == one.broken for one in broken) else "diverged or not finite"
        some = "; in a corner: some of the seeds" if any(one.broken < one.runs for one in broken) else ""
        notes.append(f"Crosses: {kind}, {len(broken)} of {len(places)} {what}{some}.")
    above = [one.loss for one in places if key is not None and one.loss > key.high * (1 + 1e-9)]
    if key is not None and above:
        notes.append(f"Colors end at {number_text(key.high)}: {len(above)} are above, up to {number_text(max(above))}.")
    return notes


def _marks(places: Sequence[MapPlace], info: HeatMapInfo, color: Any, name: str) -> alt.Chart:
    base = alt.Chart(_rows(places), name=name)
    label = "loss" if info.key is None else info.key.title
    if info.gridded:
        drawn = base.mark_rect(stroke="white", strokeWidth=1).encode(**_spans(info))
    else:
        drawn = base.mark_circle(size=150, opacity=1, stroke=INK, strokeWidth=0.6).encode(**place(info.x, info.y))
    colored: alt.Chart = drawn.encode(
        color=color, tooltip=[alt.Tooltip("name:N", title="at"), alt.Tooltip("text:N", title=label)]
    )
    return colored


def _rows(places: Sequence[MapPlace]) -> alt.InlineData:
    return rows(asdict(one) | {"text": one.text} for one in places)


def _spans(info: HeatMapInfo) -> dict[str, Any]:
    return {"x": x_encoding(info.x, "x1"), "x2": "x2:Q", "y": y_encoding(info.y, "y1"), "y2": "y2:Q"}


def _numbers(places: Sequence[MapPlace], info: HeatMapInfo, key: Axis) -> list[alt.Chart]:
    """The losses in their cells, white on dark colors and dark on light ones."""
    if not info.numbered:
        return []
    data = rows(
        asdict(one) | {"text": number_text(one.loss), "ink": "white" if key.position(one.loss) < _DARK else INK}
        for one in places
    )
    mark = alt.Chart(data, name="numbers").mark_text(fontSize=11)
    return [mark.encode(**place(info.x, info.y), text="text:N", color=alt.Color("ink:N", scale=None))]


def _outline(info: HeatMapInfo) -> list[alt.Chart]:
    """The frame of the best place: dark with a light rim, so that it shows on every color."""
    if info.best is None:
        return []
    layers = []
    for name, width, color in (("best_rim", 6.0, "white"), ("best", 2.5, INK)):
        base = alt.Chart(_rows([info.best]), name=name)
        look: dict[str, Any] = {"filled": False, "stroke": color, "strokeWidth": width}
        if info.gridded:
            layers.append(base.mark_rect(**look).encode(**_spans(info)))
        else:
            layers.append(base.mark_point(size=420, opacity=1, **look).encode(**place(info.x, info.y)))
    return layers


def _drawn_guide(info: HeatMapInfo) -> list[alt.Chart]:
    """The dashed line, on cells with a light rim."""
    dash, where = alt.value([7, 4]), (info.guide, info.x, info.y)
    rim = lines(*where, alt.value("white"), name="guide_rim", width=4.5, opacity=0.8) if info.gridded else []
    return [*rim, *lines(*where, alt.value(INK), name="guide", width=1.8, dash=dash)]


def _text(value: Spot, dimension: MapDimension) -> str:
    if isinstance(value, str):
        return value
    if dimension.scale != "complement":
        return number_text(value)
    return f"{value:.{max(0, 1 - math.floor(math.log10(_rounded(1 - value))))}f}".rstrip("0").rstrip(".") or "0"


def _rounded(distance: float) -> float:
    """Return the distance to one without the rounding of the subtraction: 1 - 0.9 is 0.1."""
    return float(f"{distance:.12g}")
