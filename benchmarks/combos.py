"""What is measured: built-in tasks × optimizers, and which of them the finder may be designed on."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from stepsize.training import Task

__all__ = [
    "DESIGN",
    "GRID",
    "HELD_OUT",
    "MIDPOINT_REACH",
    "OPTIMIZERS",
    "TOOL_SEEDS",
    "TRUTH_SEEDS",
    "Combo",
    "all_combos",
    "build",
    "midpoints",
    "rounded",
]

OPTIMIZERS = ("momentum", "adamw")

# The finder's rules and constants were chosen by looking at these …
DESIGN = ("digits-mlp", "digits-autoencoder", "cancer-mlp", "docs-chars-mlp", "docs-chars-gpt", "shoppers-mlp")
# … and until short runs were recorded, nobody had looked at those of these. The verdict is still not tuned on them.
HELD_OUT = ("digits-cnn", "diabetes-regression", "photos-mlp", "docs-chars-gru", "mnist-cnn", "shakespeare-gpt")

TRUTH_SEEDS = (0, 1, 2, 3, 4)
# Other seeds than the truth's: a tool is not to be judged by the very trainings that it has seen.
TOOL_SEEDS = (100, 101, 102)

_LOWEST, _DECADES_APART, _RATES = -5.0, 0.3, 21
MIDPOINT_REACH = 0.6  # decades around the best rate in which the grid is twice as dense


def rounded(value: float) -> float:
    """Return ``value`` with six significant digits: how every number is kept in the caches."""
    return float(f"{value:.6g}")


GRID = tuple(rounded(10 ** (_LOWEST + _DECADES_APART * k)) for k in range(_RATES))  # 1e-5 … 10


def midpoints(best: float) -> tuple[float, ...]:
    """Return the rates half-way between those of the grid within MIDPOINT_REACH decades around ``best``."""
    halves = (_LOWEST + _DECADES_APART * (k + 0.5) for k in range(_RATES - 1))
    return tuple(rounded(10**half) for half in halves if abs(half - math.log10(best)) <= MIDPOINT_REACH + 1e-6)


@dataclass(frozen=True, order=True)
class Combo:
    """One built-in task with one optimizer."""

    task: str
    optimizer: str

    @property
    def name(self) -> str:
        return f"{self.task}__{self.optimizer}"

    @property
    def held_out(self) -> bool:
        return self.task in HELD_OUT


def all_combos(tasks: Iterable[str] = ()) -> tuple[Combo, ...]:
    """Return every combo, or those of ``tasks`` (names, "design", "held-out"), in the order of the lists above."""
    names = DESIGN + HELD_OUT
    groups = {"design": DESIGN, "held-out": HELD_OUT}
    wanted = tuple(name for given in tasks for name in groups.get(given, (given,))) or names
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise SystemExit(f"not among the tasks measured here: {', '.join(unknown)}; known: {', '.join(names)}")
    return tuple(Combo(name, optimizer) for name in names if name in wanted for optimizer in OPTIMIZERS)


def build(combo: Combo, *, seed: int = 0) -> Task:
    """Return the task of ``combo``, to be run under ``seed``."""
    task = _built(combo)
    # The horizon is settled, so epochs must not be given a second time.
    return task if seed == task.seed else dataclasses.replace(task, seed=seed, epochs=None)


@cache
def _built(combo: Combo) -> Task:
    from stepsize.tasks import build_task

    folder = os.environ.get("STEPSIZE_DATA")
    return build_task(combo.task, optimizer=combo.optimizer, data=Path(folder) if folder else None)
