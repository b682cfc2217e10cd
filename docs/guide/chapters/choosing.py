"""Chapter 7: what each way of choosing a rate costs, and what it loses, on a task that nothing here was designed on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks.combos import Combo, build
from benchmarks.methods import all_picks
from benchmarks.regret import case_of, load_curves
from benchmarks.replay import SETS, Case, Truth, load_truth, replayed
from benchmarks.searches import SEARCHES
from benchmarks.truth import TRUTH_FOLDER
from benchmarks.truth_curve import TruthCurve
from docs.guide.charts import Series, line_chart, log_axis
from docs.guide.measuring import Effort, Measured, per_cent, table

import stepsize
from stepsize.optimizers import OPTIMIZERS
from stepsize.views import number_text

_TASK = "diabetes-regression"
_OPTIMIZERS = ("momentum", "adamw")
_TOOL_SEED = 100  # no tool is judged by trainings that it has seen
_SEARCHES = ("grid", "random", "optuna TPE")


@dataclass(frozen=True)
class _Way:
    """A way of choosing.

    Attributes:
        name: What to call it.
        family: The line of the chart that it belongs to.
        cost: In trainings.
        regrets: Over seeds and optimizers.
    """

    name: str
    family: str
    cost: float
    regrets: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.regrets))

    @property
    def worst(self) -> float:
        return max(self.regrets)


def measure(effort: Effort) -> Measured:
    """Let each way choose with several seeds, and judge the rates by full trainings with other seeds."""
    combos = [Combo(_TASK, name) for name in _OPTIMIZERS]
    curves = load_curves(combos, TRUTH_FOLDER)
    ways = [_default(curves), _range_test(combos, curves, effort)]
    ways += [_found(combos, curves, budget, effort(5, 1)) for budget in ((1.0, 3.0) if effort.full else (0.5,))]
    truths = list(load_truth(Case(combo.task, combo.optimizer) for combo in combos))
    ways += [_searched(truths, search, trials) for search in _SEARCHES for trials in SEARCHES[search].budgets]
    by_name = {way.name: way for way in ways}
    found = next(way for way in ways if way.family == "find")
    rival = min(
        (way for way in ways if way.family in _SEARCHES and way.median <= found.median), key=_cost, default=None
    )
    ten = by_name["random, 10 trials"]
    return Measured(
        gist=f"Median regret on {_TASK} with two optimizers: default rate {per_cent(by_name['fixed default'].median)}, "
        f"range test {per_cent(by_name['range test'].median)}, ten full runs at random rates {per_cent(ten.median)}, "
        f"`find` at the cost of {number_text(found.cost, 2)} full runs {per_cent(found.median)}.",
        numbers={f"median_{way.name}".replace(" ", "_"): way.median for way in ways}
        | {f"worst_{way.name}".replace(" ", "_"): way.worst for way in ways}
        | {f"cost_{way.name}".replace(" ", "_"): way.cost for way in ways},
        blocks={
            "table": table(
                ("method", "cost in full runs", "median regret", "worst regret", "answers"),
                [
                    (way.name, number_text(way.cost, 2), per_cent(way.median), per_cent(way.worst), len(way.regrets))
                    for way in ways
                ],
            ),
            "truth": "The best rates, from full runs: "
            + " and ".join(
                f"{number_text(curve.best_lr)} for {OPTIMIZERS[combo.optimizer].title} ({curve.seeds} seeds; within 5% "
                f"of its loss: {number_text(curve.good(0.05)[0])} to {number_text(curve.good(0.05)[1])})"
                for combo, curve in curves.items()
            )
            + ".",
            "rival": _rival(found, rival),
            "elsewhere": "One task proves little. On all twelve built-in tasks, with both optimizers:\n\n"
            + _elsewhere(),
        },
        figures={"choosing": (_chart(ways),)},
    )


def _cost(way: _Way) -> float:
    return way.cost


def _rival(found: _Way, rival: _Way | None) -> str:
    head = f"`find` at {number_text(found.cost, 2)} full runs has a median regret of {per_cent(found.median)}."
    if rival is None:
        return f"{head} No search that was measured here has a median that low."
    times = number_text(rival.cost / found.cost, 2)
    return f"{head} The cheapest search with a median that low is {rival.name}, at {times}× the cost."


def _elsewhere() -> str:
    rows = [row for row in all_picks() if case_of(row).set == SETS[0]]
    lines = []
    for tool, name in (
        ("stepsize find, at most 3", "`find`, three full runs"),
        ("stepsize range_test", "range test"),
        ("fixed default", "fixed default"),
    ):
        regrets = [row["regret"] for row in rows if row["tool"] == tool]
        lines.append((name, per_cent(float(np.median(regrets))), per_cent(max(regrets))))
    return table(("method", "median regret", "worst regret"), lines)


def _default(curves: Mapping[Combo, TruthCurve]) -> _Way:
    regrets = tuple(curve.regret(OPTIMIZERS[combo.optimizer].default_lr).value for combo, curve in curves.items())
    return _Way("fixed default", "fixed default", 0.0, regrets)


def _range_test(combos: Sequence[Combo], curves: Mapping[Combo, TruthCurve], effort: Effort) -> _Way:
    regrets = []
    for combo in combos:
        for seed in range(_TOOL_SEED, _TOOL_SEED + effort(5, 1)):
            found = stepsize.range_test(build(combo, seed=seed))
            lr = OPTIMIZERS[combo.optimizer].default_lr if found.lr is None else found.lr
            regrets.append(curves[combo].regret(lr).value)
    steps = build(combos[0]).horizon
    return _Way("range test", "range test", 300 / steps, tuple(regrets))


def _found(combos: Sequence[Combo], curves: Mapping[Combo, TruthCurve], budget: float, seeds: int) -> _Way:
    regrets, costs = [], []
    for combo in combos:
        for seed in range(_TOOL_SEED, _TOOL_SEED + seeds):
            found = stepsize.find(build(combo, seed=seed), budget=budget)
            lr = OPTIMIZERS[combo.optimizer].default_lr if found.lr is None else found.lr
            regrets.append(curves[combo].regret(lr).value)
            costs.append(found.cost.full_runs)
    return _Way(f"stepsize find, budget {budget:g}", "find", float(np.mean(costs)), tuple(regrets))


def _searched(truths: Sequence[Truth], search: str, trials: int) -> _Way:
    peer = SEARCHES[search]
    regrets = [
        replayed(peer.search, truth, trials, seed)[1]
        for truth in truths
        for seed in range(peer.repeats or truth.full.seeds)
    ]
    return _Way(f"{search}, {trials} trials", search, float(trials), tuple(regrets))


def _chart(ways: Sequence[_Way]) -> Any:
    floor = 1e-3  # a median of nothing has no place on a log axis
    costs = [0.3, 40]
    series = []
    for family in dict.fromkeys(way.family for way in ways):
        own = [way for way in ways if way.family == family]
        if family == "fixed default":
            series.append(Series("fixed default (costs nothing)", costs, [own[0].median] * 2))
        else:
            medians = [max(way.median, floor) for way in own]
            series.append(Series(family, [way.cost for way in own], medians, points=True))
    y = log_axis([floor, *(way.median for way in ways if way.median > floor)], "median regret (fraction)")
    x = log_axis(costs, "cost in full runs")
    return line_chart(series, x, y, "Median regret vs. cost, by method")
