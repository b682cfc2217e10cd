"""One picture a statement: every place with its interval, and whether it agrees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.claims.answers import Answer
from benchmarks.claims.effects import Check, Part, Unit
from benchmarks.claims.rules import RULES
from benchmarks.claims.wording import agreement
from stepsize.views import save_chart
from stepsize.views.layers import rows
from stepsize.views.theme import ANSWER, CONFIG, INK, MUTED, WARNING

if TYPE_CHECKING:
    import altair as alt

__all__ = ["draw", "picture_name", "placed"]

_WIDTH, _ROW = 250, 15  # pixels of a panel, and of one of its rows
_LABEL = 290
_AGREES, _OPEN, _OPPOSED = "agrees", "open", "the opposite"
_LOOKS = {_AGREES: (ANSWER, "circle"), _OPEN: (MUTED, "diamond"), _OPPOSED: (WARNING, "square")}
_AXES = {
    "ratio": "{}: ratio (log axis)",
    "share": "{}: difference, points",
    "percent": "{}, per cent",
    "decades": "{}: shift in decades",
    "number": "{}",
}
_LEAST_TICKS = 3
_FARTHEST = 100.0  # a ratio beyond it, or below its inverse, stands on the edge


def picture_name(number: int) -> str:
    """Return the file's name."""
    return f"claim-{number:02d}.svg"


def placed(unit: Unit) -> dict[str, Any]:
    """Return what is drawn of a place, on the axis of its first check."""
    check = unit.checks[0]
    ends = {name: _on_axis(getattr(check.effect, name), check) for name in ("mean", "low", "high")}
    state = _AGREES if unit.holds else _OPPOSED if unit.opposed else _OPEN
    return {"place": unit.name, "state": state, **ends}


def _on_axis(value: float, check: Check) -> float:
    if check.scale == "ratio":
        edge = math.log(_FARTHEST)
        return math.exp(min(max(value, -edge), edge))
    return 100 * value if check.scale in ("share", "percent") else value


def draw(answer: Answer, folder: Path) -> Path:
    """Save the picture of an answer."""
    import altair as alt

    parts = [part for part in answer.parts if part.units]
    several = any(len({check.name for check in unit.checks}) > 1 for part in parts for unit in part.units)
    title = alt.TitleParams(
        text=RULES[answer.number].title,
        subtitle=[
            "Mean and 95% interval of each case, from the lowest to the highest; dashed: the limit of the rule.",
            "Green circle: agrees. Grey diamond: open. Red square: shows the opposite."
            + (" The interval is that of the first test, the colour that of all." if several else ""),
        ],
        offset=12,
    )
    chart = alt.concat(*map(_panel, parts), columns=2, spacing=24).properties(title=title).configure(**CONFIG)
    folder.mkdir(parents=True, exist_ok=True)
    return save_chart(chart, folder / picture_name(answer.number))


def _panel(part: Part) -> alt.LayerChart:
    import altair as alt

    first = part.units[0].checks[0]
    shown = sorted((placed(unit) for unit in part.units), key=lambda row: row["mean"])
    line = sorted({_on_axis(c.threshold, c) for c in part.units[0].checks if c.name == first.name})
    x = _across(first, [line[0], line[-1], *(row[end] for row in shown for end in ("low", "high"))])
    look = alt.Axis(labelLimit=_LABEL, labelFontSize=11, ticks=False, domain=False)
    y = alt.Y("place:N", sort=[row["place"] for row in shown], title=None, axis=look)
    states = list(_LOOKS)
    colours = alt.Scale(domain=states, range=[colour for colour, _ in _LOOKS.values()])
    shapes = alt.Scale(domain=states, range=[shape for _, shape in _LOOKS.values()])
    colour = alt.Color("state:N", scale=colours, legend=None)
    shape = alt.Shape("state:N", scale=shapes, legend=None)
    base = alt.Chart(rows(shown))
    guide = alt.Chart(rows({"at": at} for at in line)).mark_rule(color=INK, strokeDash=[4, 3])
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **x), x2="high:Q", y=y, color=colour)
    dots = base.mark_point(filled=True, size=45, opacity=1)
    layers = [
        guide.encode(x=alt.X("at:Q", **x)),
        bars,
        dots.encode(x=alt.X("mean:Q", **x), y=y, color=colour, shape=shape),
    ]
    title = alt.TitleParams(text=f"{part.name}: {agreement(part)}", frame="group", fontSize=12, offset=6)
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_ROW * len(shown)).properties(title=title)


def _across(check: Check, values: Sequence[float]) -> dict[str, Any]:
    """Return the scale and the axis of the effects of a part, which has to hold ``values``."""
    import altair as alt

    kind: Literal["log", "linear"] = "log" if check.scale == "ratio" else "linear"
    title = _AXES[check.scale].format(check.name.partition(",")[0])
    ticks = _ticks(values) if kind == "log" else alt.Undefined
    scale = alt.Scale(type=kind, domain=_domain(values, kind), nice=False, clamp=True)
    return {"scale": scale, "axis": alt.Axis(title=title, values=ticks, tickCount=5, format=",~r", labelOverlap=True)}


def _domain(values: Sequence[float], kind: str) -> list[float]:
    low, high = min(values), max(values)
    if kind == "log":
        return [low / 1.08, high * 1.08]
    margin = 0.05 * (high - low) or 1.0
    return [low - margin, high + margin]


def _ticks(values: Sequence[float]) -> list[float]:
    """Return round ratios for a log axis: fine ones where it spans little."""
    low, high = min(values), max(values)
    ticks: list[float] = []
    for steps in ((1, 10), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), (0.8, 0.9, 1, 1.1, 1.2, 1.5, 2, 3, 4, 5, 7)):
        ticks = sorted({round(s * 10.0**k, 6) for k in range(-3, 4) for s in steps if low <= s * 10.0**k <= high})
        if len(ticks) >= _LEAST_TICKS:
            break
    return ticks
