"""The heat map of a sweep: what was reached at each place of two dimensions, drawn as it was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, clip_levels, lr_axis, value_axis
from stepsize.views.layers import crosses, gradient, layered, lines, place, rows, stacked
from stepsize.views.marks import DIVERGED, NOT_FINITE, ChartPoint, Line, Lines, checked_some
from stepsize.views.theme import HEIGHT, INK, WIDTH
from stepsize.views.vega import Chart, alt

Scale: TypeAlias = Literal["log", "linear", "complement", "even"]
Spot: TypeAlias = "float | int | str"

_FILLED = 2 / 3  # of all crossings of a grid; below, runs are points, since most of the plane was not measured
_LOG_RATIO = 3.0  # from here on, colors go by ratios
_DARK = 0.62  # fraction of the colors that light numbers are readable on
_INKS = ("#FFFFFF", "#111418")  # of numbers on dark and on light cells, also on a dark page
_MOST_NUMBERED = (12, 14)  # columns and rows that have room for a number in each cell
_LOST = "#ECEEF1"
_CORNER = (0.38, 0.26)  # of a cell, from its middle: where the cross for some of its runs is


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

    def axis(self, values: Sequence[Spot], *, gridded: bool) -> tuple[Axis, dict[Spot, float]]:
        """Return the axis, and where each value is on it: on a grid in cells of one size, else at its distance."""
        numbers = sorted({value for value in values if not isinstance(value, str)})
        ordered: list[Spot] = [*numbers, *dict.fromkeys(value for value in values if isinstance(value, str))]
        if gridded or self.scale == "even":
            texts = tuple((float(number), self.text(value)) for number, value in enumerate(ordered))
            axis = Axis(-0.5, len(ordered) - 0.5, False, self.name, texts=texts)
            return axis, {value: float(number) for number, value in enumerate(ordered)}
        places = {value: self._place(value) for value in ordered}
        if self.scale == "linear":
            return value_axis(list(places.values()), self.name, keep=list(places.values())), places
        return replace(lr_axis(list(places.values()), self.name), complement=self.scale == "complement"), places

    def text(self, value: Spot) -> str:
        """Return a value as text."""
        if isinstance(value, str):
            return value
        if self.scale != "complement":
            return number_text(value)
        return f"{value:.{max(0, 1 - math.floor(math.log10(_rounded(1 - value))))}f}".rstrip("0").rstrip(".") or "0"

    def _place(self, value: Spot) -> float:
        scale = self.scale
        if isinstance(value, str) or (scale == "log" and value <= 0) or (scale == "complement" and value >= 1):
            rule = f"must have a place on a {scale} scale"
            raise InputError(self.name, value, rule, "Use the scale 'even', which has a place for each value")
        return _rounded(1 - float(value)) if scale == "complement" else float(value)


@dataclass(frozen=True)
class MapPlace:
    """All that was measured at one place."""

    x: float
    y: float
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

    Runs at the crossings of a grid are cells of one size, other runs are points. Nothing is drawn where nothing was
    measured. ``effective_lr`` draws the line of rates r and momenta m with this r / (1 - m).

    Example:
        >>> runs = [MapRun(lr, m, 0.1 + m * lr) for lr in (0.01, 0.1) for m in (0.0, 0.9)]
        >>> info = heat_map_info(runs, MapDimension("momentum", "complement"))
        >>> info.gridded, info.best.name, info.y.texts
        (True, 'learning rate 0.01, momentum 0', ((0.0, '0'), (1.0, '0.9')))
    """
    checked_some(runs=runs)
    columns, rows_ = len({run.x for run in runs}), len({run.y for run in runs})
    crossings = len({(run.x, run.y) for run in runs})
    gridded = min(columns, rows_) > 1 and crossings >= _FILLED * columns * rows_
    rate = MapDimension("learning rate")
    x, across = rate.axis([run.x for run in runs], gridded=gridded)
    y, up = dimension.axis([run.y for run in runs], gridded=gridded)
    found: dict[tuple[float, Spot], list[MapRun]] = {}
    for run in runs:
        found.setdefault((run.x, run.y), []).append(run)
    places = tuple(
        _place(
            here, across[lr], up[beside], f"learning rate {rate.text(lr)}, {dimension.name} {dimension.text(beside)}"
        )
        for (lr, beside), here in found.items()
    )
    reached = [one for one in places if one.broken < one.runs]
    best = min((one for one in reached if not one.broken), key=lambda one: one.loss, default=None)
    key = _key([one.loss for one in reached], loss_label) if reached else None
    guide = () if effective_lr is None else (_guide(effective_lr, across, up, gridded=gridded),)
    notes = _notes(places, best, key, "cells" if gridded else "points")
    return HeatMapInfo(
        title=title,
        lines=wrapped(answer, " ".join([*notes, *(f"Dashed: {line.series}." for line in guide)])),
        x=x,
        y=y,
        gridded=gridded,
        places=places,
        key=key,
        best=best,
        crosses=tuple(_cross(one, gridded=gridded) for one in places if one.broken),
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


def _place(here: Sequence[MapRun], x: float, y: float, name: str) -> MapPlace:
    losses = [run.loss for run in here if not run.broken]
    mean = float(np.mean(losses)) if losses else math.nan
    return MapPlace(x, y, mean, len(here), sum(run.diverged for run in here), len(here) - len(losses), name)


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


def _cross(one: MapPlace, *, gridded: bool) -> ChartPoint:
    """In the middle if no run reached anything, else in the corner of the cell, off its number."""
    beside = _CORNER if gridded and one.broken < one.runs else (0.0, 0.0)
    kind = DIVERGED if one.diverged == one.broken else NOT_FINITE
    return ChartPoint(one.x + beside[0], one.y + beside[1], kind, one.name, math.nan, one.text)


def _guide(effective: float, across: Mapping[Spot, float], up: Mapping[Spot, float], *, gridded: bool) -> Line:
    """Return the line of the same lr / (1 - m), from the lowest to the highest momentum."""
    momenta = sorted(float(value) for value in up)
    rates = np.array([effective * (1 - momentum) for momentum in momenta])
    if gridded:  # from cell to cell, and to one beyond the ends
        lrs = np.log10(sorted(float(lr) for lr in across))
        ends = (2 * lrs[0] - lrs[1], *lrs, 2 * lrs[-1] - lrs[-2])
        rates = np.interp(np.log10(rates), ends, np.arange(-1.0, len(lrs) + 1))
    return Line(f"lr/(1−m) = {number_text(effective)}", tuple(rates.tolist()), tuple(up[m] for m in momenta))


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
    look = {"stroke": "white", "strokeWidth": 1} if info.gridded else {"opacity": 1, "stroke": INK, "strokeWidth": 0.6}
    label = "loss" if info.key is None else info.key.title
    tooltip = [alt.Tooltip("name:N", title="at"), alt.Tooltip("text:N", title=label)]
    colored: alt.Chart = _cells(places, info, name, 150, **look).encode(color=color, tooltip=tooltip)
    return colored


def _cells(places: Sequence[MapPlace], info: HeatMapInfo, name: str, size: float, **look: Any) -> alt.Chart:
    """Return the cells of a grid, or circles of a size."""
    base = alt.Chart(_rows(places), name=name)
    columns, rows_ = info.x.high - info.x.low, info.y.high - info.y.low
    drawn = (
        base.mark_rect(width=WIDTH / columns, height=HEIGHT / rows_, **look)
        if info.gridded
        else base.mark_circle(size=size, **look)
    )
    placed: alt.Chart = drawn.encode(**place(info.x, info.y))
    return placed


def _rows(places: Sequence[MapPlace]) -> alt.InlineData:
    return rows(asdict(one) | {"text": one.text} for one in places)


def _numbers(places: Sequence[MapPlace], info: HeatMapInfo, key: Axis) -> list[alt.Chart]:
    """The losses in their cells, light on dark colors and dark on light ones."""
    if not info.numbered:
        return []
    data = rows(
        asdict(one) | {"text": number_text(one.loss), "ink": _INKS[key.position(one.loss) >= _DARK]} for one in places
    )
    mark = alt.Chart(data, name="numbers").mark_text(fontSize=11)
    return [mark.encode(**place(info.x, info.y), text="text:N", color=alt.Color("ink:N", scale=None))]


def _outline(info: HeatMapInfo) -> list[alt.Chart]:
    """The frame of the best place: dark with a light rim, so that it shows on every color."""
    if info.best is None:
        return []
    layers = []
    for name, width, color in (("best_rim", 6.0, "white"), ("best", 2.5, INK)):
        look: dict[str, Any] = {"filled": False, "opacity": 1, "stroke": color, "strokeWidth": width}
        layers.append(_cells([info.best], info, name, 420, **look))
    return layers


def _drawn_guide(info: HeatMapInfo) -> list[alt.Chart]:
    """The dashed line, on cells with a light rim."""
    rim = Lines("guide_rim", info.guide if info.gridded else (), "white", width=4.5, opacity=0.8)
    line = Lines("guide", info.guide, INK, width=1.8)
    return [*lines(rim, info.x, info.y), *lines(line, info.x, info.y, strokeDash=alt.value([7, 4]))]


def _rounded(distance: float) -> float:
    """Return the distance to one without the rounding of the subtraction: 1 - 0.9 is 0.1."""
    return float(f"{distance:.12g}")
