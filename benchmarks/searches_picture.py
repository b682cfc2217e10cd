"""The picture of what searches of full trainings reach at their cost, beside what find reaches at its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.combos import Combo
from benchmarks.searches import SEARCHES, quantiles
from stepsize.views.layers import layered, rows
from stepsize.views.theme import ANSWER, SERIES, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Reached", "searches_chart", "searches_info"]

Row = Mapping[str, Any]

_OURS = "stepsize find"
_FINDS = (_OURS, "stepsize find, budget 3")
_LOOKS = {_OURS: (ANSWER, "circle")} | dict(
    zip(SEARCHES, zip(SERIES[:3], ("square", "diamond", "triangle-up"), strict=True), strict=True)
)


@dataclass(frozen=True)
class Reached:
    """What a way to a rate reaches at a cost.

    Attributes:
        name: Of the way.
        cost: In full trainings.
        median: Regret.
        p90: Its 90 % quantile.
    """

    name: str
    cost: float
    median: float
    p90: float


def searches_info(searched: Iterable[Row], picked: Iterable[Row]) -> list[Reached]:
    """Return what find reaches at each budget and the searches at each number of trials, on the held-out tasks."""
    picked = [row for row in picked if "regret" in row and Combo(row["task"], row["optimizer"]).held_out]
    searched = [row for row in searched if row["held_out"]]
    found = []
    for tool in _FINDS:
        own = [row for row in picked if row["tool"] == tool]
        if own:
            median, p90 = np.quantile([row["regret"] for row in own], (0.5, 0.9))
            found.append(Reached(_OURS, float(np.median([row["cost"] for row in own])), float(median), float(p90)))
    for name in SEARCHES:
        for trials in sorted({row["trials"] for row in searched}):
            own = [row for row in searched if (row["search"], row["trials"]) == (name, trials)]
            if own:
                found.append(Reached(name, float(trials), *quantiles(own, (0.5, 0.9))))
    return found


def searches_chart(found: Sequence[Reached]) -> alt.VConcatChart:
    """Return the picture: the median above, the 90 % quantile below, both against the cost."""
    import altair as alt

    told = (
        "Regret against cost on tasks left out of the design; further left and lower is better.",
        "Searches: 3, 10 and 30 full trainings, each task with the same weight. find: its budgets 1 and 3.",
    )
    parts = [
        _panel(found, "median", "median regret (log axis)", None),
        _panel(found, "p90", "90 % quantile (log axis)", "cost in full trainings (log axis)"),
    ]
    return themed(alt.vconcat(*parts, spacing=12).properties(title=header("Find beside searches of trainings", told)))


def _panel(found: Sequence[Reached], field: str, title: str, below: str | None) -> alt.LayerChart:
    import altair as alt

    x = alt.X("cost:Q", title=below, axis=alt.Axis(values=[1, 2, 3, 5, 10, 20, 30], format="~g"))
    x = x.scale(type="log", domain=[0.8, 36], nice=False)
    look = alt.Axis(values=[0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5], format="~%")
    values = [getattr(one, field) for one in found]
    y = alt.Y(f"{field}:Q", title=title, axis=look)
    y = y.scale(type="log", domain=[min(values) / 1.3, max(values) * 1.3], nice=False)
    colours, shapes = zip(*_LOOKS.values(), strict=True)
    legend = alt.Legend(title=None, columns=4)
    tints = alt.Scale(domain=list(_LOOKS), range=list(colours))
    colour = alt.Color("name:N", legend=legend, scale=tints)
    shape = alt.Shape("name:N", legend=legend, scale=alt.Scale(domain=list(_LOOKS), range=list(shapes)))
    base = alt.Chart(rows(asdict(one) for one in found))
    dots = base.properties(name="dots").mark_point(filled=True, size=70, opacity=1)
    line = base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour)
    return layered(line, dots.encode(x=x, y=y, color=colour, shape=shape), height=190)
