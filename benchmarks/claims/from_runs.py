"""What the trainings of the studies say: claims 2 to 4, 6 to 8 and 12 to 15."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.claims.effects import Check, Effect, Part, Scale, Unit, Wanted, log_ratio, paired
from benchmarks.claims.from_truth import labels_of
from benchmarks.claims.landscapes import FUNCTIONS
from benchmarks.claims.studies import AROUND, DATA, DECAYS, JUDGING, METHODS, SHIFTED, arm_rows
from benchmarks.claims.updates import FIXED, UPDATE_OPTIMIZERS, UPDATE_TASKS
from benchmarks.combos import OPTIMIZERS

__all__ = ["against", "best_rates", "compared", "data_parts", "update_part"]

Rows = Sequence[Mapping[str, Any]]
Way = tuple[str, str]  # arm, optimizer

_LEAST_SEEDS = 5
_GRID = 0.3 + 0.01  # decades between two rates that a parabola may span
PAIRS = (("rmsprop", "sgd"), ("adam", "momentum"))  # adaptive, fixed: like with like
_NAMES = {  # of figures, as they are read
    "val": "validation loss",
    "odd": "loss on the other half",
    "overshoot": "steps that overshoot",
    "wobble": "wobble",
    "auc": "area under ROC",
    "slope": "d log(length) / d log(rate)",
    "off": "deviation from lr · gradient",
    "spread": "spread in decades",
    "rank": "rank correlation",
}
DECAYED = ("linear", "exponential", "step")


def compared(rows: Rows, task: str, way: Way, other: Way, figure: str) -> Effect | None:
    """Return the effect of ``way`` against ``other`` on the judging seeds that both have; None below five of them.

    Losses are compared as logarithms, shares (``overshoot``, ``auc``) as differences.
    """
    values, others = (_by_seed(rows, task, *one, figure) for one in (way, other))
    seeds = sorted(values.keys() & others.keys())
    if len(seeds) < _LEAST_SEEDS:
        return None
    between = paired if figure in ("overshoot", "auc") else log_ratio
    return between([values[seed] for seed in seeds], [others[seed] for seed in seeds])


def _by_seed(rows: Rows, task: str, arm: str, optimizer: str, figure: str) -> dict[int, float]:
    own = [row for row in arm_rows(rows, arm, task, optimizer) if row["seed"] >= JUDGING]
    assert len({row["lr"] for row in own}) <= 1, f"{arm} on {task} was judged at several rates"
    return {row["seed"]: row[figure] for row in own if row[figure] is not None}


def against(rows: Rows, part: str, places: Sequence[tuple[str, Way, Way]], figure: str, wanted: Wanted) -> Part:
    """Return the part that compares two ways at each place (task, way, other way)."""
    scale: Scale = "share" if figure in ("overshoot", "auc") else "ratio"
    several = len({_contrast(way, other) for _, way, other in places}) > 1
    units = []
    for task, way, other in places:
        effect = compared(rows, task, way, other, figure)
        if effect is not None:
            what = _contrast(way, other)
            title = f"{task}: {what}" if several else f"{task}, {way[1]}"
            labels = (*labels_of(task, way[1]), *([what] if several else []))
            units.append(
                Unit(title, (Check(f"{_NAMES[figure]}, {what}", effect, wanted, 0.0, scale),), labels, (task,))
            )
    return Part(part, tuple(units))


def _contrast(way: Way, other: Way) -> str:
    return f"{way[1]} / {other[1]}" if way[0] == other[0] else f"{way[0]} / {other[0]}"


def around(way: str, other: str, optimizers: Sequence[str] = OPTIMIZERS) -> list[tuple[str, Way, Way]]:
    """Return the places of the study around the best rate."""
    return [(task, (way, optimizer), (other, optimizer)) for task in AROUND for optimizer in optimizers]


def adaptive(condition: str) -> list[tuple[str, Way, Way]]:
    """Return the places of claim 6 under a condition."""
    return [(task, (condition, fast), (condition, slow)) for task in METHODS for fast, slow in PAIRS]


def momentum(arm: str, other: Way | None = None) -> list[tuple[str, Way, Way]]:
    """Return the places of claim 8: both forms against ``other``, or against themselves at their own rate."""
    forms = ("momentum", "nesterov")
    return [(task, (arm, form), other or ("plain", form)) for task in METHODS for form in forms]


def decays(ways: Sequence[str], other: str) -> list[tuple[str, Way, Way]]:
    """Return the places of claims 7 and 13."""
    return [(task, (way, "momentum"), (other, "momentum")) for task in DECAYS for way in ways]


def schedules_record(by_task: Sequence[tuple[str, Mapping[str, Sequence[float]]]]) -> tuple[Unit, ...]:
    """Return the units of claim 7 from the record of ``by-schedule``: final losses by schedule on each task."""
    units = []
    for name, losses in by_task:
        task, _, optimizer = name.partition(", ")
        for way in DECAYED:
            effect = log_ratio(losses[way], losses["constant"])
            what = f"{way} / constant"
            labels = (*labels_of(task, optimizer), what)
            units.append(
                Unit(f"{name} (full): {what}", (Check(f"validation loss, {what}", effect, "below"),), labels, (task,))
            )
    return tuple(units)


def landscape_part(rows: Rows, part: str) -> Part:
    """Return the part of claim 8 about local minima."""
    units = []
    for name in FUNCTIONS:
        shares = {
            momentum: [row["share"] for row in rows if row["task"] == name and row["momentum"] == momentum]
            for momentum in (0.0, 0.9)
        }
        if len(shares[0.0]) >= _LEAST_SEEDS:
            effect = paired(shares[0.9], shares[0.0])
            units.append(
                Unit(
                    name, (Check("starts that end in the lowest minimum", effect, "above", 0.0, "share"),), (), (name,)
                )
            )
    return Part(part, tuple(units))


def update_part(rows: Rows, part: str, optimizers: Sequence[str], wanted: Sequence[tuple[str, Wanted, float]]) -> Part:
    """Return a part of claim 1 or 5: figures of single updates, each with where it must lie."""
    units = []
    for task, optimizer in itertools.product(UPDATE_TASKS, optimizers):
        own = [row for row in rows if (row["task"], row["optimizer"]) == (task, optimizer)]
        if len(own) >= _LEAST_SEEDS:
            tests = tuple(
                Check(_NAMES[figure], paired([row[figure] for row in own]), where, threshold, "number")
                for figure, where, threshold in wanted
            )
            units.append(Unit(f"{task}, {optimizer}", tests, labels_of(task, optimizer), (task,)))
    return Part(part, tuple(units))


def update_parts(rows: Rows, claim: int, names: Sequence[str]) -> tuple[Part, ...]:
    """Return the parts of claims 1 and 5."""
    adaptive_ones = [name for name in UPDATE_OPTIMIZERS if name not in (FIXED, "momentum")]
    if claim == 1:
        return (
            update_part(rows, names[0], UPDATE_OPTIMIZERS, (("slope", "above", 0.99), ("slope", "below", 1.01))),
            update_part(rows, names[1], [FIXED], (("off", "below", 0.01),)),
        )
    return (
        update_part(rows, names[0], adaptive_ones, (("spread", "above", 0.3),)),
        update_part(rows, names[1], adaptive_ones, (("rank", "below", -0.5),)),
        update_part(rows, names[2], [FIXED], (("spread", "below", 0.01),)),
    )


def best_rates(rows: Rows) -> dict[int, float]:
    """Return log10 of each seed's best rate: the lowest of the grid, or the parabola through it and its neighbours."""
    losses: dict[int, dict[float, float]] = {}
    for row in rows:
        losses.setdefault(row["seed"], {})[row["lr"]] = row["val"]
    return {seed: _lowest(of) for seed, of in losses.items()}


def _lowest(losses: Mapping[float, float]) -> float:
    rates = sorted(losses)
    x, y = np.log10(rates), np.log([losses[lr] for lr in rates])
    at = int(np.argmin(y))
    if not 0 < at < len(x) - 1 or x[at + 1] - x[at - 1] > 2 * _GRID:
        return float(x[at])
    below, above = y[at - 1] - y[at], y[at + 1] - y[at]
    width = (x[at + 1] - x[at - 1]) / 2
    return float(x[at] + width * (below - above) / (2 * max(below + above, math.ulp(1.0))))


def data_parts(rows: Rows, names: Sequence[str]) -> tuple[Part, ...]:
    """Return the parts of claim 12: by how much the best rate moves with each change."""
    parts = []
    for name, change in zip(names, DATA, strict=True):
        units = []
        for task in SHIFTED:
            before, after = (best_rates(arm_rows(rows, arm, task, "momentum")) for arm in ("as they are", change))
            seeds = sorted(before.keys() & after.keys())
            if len(seeds) >= _LEAST_SEEDS:
                effect = paired([after[seed] for seed in seeds], [before[seed] for seed in seeds])
                test = Check(f"best rate, {change}", effect, "apart", 0.0, "decades")
                units.append(Unit(task, (test,), labels_of(task, "momentum"), (task,)))
        parts.append(Part(name, tuple(units)))
    return tuple(parts)
