"""Pictures of the records for docs/benchmarks.md: regret, searches, verdicts and the guard."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.combos import Combo
from benchmarks.guard_faults import FAULTS, FAULTS_FILE
from benchmarks.record import read_rows
from benchmarks.regret import REGRET_FILE
from benchmarks.searches import SEARCHES_FILE
from benchmarks.searches_picture import searches_chart, searches_info
from benchmarks.verdicts import MULTIPLES, VERDICTS_FILE, nearest
from stepsize.views import save_chart
from stepsize.views.layers import layered, rows
from stepsize.views.theme import ANSWER, HEIGHT, INK, MUTED, SERIES, WARNING, WIDTH, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "PICTURES_FOLDER", "Bar", "Curve", "Kept", "draw_all", "guard_chart", "guard_info", "regret_chart", "regret_info",
    "verdicts_chart", "verdicts_info",
]  # fmt: skip

Row = Mapping[str, Any]

PICTURES_FOLDER = Path(__file__).parent.parent / "docs" / "images" / "benchmarks"
# The tools that most people would reach for, and of the rules on a sweep the best and the best known.
_TOLD: dict[str, tuple[str, list[int]]] = {
    "stepsize find, budget 3": (ANSWER, [7, 3]),
    "stepsize find": (ANSWER, []),
    "stepsize range_test": (SERIES[0], []),
    "torch-lr-finder": (SERIES[1], []),
    "Lightning tuner": (SERIES[2], []),
    "fastai valley": (SERIES[3], []),
    "argmin ÷ 10, smoothed": (INK, [2, 2]),
    "fixed default": (MUTED, [8, 3, 2, 3]),
}
_LEAST, _MOST = 0.001, 1.0  # of the axis of regret
_LABEL_GAP = 16.0  # pixels between two labels, at least
_LEADER = 22  # pixels from the end of a curve to its label
_SAID = {"too low": SERIES[3], "fine": ANSWER, "too high or diverged": WARNING, "cannot tell": "#D5D9DE"}
_BAR = 0.06  # half the width of a bar, in decades
_CLOSE = 0.02  # above the undisturbed loss


@dataclass(frozen=True)
class Curve:
    """How often a tool's picks cost less than so much.

    Attributes:
        tool: Its name.
        regrets: Of all picks, in ascending order; infinite for a pick that diverged and where there was no answer.
        cost: The median, in trainings; NaN where none is known.
    """

    tool: str
    regrets: tuple[float, ...]
    cost: float

    def share(self, regret: float) -> float:
        """Return the share of all picks with at most this regret."""
        return sum(value <= regret for value in self.regrets) / len(self.regrets)


@dataclass(frozen=True)
class Bar:
    """A piece of a stacked bar.

    Attributes:
        times: The multiple of the best rate.
        said: What was told, or is true.
        low: The share at which the piece begins.
        high: The share at which it ends.
        count: Trainings in the piece.
        of: Trainings at this multiple.
    """

    times: float
    said: str
    low: float
    high: float
    count: int
    of: int


@dataclass(frozen=True)
class Kept:
    """How many disturbed trainings ended where the undisturbed one does.

    Attributes:
        fault: What was done.
        guard: "with a guard" or "without".
        count: Of those that ended within 2 % above the undisturbed loss.
        of: All of this fault.
    """

    fault: str
    guard: str
    count: int
    of: int


def draw_all(folder: Path = PICTURES_FOLDER) -> list[Path]:
    """Draw every record that is there into ``folder``; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures: Iterable[tuple[str, Path, Callable[[Sequence[Row]], alt.LayerChart | alt.VConcatChart]]] = (
        ("regret", REGRET_FILE, lambda read: regret_chart(regret_info(read))),
        ("searches", SEARCHES_FILE, lambda read: searches_chart(searches_info(read, read_rows(REGRET_FILE)))),
        ("verdicts", VERDICTS_FILE, lambda read: verdicts_chart(verdicts_info(read))),
        ("guard", FAULTS_FILE, lambda read: guard_chart(guard_info(read))),
    )
    found = ((name, draw, read_rows(path)) for name, path, draw in pictures)
    return [save_chart(draw(read), folder / f"{name}.svg") for name, draw, read in found if read]


def regret_info(read: Iterable[Row], tools: Iterable[str] = tuple(_TOLD)) -> list[Curve]:
    """Return the curve of each of the tools on the tasks that were held out of the design."""
    kept = [row for row in read if "regret" in row and Combo(row["task"], row["optimizer"]).held_out]
    curves = []
    for tool in tools:
        own = [row for row in kept if row["tool"] == tool]
        if own:
            regrets = sorted(math.inf if row["lr"] is None or row["diverged"] else row["regret"] for row in own)
            costs = [row["cost"] for row in own if row["cost"] is not None]
            curves.append(Curve(tool, tuple(regrets), float(np.median(costs)) if costs else math.nan))
    return curves


def verdicts_info(read: Iterable[Row]) -> dict[str, list[Bar]]:
    """Return the bars of what was told, and those of what is true, on the tasks that were held out of the design."""
    at: dict[float, list[Row]] = {}
    for row in read:
        if row["held_out"]:
            at.setdefault(nearest(row["times"], MULTIPLES), []).append(row)
    return {
        "told": [bar for times in sorted(at) for bar in _stacked(times, [row["verdict"] for row in at[times]])],
        "true": [bar for times in sorted(at) for bar in _stacked(times, [row["label"] for row in at[times]])],
    }


def guard_info(read: Iterable[Row]) -> list[Kept]:
    """Return, for each fault, how many trainings ended well with a guard and without."""
    read = list(read)
    found = []
    for fault in FAULTS:
        own = [row for row in read if row["fault"] == fault]
        for guard, loss in (("with a guard", "loss"), ("without", "unguarded")):
            close = sum(row[loss] <= (1 + _CLOSE) * row["undisturbed"] for row in own)
            found += [Kept(fault, guard, close, len(own))] if own else []
    return found


def regret_chart(curves: Sequence[Curve]) -> alt.LayerChart:
    """Return the picture of the curves: the share of picks against the regret, each with its name at its end."""
    import altair as alt

    look = alt.Axis(values=[k * 10.0**e for e in (-3, -2, -1) for k in (1, 2, 5)] + [_MOST], format="~%", tickCount=10)
    x = alt.X("x:Q", title="regret (log axis)", scale=alt.Scale(type="log", domain=[_LEAST, _MOST]), axis=look)
    y = alt.Y("y:Q", title="share of picks with at most this regret", axis=alt.Axis(format="%"))
    y = y.scale(domain=[0, 1])
    names = [curve.tool for curve in curves]
    colours, dashes = zip(*(_TOLD[name] for name in names), strict=True)
    colour = alt.Color("tool:N", legend=None, scale=alt.Scale(domain=names, range=list(colours)))
    dash = alt.StrokeDash("tool:N", legend=None, scale=alt.Scale(domain=names, range=list(dashes)))
    stairs = alt.Chart(rows(corner for curve in curves for corner in _stairs(curve)), name="curves")
    ends = alt.Chart(rows(_labels(curves)))
    text = ends.properties(name="labels").mark_text(align="left", baseline="middle", fontSize=12, dx=3)
    chart = layered(
        stairs.mark_line(interpolate="step-after", strokeWidth=2).encode(x=x, y=y, color=colour, strokeDash=dash),
        ends.mark_rule(opacity=0.6).encode(
            x=alt.value(WIDTH), x2=alt.value(WIDTH + _LEADER), y=_pixels("end:Q"), y2="place:Q", color=colour
        ),
        text.encode(x=alt.value(WIDTH + _LEADER), y=_pixels("place:Q"), text="text:N", color=colour),
    )
    told = (
        f"{len(curves[0].regrets)} picks a tool on tasks that nothing was tuned on; further left and higher is better.",
        "A pick that diverged, and no answer, count as never. In brackets: the median cost in trainings.",
    )
    return themed(chart.properties(title=header("How much a recommended rate loses", told)))


def verdicts_chart(panels: Mapping[str, Sequence[Bar]]) -> alt.VConcatChart:
    """Return the picture of the verdicts: what was told above, what is true below."""
    import altair as alt

    below = "rate over the best one, nearest of these (log axis)"
    parts = [
        _bars(panels["told"], "told after a quarter", height=200, below=None),
        _bars(panels["true"], "true at the end", height=90, below=below),
    ]
    told = (
        f"{sum(bar.count for bar in panels['told'])} watched trainings of tasks left out of the design, by their rate.",
        "Fine: within 10 % of the best loss at the end of the training.",
    )
    title = header("What watching says of a rate, and what is so", told)
    return themed(alt.vconcat(*parts, spacing=12).properties(title=title))


def guard_chart(found: Sequence[Kept]) -> alt.LayerChart:
    """Return the picture of the guard: two bars a fault."""
    import altair as alt

    guards = ["with a guard", "without"]
    data = [asdict(one) | {"share": one.count / one.of, "text": f"{one.count} of {one.of}"} for one in found]
    base = alt.Chart(rows(data))
    look = alt.Axis(ticks=False, domain=False, labelLimit=WIDTH / 2, labelPadding=8)
    fault = alt.Y("fault:N", title=None, sort=list(FAULTS), axis=look, scale=alt.Scale(paddingInner=0.3))
    share = alt.X("share:Q", title="share of trainings", axis=alt.Axis(format="%", tickCount=5))
    share = share.scale(domain=[0, 1])
    place = {"x": share, "y": fault, "yOffset": alt.YOffset("guard:N", sort=guards)}
    colour = alt.Color("guard:N", title=None, scale=alt.Scale(domain=guards, range=[ANSWER, MUTED]), sort=guards)
    text = base.mark_text(align="left", dx=5, color=INK, fontSize=11).encode(**place, text="text:N")
    bars = base.properties(name="bars").mark_bar().encode(**place, color=colour)
    chart = layered(bars, text, height=46 * len({one.fault for one in found}))
    told = ("Trainings disturbed on purpose that end within 2 % above the loss of the undisturbed one.",)
    return themed(chart.properties(title=header("Faults, with a guard and without", told)))


def _stacked(times: float, said: Sequence[str]) -> list[Bar]:
    merged = ["too high or diverged" if one in ("too high", "diverged") else one for one in said]
    bars, before = [], 0
    for name in _SAID:
        count = merged.count(name)
        if count:
            bars.append(Bar(times, name, before / len(said), (before + count) / len(said), count, len(said)))
        before += count
    return bars


def _stairs(curve: Curve) -> list[dict[str, Any]]:
    """Return the corners of the share within the axis, from its left edge to its right one."""
    inside = sorted({value for value in curve.regrets if _LEAST < value < _MOST})
    return [{"x": value, "y": curve.share(value), "tool": curve.tool} for value in (_LEAST, *inside, _MOST)]


def _labels(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return a label a curve in pixels: where the curve ends, and a place beside it that no other label takes."""
    middle = {curve.tool: float(np.median(curve.regrets)) for curve in curves}
    ordered = sorted(curves, key=lambda curve: (-curve.share(_MOST), middle[curve.tool]))
    found: list[dict[str, Any]] = []
    for curve in ordered:
        end = HEIGHT * (1 - curve.share(_MOST))
        place = max(end, found[-1]["place"] + _LABEL_GAP if found else 0.0)
        text = curve.tool if math.isnan(curve.cost) else f"{curve.tool} ({curve.cost:.2g})"
        found.append({"tool": curve.tool, "text": text, "end": end, "place": place})
    return found


def _pixels(field: str) -> alt.Y:
    """Return a vertical encoding whose values are pixels already."""
    import altair as alt

    return alt.Y(field, scale=None, axis=None)


def _bars(bars: Sequence[Bar], title: str, *, height: int, below: str | None) -> alt.LayerChart:
    import altair as alt

    width = 10**_BAR
    data = [asdict(bar) | {"left": bar.times / width, "right": bar.times * width} for bar in bars]
    domain = [MULTIPLES[0] / width**2, MULTIPLES[-1] * width**2]
    look = alt.Axis(values=list(MULTIPLES), format="~g", labelOverlap=False, grid=False)
    x = alt.X("left:Q", title=below, axis=look)
    x = x.scale(type="log", domain=domain, nice=False)
    y = alt.Y("low:Q", title=title, axis=alt.Axis(format="%", tickCount=4), scale=alt.Scale(domain=[0, 1]))
    legend = alt.Legend(title=None, symbolType="square", columns=4)
    colours = alt.Scale(domain=list(_SAID), range=list(_SAID.values()))
    colour = alt.Color("said:N", scale=colours, legend=legend)
    tooltip = ["said:N", "count:Q", "of:Q"]
    mark = alt.Chart(rows(data), name="bars").mark_rect(stroke="white", strokeWidth=0.5)
    return layered(mark.encode(x=x, x2="right:Q", y=y, y2="high:Q", color=colour, tooltip=tooltip), height=height)
