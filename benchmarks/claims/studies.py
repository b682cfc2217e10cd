"""Which trainings the claims need beside the ground truth, and which of them are still to be made.

Seeds are never those of the truth, and those that tune never those that judge. Tuning tries rates 0.3 decades apart
until the best one has a worse neighbour on either side, with the same rule for every arm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.by_schedule import best_rate, next_rates
from benchmarks.claims.arms import CHANGES, Arm, Trial
from benchmarks.combos import OPTIMIZERS, rounded
from stepsize.optimizers import OPTIMIZERS as CATALOG
from stepsize.tasks import TASKS

__all__ = [
    "AROUND",
    "DATA",
    "DECAYS",
    "METHODS",
    "SHIFTED",
    "STUDIES_OF",
    "arm_rows",
    "due",
    "judging_seeds",
    "tuned_rate",
]

Rows = Sequence[Mapping[str, Any]]
Best = Callable[[str, str], float]  # the best rate of the truth: task, optimizer

TUNING_SEEDS = (500, 501)
JUDGING = 600
_STEP, _REACH = 0.3, 1
_MOST = 14  # rates an arm; where the best still lies at an end, the report says so
_FIRST = {"sgd": 0.3, "momentum": 0.03, "nesterov": 0.03, "rmsprop": 1e-3, "adam": 3e-3}

AROUND = ("cancer-mlp", "diabetes-regression", "shoppers-mlp", "photos-mlp")  # claims 2, 3, 4, 14
METHODS = ("digits-mlp", "cancer-mlp", "photos-mlp")  # claims 6, 8
SHIFTED = ("cancer-mlp", "diabetes-regression", "photos-mlp")  # claim 12
DECAYS = ("cancer-mlp", "diabetes-regression", "shoppers-mlp", "photos-mlp")  # claims 7, 13
DATA = ("inputs × 10", "noisy targets", "a quarter of the data", "batches of an eighth")
_SHORT, _MIDDLE = 150, 300  # updates
# Which studies answer which claim; 1, 5 and 8 have measurements of their own, and all others only the truth or records.
STUDIES_OF = {
    2: ("around",), 3: ("around", "longer"), 4: ("around",), 6: ("methods",), 7: ("decays",), 8: ("methods",),
    12: ("data",), 13: ("decays",), 14: ("around", "lasting"), 15: ("shop",),
}  # fmt: skip


def judging_seeds(count: int) -> tuple[int, ...]:
    """Return the seeds that judge."""
    return tuple(range(JUDGING, JUDGING + count))


def due(study: str, rows: Rows, best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Return the trainings of ``study`` that can be made now and are not among ``rows``; none when it is done."""
    own = [row for row in rows if row["study"] == study]
    trials = _MAKERS[study](own, best, seeds)
    done = {(r["study"], r["arm"], r["task"], r["optimizer"], r["lr"], r["seed"]) for r in own}
    return [trial for trial in trials if trial.key not in done]


def arm_rows(rows: Rows, arm: str, task: str, optimizer: str) -> list[Mapping[str, Any]]:
    """Return the rows of an arm."""
    return [row for row in rows if (row["arm"], row["task"], row["optimizer"]) == (arm, task, optimizer)]


def tuned_rate(rows: Rows, seeds: Sequence[int]) -> float | None:
    """Return the rate of the lowest mean loss over ``seeds``; None where nothing was tried with all of them."""
    means = _means(rows, seeds)
    return best_rate(means) if means else None


def _means(rows: Rows, seeds: Sequence[int]) -> dict[float, float]:
    losses: dict[float, list[float]] = {}
    for row in rows:
        if row["seed"] in seeds:
            losses.setdefault(row["lr"], []).append(math.inf if row["diverged"] else row["val"])
    return {lr: float(np.mean(values)) for lr, values in losses.items() if len(values) == len(seeds)}


def _tuned(study: str, arm: Arm, rows: Rows, seeds: Sequence[int]) -> list[Trial]:
    """Return the next trainings that tune ``arm``, and once it is tuned those that judge it."""
    means = _means(arm_rows(rows, arm.name, arm.task, arm.optimizer), TUNING_SEEDS)
    lrs = next_rates(means, _FIRST[arm.optimizer], step=_STEP, reach=_REACH)
    if lrs and len(means) < _MOST:
        return [Trial(study, arm, lr, seed) for lr in lrs for seed in TUNING_SEEDS]
    return [Trial(study, arm, best_rate(means), seed) for seed in seeds]


def _around(_rows: Rows, best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Train at fixed multiples of the truth's best rate."""
    trials = []
    for task in AROUND:
        steps = TASKS[task].steps
        for optimizer in OPTIMIZERS:
            arm = Arm("best", task, optimizer)
            lr = best(task, optimizer)
            wanted = [
                (arm, 1.0),
                (replace(arm, name="ten times"), 10.0),
                (replace(arm, name="a tenth"), 0.1),
                (replace(arm, name="erratic", control="erratic"), 1.0),
                (replace(arm, name="best, a quarter of the time", steps=steps // 4), 1.0),
            ]
            if optimizer == "momentum":
                wanted.append((replace(arm, name="a tenth, four times the time", steps=4 * steps), 0.1))
            trials += [Trial("around", a, rounded(lr * factor), seed) for a, factor in wanted for seed in seeds]
    return trials


def _lasting(_rows: Rows, best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Train with an erratic rate whose jumps last; added after the study around the best rate was seen."""
    return [
        Trial("lasting", Arm("erratic, lasting", task, optimizer, control="erratic, lasting"), lr, seed)
        for task in AROUND
        for optimizer in OPTIMIZERS
        for lr in (rounded(best(task, optimizer)),)
        for seed in seeds
    ]


def _longer(_rows: Rows, best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Train at a tenth of the best rate for ten times the time; added after four times the time was seen."""
    arms = [Arm("a tenth, ten times the time", task, "momentum", 10 * TASKS[task].steps) for task in AROUND]
    return [Trial("longer", arm, rounded(0.1 * best(arm.task, "momentum")), seed) for arm in arms for seed in seeds]


def _methods(rows: Rows, _best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Tune optimizers at a constant rate, on the tasks as they are, with noisy gradients, and drifting."""
    trials = []
    for task in METHODS:
        for name, change in (("plain", None), ("noise", "batches of an eighth"), ("drift", "drifting")):
            for optimizer in ("sgd", "momentum", "rmsprop", "adam"):
                arm = Arm(name, task, optimizer, _SHORT, "constant", change)
                trials += _tuned("methods", arm, rows, seeds)
        trials += _tuned("methods", Arm("plain", task, "nesterov", _SHORT, "constant"), rows, seeds)
        crossed = tuned_rate(arm_rows(rows, "plain", task, "sgd"), seeds)
        if crossed is not None:
            trials += [
                Trial("methods", Arm("at SGD's rate", task, optimizer, _SHORT, "constant"), crossed, seed)
                for optimizer in ("momentum", "nesterov")
                for seed in seeds
            ]
    return trials


def _decays(rows: Rows, _best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Tune schedules, and a rate that halves on plateaus."""
    trials = []
    for task in DECAYS:
        for name in ("constant", "linear", "exponential", "step", "plateau"):
            plateau = name == "plateau"
            arm = Arm(name, task, "momentum", _MIDDLE, "constant" if plateau else name)
            trials += _tuned("decays", replace(arm, control="plateau") if plateau else arm, rows, seeds)
    return trials


def _data(rows: Rows, _best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Find the best rate of each seed, with one thing changed about the data."""
    trials = []
    for task in SHIFTED:
        for change in (None, *DATA):
            arm = Arm(change or "as they are", task, "momentum", _SHORT, change=change)
            means = _means(arm_rows(rows, arm.name, task, "momentum"), seeds)
            lrs = next_rates(means, _FIRST["momentum"], step=_STEP, reach=2)
            lrs = lrs if len(means) < _MOST else []
            trials += [Trial("data", arm, lr, seed) for lr in lrs for seed in seeds]
    return trials


def _shop(_rows: Rows, best: Best, seeds: Sequence[int]) -> list[Trial]:
    """Train the web visits at the tuned rate and at the optimizer's default."""
    return [
        Trial("shop", Arm(name, "shoppers-mlp", optimizer), lr, seed)
        for optimizer in OPTIMIZERS
        for name, lr in (("best", best("shoppers-mlp", optimizer)), ("default", CATALOG[optimizer].default_lr))
        for seed in seeds
    ]


_MAKERS = {
    "around": _around, "lasting": _lasting, "longer": _longer, "methods": _methods, "decays": _decays, "data": _data,
    "shop": _shop,
}  # fmt: skip

assert set(DATA) <= set(CHANGES)
