"""What each method reaches at its cost, set by set: the one table and the one picture of regret."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.find_replay import FIND_FILE
from benchmarks.record import read_rows
from benchmarks.regret import REGRET_FILE, SEARCHES_FILE, case_of
from benchmarks.replay import SETS
from benchmarks.tables import markdown_table, percent
from stepsize.views.layers import rows
from stepsize.views.theme import ANSWER, INK, MUTED, SERIES, header, themed

if TYPE_CHECKING:
    import altair as alt

__all__ = [
    "Reached",
    "all_picks",
    "calibration_table",
    "methods_chart",
    "methods_table",
    "promised_table",
    "quantiles",
    "reached",
    "regret_report",
]

Row = Mapping[str, Any]
_SHARES = (0.5, 0.9, 1.0)
_OURS = "stepsize find"
_LEFT_OUT = "fixed default"  # the usual rate once more
_DECIDED = ("settled", "flat")
_SCORED = ("regret", "regret_all")  # on the seeds that were not trained on, on all of them
_SURE = (0.0, 0.5, 0.8, 0.9, 0.95, 1.0)
_LEAST, _MOST = 1e-3, 30.0  # of the axis of regret: what lies beyond is drawn at its end
_PANEL = 230  # pixels
_AROUND = "usual rate and around it"
_LOOKS: dict[str, tuple[str, str]] = {  # of each line: its color and the shape of its points
    _OURS: (ANSWER, "circle"),
    _AROUND: (INK, "square"),
    "grid": (SERIES[0], "square"),
    "random": (SERIES[1], "diamond"),
    "optuna TPE": (SERIES[2], "triangle-up"),
    "optuna GP": (SERIES[3], "triangle-down"),
    "torch-lr-finder": (MUTED, "cross"),
    "Lightning tuner": (MUTED, "triangle-right"),
    "fastai valley": (MUTED, "diamond"),
}


@dataclass(frozen=True)
class Reached:
    """What a method reaches on a set of trainings at a cost; every training has the same weight.

    Attributes:
        method: Its name.
        budget: What it may spend, in full runs, where it is replayed at several; None for a real tool.
        cost: What it spent, in full runs: that budget, or the median over the calls.
        set: Of :data:`~benchmarks.replay.SETS`.
        cases: How many trainings.
        median: Of the regret.
        p90: Its 90th percentile.
        worst: Its highest.
        unanswered: Calls that gave no rate, and count with the usual one.
    """

    method: str
    budget: float | None
    cost: float
    set: str
    cases: int
    median: float
    p90: float
    worst: float
    unanswered: int = 0


def reached(replays: Iterable[Row], picks: Iterable[Row]) -> list[Reached]:
    """Return what every method of both records reaches, set by set."""
    by: dict[tuple[str, float | None, str], list[Row]] = {}
    for row in replays:
        by.setdefault((row["search"], float(row["trials"]), case_of(row).set), []).append(row)
    for row in picks:
        if "regret" in row and row["tool"] != _LEFT_OUT:
            by.setdefault((row["tool"], None, case_of(row).set), []).append(row)
    return [_reached(name, budget, group, own) for (name, budget, group), own in by.items()]


def _reached(name: str, budget: float | None, group: str, own: Sequence[Row]) -> Reached:
    cases: dict[Any, list[float]] = {}
    for row in own:
        cases.setdefault(case_of(row), []).extend(np.atleast_1d(row["regret"]).tolist())
    costs = [row["cost"] for row in own if row.get("cost") is not None]
    cost = budget if budget is not None else float(np.median(costs)) if costs else math.nan
    unanswered = sum("lr" in row and row["lr"] is None for row in own)
    median, p90, worst = quantiles(list(cases.values()), _SHARES)
    return Reached(name, budget, cost, group, len(cases), median, p90, worst, unanswered)


def quantiles(groups: Sequence[Sequence[float]], shares: Sequence[float]) -> list[float]:
    """Return the values at ``shares`` over the groups, each group having the same weight whatever it holds."""
    values = np.concatenate([np.asarray(group, float) for group in groups])
    weights = np.concatenate([np.full(len(group), 1 / len(group)) for group in groups])
    order = np.argsort(values)
    middles = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    return [float(np.interp(share, middles, values[order])) for share in shares]


def methods_table(found: Iterable[Reached]) -> str:
    """Return a line for each method and cost: median / 90th percentile / worst regret on each set."""
    by: dict[tuple[str, float | None], dict[str, Reached]] = {}
    for one in found:
        by.setdefault((one.method, one.budget), {})[one.set] = one
    sets = [name for name in SETS if any(name in own for own in by.values())]
    count = {name: max(own[name].cases for own in by.values() if name in own) for name in sets}
    lines = []
    for (method, _), own in by.items():
        costs = [one.cost for one in own.values() if not math.isnan(one.cost)]
        lost = sum(one.unanswered for one in own.values())
        cells = [_cell(own.get(name), count[name]) for name in sets]
        lines.append([method, f"{np.mean(costs):.2g}" if costs else "–", *cells, str(lost) if lost else "–"])
    heads = ["method", "cost in full runs", *(f"{name} ({count[name]})" for name in sets), "no answer"]
    return markdown_table(heads, lines)


def _cell(one: Reached | None, cases: int) -> str:
    if one is None:
        return "–"
    told = " / ".join(percent(value) for value in (one.median, one.p90, one.worst))
    return told if one.cases == cases else f"{told} (of {one.cases})"


def calibration_table(picks: Iterable[Row], within: float = 0.05) -> str:
    """Return what ``find`` said of its answers beside what is true of them.

    Args:
        picks: Rows of real calls; those of other tools are left out.
        within: Regret up to which an answer is as good as promised.
    """
    by: dict[str, list[Row]] = {}
    for row in picks:
        if row["tool"].startswith(_OURS) and "regret" in row:
            by.setdefault(row["tool"], []).append(row)
    lines = []
    for tool, own in by.items():
        sets = {name: [row for row in own if case_of(row).set == name] for name in SETS}
        parts = {"all": own} | {name: some for name, some in sets.items() if 0 < len(some) < len(own)}
        lines += [_said(tool, f"{name} ({_decided(some)})", some, within) for name, some in parts.items()]
        codes = sorted({_code(row) for row in own})
        lines += [_said(tool, code, [row for row in own if _code(row) == code], within) for code in codes]
        for low, high in itertools.pairwise(_SURE):
            some = [row for row in own if row.get("sure") is not None and _in(row["sure"], low, high)]
            lines += [_said(tool, f"sure {low:g} to {high:g}", some, within)] if some else []
    heads = ["method", "said", "answers", "sure, mean", f"regret ≤ {percent(within)}", "median / p90 / worst"]
    return markdown_table([*heads, "range holds the best rate", "its width in decades, median"], lines)


def promised_table(picks: Iterable[Row]) -> str:
    """Return how often the replayed ``find`` decides, and whether its decided answers hold what they promise."""
    by: dict[tuple[str, str], list[Row]] = {}
    for row in picks:
        if "regret_all" in row:
            by.setdefault((row["tool"], case_of(row).set), []).append(row)
    lines = []
    for (tool, group), own in by.items():
        sure = [row for row in own if _code(row) in _DECIDED]
        kept = [percent(float(np.mean([row[key] <= row["tolerance"] for row in sure]))) for key in _SCORED if sure]
        spread = " / ".join(percent(value) for value in quantiles([[row["regret_all"]] for row in own], _SHARES))
        lines.append([tool, group, spread, percent(len(sure) / len(own)), *(kept or ["–", "–"])])
    heads = ["method", "set", "regret on all seeds", "decided", "right, on unseen seeds", "right, on all seeds"]
    return markdown_table(heads, lines)


def _decided(own: Sequence[Row]) -> str:
    return f"{percent(float(np.mean([_code(row) in _DECIDED for row in own])))} decided"


def _code(row: Row) -> str:
    return str(row.get("code") or row.get("note", "").partition(":")[0])


def _in(value: float, low: float, high: float) -> bool:
    return low <= value < high or value == high == 1.0


def _said(tool: str, said: str, own: Sequence[Row], within: float) -> list[str]:
    sure = [row["sure"] for row in own if row.get("sure") is not None]
    ranges = [row for row in own if row.get("interval") is not None and "holds_best" in row]
    regrets = [row["regret"] for row in own]
    return [
        tool,
        said,
        str(len(own)),
        f"{np.mean(sure):.2f}" if sure else "–",
        percent(float(np.mean([regret <= within for regret in regrets]))),
        " / ".join(percent(value) for value in quantiles([[regret] for regret in regrets], _SHARES)),
        percent(float(np.mean([row["holds_best"] for row in ranges]))) if ranges else "–",
        f"{np.median([math.log10(row['interval'][1] / row['interval'][0]) for row in ranges]):.2f}" if ranges else "–",
    ]


def all_picks() -> list[Row]:
    """Return the rows of `find`, replayed, and of the tools that were called for real."""
    return [*read_rows(FIND_FILE), *read_rows(REGRET_FILE)]


def regret_report() -> str:
    """Return the table of what all methods reach, and that of what ``find`` said of its answers."""
    replays, picks = read_rows(SEARCHES_FILE), all_picks()
    if not replays and not picks:
        return "No record yet: `python -m benchmarks regret`."
    told = (
        "Median / 90th percentile / worst regret: final validation loss above that of the best rate, in percent of it. "
        "Every training has the same weight. `find` and searches of full runs are replayed on the ground truth and "
        "scored on the seeds that they did not train on; the others ran for real with the seeds 100, 101 and 102."
    )
    parts = [told, methods_table(reached(replays, picks))]
    promised, said = promised_table(picks), calibration_table(picks)
    if promised.count("\n") > 1:
        parts += [
            "Whether the decided answers of `find` (settled or flat) are within their own tolerance. On unseen seeds, "
            "the noise of two or three runs counts against the answer; on all seeds, those it trained on count too.",
            promised,
        ]
    return "\n\n".join([*parts, said] if said.count("\n") > 1 else parts)


def methods_chart(found: Iterable[Reached]) -> alt.VConcatChart:
    """Return the picture: median and 90th percentile of the regret against the cost, set beside set."""
    import altair as alt

    drawn = [one for one in found if _line(one) and not math.isnan(one.cost)]
    sets = [name for name in SETS if any(one.set == name for one in drawn)]
    panels = [
        alt.hconcat(
            *(_panel([one for one in drawn if one.set == name], name, field) for name in sets), spacing=16
        ).resolve_scale(y="shared")
        for field in ("median", "p90")
    ]
    told = (
        "Further left and lower is better; less than 0.1% is drawn at 0.1%. Every training has the same weight.",
        "Searches of full runs are replayed; the others ran for real.",
    )
    title = header("Regret of the rate that is picked, against what it costs", told)
    return themed(alt.vconcat(*panels, spacing=12).properties(title=title))


def _line(one: Reached) -> str:
    """Return the line that a method is part of; empty for one that is not drawn."""
    if one.method.startswith(_OURS):
        return _OURS
    if one.method.startswith("usual rate"):
        return _AROUND
    return one.method if one.method in _LOOKS else ""


def _panel(found: Sequence[Reached], name: str, field: str) -> alt.LayerChart:
    import altair as alt

    data = [asdict(one) | {"line": _line(one), "y": max(getattr(one, field), _LEAST)} for one in found]
    below = "cost in full runs" if field == "p90" else None
    x = alt.X("cost:Q", title=below, axis=alt.Axis(values=[0, 1, 3, 5, 10, 30], format="~g"))
    x = x.scale(type="symlog", constant=1, domain=[0, 40], nice=False)
    beside = {"median": "median regret", "p90": "90th percentile"}[field] if name == SETS[0] else None
    look = alt.Axis(values=[k * 10.0**e for e in (-3, -2, -1, 0, 1) for k in (1, 3)], format="~%")
    y = alt.Y("y:Q", title=beside, axis=look).scale(type="log", domain=[_LEAST, _MOST], nice=False, clamp=True)
    colors, shapes = zip(*_LOOKS.values(), strict=True)
    legend = alt.Legend(title=None, columns=3, columnPadding=24, labelLimit=0)
    tint = alt.Color("line:N", legend=legend, scale=alt.Scale(domain=list(_LOOKS), range=list(colors)))
    shape = alt.Shape("line:N", legend=legend, scale=alt.Scale(domain=list(_LOOKS), range=list(shapes)))
    base = alt.Chart(rows(data))
    # A view's name must be its own: two of one name would share their data.
    dots = base.properties(name=f"{field}, {name}").mark_point(filled=True, size=50, opacity=1)
    layers = (
        base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=tint, order="cost:Q"),
        dots.encode(x=x, y=y, color=tint, shape=shape, tooltip=["method:N", "cost:Q", f"{field}:Q"]),
    )
    title = f"{name} ({max(one.cases for one in found)})" if field == "median" else ""
    return alt.LayerChart(layer=list(layers), width=_PANEL, height=_PANEL, title=title)
