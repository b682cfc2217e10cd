"""The heat map of a sweep: what was reached at each place of two dimensions, drawn as it was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from stepsize.curves.numerals import number_text, wrapped
from stepsize.errors import InputError
from stepsize.views.axes import Axis, clip_levels
from stepsize.views.layers import crosses, layered, lines, rows, x_encoding, y_encoding
from stepsize.views.marks import DIVERGED, NOT_FINITE, Line, Point
from stepsize.views.rulers import MapDimension, Ruler, Spot, ruler
from stepsize.views.theme import HEIGHT, INK, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "ColourKey", "HeatMapInfo", "HeatMapView", "MapGuide", "MapPlace", "MapRun",
    "constant_effective_lr", "heat_map_chart", "heat_map_info",
]  # fmt: skip

_FILLED = 2 / 3  # of all crossings of a grid; below, runs are points, for most of the plane was not measured
_LOG_RATIO = 3.0  # from here on, colours go by ratios
_LEGEND_TICKS = 5
_LEGEND_LENGTH = 320  # pixels
_DARK = 0.62  # share of the colours that white numbers are readable on
_NUMBER_ROOM = (46, 20)  # pixels that a number takes
_LOST = "#ECEEF1"
_CORNER = (0.88, 0.76)  # of a cell, where the cross of a part of its runs stands
_EXTENT = [0.0, 0.93]  # of the colours; the lightest yellow is lost on white


@dataclass(frozen=True)
class MapRun:
    """One run on the map.

    Args:
        x: Its value of the horizontal dimension.
        y: Its value of the vertical dimension.
        loss: What it reached; NaN or infinite where it reached nothing.
        diverged: Whether it was given up, whatever its loss.
    """

    x: Spot
    y: Spot
    loss: float
    diverged: bool = False

    @property
    def broken(self) -> bool:
        """Whether it reached nothing."""
        return self.diverged or not math.isfinite(self.loss)


@dataclass(frozen=True)
class MapGuide:
    """A line over the map, straight between its points.

    Args:
        text: What it connects, for example ``"lr/(1−m) = 0.1"``.
        x: Values of the horizontal dimension.
        y: Values of the vertical dimension, as many.

    Raises:
        InputError: If there are fewer than two points, or not as many of both.
    """

    text: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or len(self.x) < 2:
            raise InputError("guide", (self.x, self.y), "must have two points or more, each with an x and a y")


def constant_effective_lr(effective: float, momenta: Sequence[float]) -> MapGuide:
    """Return the line of rates r and momenta m with the same r / (1 - m), for a map of rate by momentum.

    Args:
        effective: r / (1 - m).
        momenta: At least the lowest and the highest momentum of the map.

    Example:
        >>> constant_effective_lr(0.1, [0.0, 0.9]).text
        'lr/(1−m) = 0.1'
    """
    ordered = sorted(momenta)
    rates = tuple(effective * (1 - momentum) for momentum in ordered)
    return MapGuide(f"lr/(1−m) = {number_text(effective)}", rates, tuple(ordered))


@dataclass(frozen=True)
class HeatMapView:
    """What the heat map shows.

    Runs at the crossings of a grid are cells that reach halfway to their neighbours; runs that lie anywhere
    are points. Nothing is drawn where nothing was measured.

    Args:
        x: The horizontal dimension.
        y: The vertical dimension.
        runs: At least one; several at one place are averaged.
        guides: Lines to compare with, between numbers.
        title: What was searched.
        verdict: The answer, as a sentence; wrapped by the chart.
        loss_label: What the colours are: "validation loss", or the metric; lower is better.

    Raises:
        InputError: If there is no run, or a value has no place on its dimension.
    """

    x: MapDimension
    y: MapDimension
    runs: tuple[MapRun, ...]
    guides: tuple[MapGuide, ...] = ()
    title: str = "Loss over two dimensions"
    verdict: str = ""
    loss_label: str = "validation loss"

    def __post_init__(self) -> None:
        if not self.runs:
            raise InputError("runs", self.runs, "must hold at least one run")
        for run in self.runs:
            self.x.check(run.x)
            self.y.check(run.y)
        for guide in self.guides:
            for dimension, values in ((self.x, guide.x), (self.y, guide.y)):
                if dimension.scale == "even":
                    rule = "must be left out where a dimension has no distances"
                    raise InputError("guides", guide.text, rule, "Give both dimensions another scale")
                for value in values:
                    dimension.check(value)


@dataclass(frozen=True)
class MapPlace:
    """All that was measured at one place.

    Attributes:
        x: In units of the horizontal axis.
        y: In units of the vertical axis.
        x_span: Where its cell begins and ends; both ``x`` where it is a point.
        y_span: Likewise.
        loss: The mean over the runs that reached something; NaN where none did.
        runs: How many there were.
        diverged: How many of them diverged.
        broken: How many reached nothing, the diverged among them.
        name: Where it is, in words.
    """

    x: float
    y: float
    x_span: tuple[float, float]
    y_span: tuple[float, float]
    loss: float
    runs: int
    diverged: int
    broken: int
    name: str

    @property
    def text(self) -> str:
        """What was reached, in words."""
        reached = "" if self.broken == self.runs else number_text(self.loss, 4)
        lost = f"{self.broken} of {self.runs} {DIVERGED if self.diverged == self.broken else NOT_FINITE}"
        return ", ".join(part for part in (reached, lost if self.broken else "") if part)


@dataclass(frozen=True)
class ColourKey:
    """Which loss has which colour.

    Attributes:
        low: The loss of the darkest.
        high: The loss of the lightest, and of all above.
        log: Whether equal steps of colour are equal ratios.
        ticks: What the legend shows, with its texts.
    """

    low: float
    high: float
    log: bool
    ticks: tuple[tuple[float, str], ...]

    def share(self, loss: float) -> float:
        """Return how far ``loss`` lies on the way from dark to light, in [0, 1]."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, min(loss, self.high)))
        return min(max((at - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True)
class HeatMapInfo:
    """Everything that stands on the map, at its place.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        gridded: Whether places are cells; else they are points.
        places: What was measured; those where nothing was reached too.
        key: The colours; None where nothing was reached anywhere.
        best: The place with the lowest mean of those where every run reached something; None where there is none.
        crosses: Where runs reached nothing.
        guides: Lines to compare with.
        numbered: Whether there is room for a number in each cell, and no guide upon it.
        lines: Verdict and notes below the title.
    """

    x: Axis
    y: Axis
    gridded: bool
    places: tuple[MapPlace, ...]
    key: ColourKey | None
    best: MapPlace | None
    crosses: tuple[Point, ...]
    guides: tuple[Line, ...]
    numbered: bool
    lines: tuple[str, ...]


def heat_map_info(view: HeatMapView) -> HeatMapInfo:
    """Return what the heat map of ``view`` shows, and where.

    Args:
        view: Plain data.

    Returns:
        Axes, places with their means, the colours (which end where few losses lie far above the others), the best
        place, crosses, guides and sentences.

    Example:
        >>> runs = tuple(MapRun(lr, m, 0.1 + m * lr) for lr in (0.01, 0.1) for m in (0.0, 0.9))
        >>> info = heat_map_info(HeatMapView(MapDimension("lr"), MapDimension("momentum", "complement"), runs))
        >>> info.gridded, info.best.name, [tick.text for tick in info.y.ticks]
        (True, 'lr 0.01, momentum 0', ['0', '0.9'])
    """
    columns, rows_ = {run.x for run in view.runs}, {run.y for run in view.runs}
    crossings = {(run.x, run.y) for run in view.runs}
    gridded = min(len(columns), len(rows_)) > 1 and len(crossings) >= _FILLED * len(columns) * len(rows_)
    x = ruler(view.x, [run.x for run in view.runs], pixels=WIDTH, upright=False, cells=gridded)
    y = ruler(view.y, [run.y for run in view.runs], pixels=HEIGHT, upright=True, cells=gridded)
    places = _places(view, x, y, gridded=gridded)
    reached = [place for place in places if place.broken < place.runs]
    whole = [place for place in reached if not place.broken]
    best = min(whole, key=lambda place: place.loss, default=None)
    key = _key([place.loss for place in reached]) if reached else None
    return HeatMapInfo(
        x=x.axis,
        y=y.axis,
        gridded=gridded,
        places=places,
        key=key,
        best=best,
        crosses=tuple(_cross(place, x, y, gridded=gridded) for place in places if place.broken),
        guides=tuple(
            Line(guide.text, tuple(map(x.place, guide.x)), tuple(map(y.place, guide.y))) for guide in view.guides
        ),
        numbered=gridded and not view.guides and x.narrowest >= _NUMBER_ROOM[0] and y.narrowest >= _NUMBER_ROOM[1],
        lines=wrapped(view.verdict, " ".join(_notes(view, places, best, key, gridded=gridded))),
    )


def heat_map_chart(view: HeatMapView) -> alt.LayerChart:
    """Return the heat map: cells or points coloured by loss, crosses, the best one outlined.

    Args:
        view: Plain data.

    Returns:
        An altair chart; show it in a notebook or write it with ``save_chart``.
    """
    import altair as alt

    info = heat_map_info(view)
    shown = [place for place in info.places if place.broken < place.runs]
    lost = [place for place in info.places if place.broken == place.runs]
    layers = [_marks(lost, info, view, alt.value(_LOST), "lost")] if info.gridded and lost else []
    if info.key is not None:
        layers.append(_marks(shown, info, view, _colour(info.key, view.loss_label), "places"))
        layers += _numbers(shown, info, info.key)
    layers = [*layers, *_guides(info)] if info.gridded else [*_guides(info), *layers]
    layers += _outline(info)
    layers += crosses(info.crosses, info.x, info.y, size=_cross_size(info))
    return themed(layered(*layers).properties(title=header(view.title, info.lines)))


def _places(view: HeatMapView, x: Ruler, y: Ruler, *, gridded: bool) -> tuple[MapPlace, ...]:
    found: dict[tuple[Spot, Spot], list[MapRun]] = {}
    for run in view.runs:
        found.setdefault((run.x, run.y), []).append(run)
    places = []
    for (at_x, at_y), runs in found.items():
        losses = [run.loss for run in runs if not run.broken]
        place_x, place_y = x.place(at_x), y.place(at_y)
        places.append(
            MapPlace(
                x=place_x,
                y=place_y,
                x_span=x.cell(at_x) if gridded else (place_x, place_x),
                y_span=y.cell(at_y) if gridded else (place_y, place_y),
                loss=float(np.mean(losses)) if losses else math.nan,
                runs=len(runs),
                diverged=sum(run.diverged for run in runs),
                broken=len(runs) - len(losses),
                name=f"{view.x.name} {view.x.text(at_x)}, {view.y.name} {view.y.text(at_y)}",
            )
        )
    return tuple(places)


def _key(losses: Sequence[float]) -> ColourKey:
    """Colours end where the worse half lies far above the better one, so that the better half can be told apart."""
    least, most = min(losses), max(losses)
    log = least > 0 and most / least > _LOG_RATIO
    levels = np.log10(losses) if log else np.asarray(losses)
    low, high = clip_levels(levels, [float(levels.min())], quantile=0.5)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        pad = 0.1 if log else 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low - pad, high + pad
    clipped = high < float(levels.max())
    ticks = []
    for level in np.linspace(low, high, _LEGEND_TICKS):
        value = float(10**level) if log else float(level)
        ticks.append((value, number_text(value)))
    if clipped:
        ticks[-1] = (ticks[-1][0], f"≥ {ticks[-1][1]}")
    return ColourKey(ticks[0][0], ticks[-1][0], log, tuple(ticks))


def _cross(place: MapPlace, x: Ruler, y: Ruler, *, gridded: bool) -> Point:
    """In the middle where no run reached anything, else in the corner of the cell, off its number."""
    at = (place.x, place.y)
    if gridded and place.broken < place.runs:
        at = (x.between(place.x_span, _CORNER[0]), y.between(place.y_span, _CORNER[1]))
    kind = DIVERGED if place.diverged == place.broken else NOT_FINITE
    return Point(at[0], at[1], kind, place.name, math.nan, place.text)


def _notes(
    view: HeatMapView, places: Sequence[MapPlace], best: MapPlace | None, key: ColourKey | None, *, gridded: bool
) -> list[str]:
    notes = []
    if best is not None:
        notes.append(f"Outlined: the best, {number_text(best.loss)} at {best.name}.")
    broken = [place for place in places if place.broken]
    if broken:
        kind = "diverged" if all(p.diverged == p.broken for p in broken) else "diverged or not finite"
        part = "; small ones: a part of the seeds" if any(p.broken < p.runs for p in broken) else ""
        notes.append(f"Crosses: {kind}, {len(broken)} of {len(places)} {'cells' if gridded else 'points'}{part}.")
    if key is not None and key.ticks[-1][1].startswith("≥"):
        above = [place.loss for place in places if place.loss > key.high]
        notes.append(
            f"Colours end at {number_text(key.high)}: {len(above)} lie above, up to {number_text(max(above))}."
        )
    if view.guides:
        notes.append(f"Dashed: {', '.join(guide.text for guide in view.guides)}.")
    return notes


def _colour(key: ColourKey, label: str) -> alt.Color:
    import altair as alt

    values, texts = [value for value, _ in key.ticks], [text for _, text in key.ticks]
    legend = alt.Legend(
        title=label,
        type="gradient",
        values=values,
        labelExpr=f"{texts}[indexof({values}, datum.value)]",
        labelOverlap=False,
        gradientLength=_LEGEND_LENGTH,
        gradientThickness=12,
        gradientOpacity=1,
    )
    kind: Literal["log", "linear"] = "log" if key.log else "linear"
    scheme = alt.SchemeParams(name="viridis", extent=_EXTENT)
    return alt.Color(
        "loss:Q",
        legend=legend,
        scale=alt.Scale(type=kind, domain=values[:: len(values) - 1], scheme=scheme, clamp=True),
    )


def _marks(places: Sequence[MapPlace], info: HeatMapInfo, view: HeatMapView, colour: Any, name: str) -> alt.Chart:
    import altair as alt

    tooltip = [alt.Tooltip("name:N", title="at"), alt.Tooltip("text:N", title=view.loss_label)]
    base = alt.Chart(rows(_row(place) for place in places), name=name)
    if not info.gridded:
        mark = base.mark_circle(size=150, opacity=1, stroke=INK, strokeWidth=0.6)
        place = {"x": x_encoding(info.x), "y": y_encoding(info.y)}
    else:
        mark, place = base.mark_rect(stroke="white", strokeWidth=1), _spans(info)
    drawn: alt.Chart = mark.encode(color=colour, tooltip=tooltip, **place)
    return drawn


def _row(place: MapPlace) -> dict[str, Any]:
    (x1, x2), (y1, y2) = place.x_span, place.y_span
    at = {"x": place.x, "y": place.y, "x1": x1, "x2": x2, "y1": y1, "y2": y2}
    return at | {"loss": place.loss, "name": place.name, "text": place.text}


def _spans(info: HeatMapInfo) -> dict[str, Any]:
    return {"x": x_encoding(info.x, "x1"), "x2": "x2:Q", "y": y_encoding(info.y, "y1"), "y2": "y2:Q"}


def _numbers(places: Sequence[MapPlace], info: HeatMapInfo, key: ColourKey) -> list[alt.Chart]:
    """The losses in their cells, white on dark colours and dark on light ones."""
    import altair as alt

    if not info.numbered:
        return []
    layers = []
    for dark, ink in ((True, "white"), (False, INK)):
        chosen = [place for place in places if (key.share(place.loss) < _DARK) == dark]
        if chosen:
            data = rows({"x": p.x, "y": p.y, "text": number_text(p.loss)} for p in chosen)
            mark = alt.Chart(data, name=f"numbers_{ink.strip('#')}").mark_text(color=ink, fontSize=11)
            layers.append(mark.encode(x=x_encoding(info.x), y=y_encoding(info.y), text="text:N"))
    return layers


def _outline(info: HeatMapInfo) -> list[alt.Chart]:
    """The frame of the best place: dark with a light rim, so that it shows on every colour."""
    import altair as alt

    if info.best is None:
        return []
    layers = []
    for name, width, colour in (("best_rim", 6.0, "white"), ("best", 2.5, INK)):
        base = alt.Chart(rows([_row(info.best)]), name=name)
        if info.gridded:
            frame = base.mark_rect(filled=False, stroke=colour, strokeWidth=width).encode(**_spans(info))
        else:
            ring = base.mark_point(filled=False, size=420, stroke=colour, strokeWidth=width, opacity=1)
            frame = ring.encode(x=x_encoding(info.x), y=y_encoding(info.y))
        layers.append(frame)
    return layers


def _guides(info: HeatMapInfo) -> list[alt.Chart]:
    """Dashed lines, on cells with a light rim."""
    import altair as alt

    dash, place = alt.value([7, 4]), (info.guides, info.x, info.y)
    rim = lines(*place, alt.value("white"), name="guides_rim", width=4.5, opacity=0.8) if info.gridded else []
    return [*rim, *lines(*place, alt.value(INK), name="guides", width=1.8, dash=dash)]


def _cross_size(info: HeatMapInfo) -> float:
    return 45.0 if info.gridded else 60.0
