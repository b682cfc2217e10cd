"""What the records of other benchmarks say: claim 9."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from benchmarks.claims.effects import LEVEL, Check, Effect, Part, Unit

__all__ = ["REPLAYED", "median_regret", "search_parts"]

GOOD = 0.10  # regret
REPLAYED = ("grid", "random", "optuna TPE")  # the searches that the statement is about
RANGE_TESTS = (
    "stepsize range_test", "torch-lr-finder", "Lightning tuner", "fastai valley", "fastai slide", "fastai steep",
    "fastai minimum", "argmin ÷ 10, raw", "argmin ÷ 10, smoothed",
)  # fmt: skip
_FINDERS = ("stepsize find", "stepsize find, budget 3")
_DRAWS = 4_000


def median_regret(regrets: Mapping[Any, Iterable[float]]) -> Effect:
    """Return the median over the places of their mean regret, with a bootstrap interval over the places."""
    means = np.asarray([np.mean(list(values)) for values in regrets.values()])
    draws = np.random.default_rng(0).integers(0, len(means), (_DRAWS, len(means)))
    medians = np.median(means[draws], axis=1)
    low, high = np.quantile(medians, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Effect(float(np.median(means)), float(low), float(high), len(means))


def search_parts(
    picks: Iterable[Mapping[str, Any]], searches: Iterable[Mapping[str, Any]], names: tuple[str, ...]
) -> tuple[Part, ...]:
    """Return the parts of claim 9: range tests, grid, random, automated; a unit a method."""
    by_tool: dict[str, dict[Any, list[float]]] = {}
    for row in picks:
        place = by_tool.setdefault(row["tool"], {}).setdefault((row["task"], row["optimizer"]), [])
        place.append(row["regret"])
    tools = {tool: _unit(tool, regrets) for tool, regrets in by_tool.items()}
    replayed: dict[str, list[Unit]] = {search: [] for search in REPLAYED}
    trials: dict[tuple[str, int], dict[Any, list[float]]] = {}
    for row in searches:
        trials.setdefault((row["search"], row["trials"]), {})[row["task"], row["optimizer"]] = row["regret"]
    for (search, count), regrets in trials.items():
        replayed[search].append(_unit(f"{search}, {count} runs", regrets, f"{count} runs"))
    automated = [*replayed["optuna TPE"], *(tools[name] for name in _FINDERS if name in tools)]
    units = ([tools[name] for name in RANGE_TESTS if name in tools], replayed["grid"], replayed["random"], automated)
    return tuple(Part(name, tuple(own)) for name, own in zip(names, units, strict=True))


def _unit(name: str, regrets: Mapping[Any, Iterable[float]], label: str | None = None) -> Unit:
    test = Check("median regret", median_regret(regrets), "below", GOOD, "percent")
    return Unit(name, (test,), (name if label is None else label,), tuple(dict.fromkeys(task for task, _ in regrets)))
