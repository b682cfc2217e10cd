"""Chapter 4: what five optimizers reach, each at its own rate, and how far their best rates lie apart."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, line_chart, log_axis, plain_axis
from docs.guide.measuring import (
    SMALL,
    Effort,
    Measured,
    Tuned,
    change_text,
    decades,
    difference_text,
    pairs,
    per_cent,
    small_task,
    table,
    tuned,
)  # fmt: skip

from stepsize.optimizers import OPTIMIZERS
from stepsize.training import Task, TensorBatches
from stepsize.views import number_text

_RANGES = {"sgd": (1e-4, 30), "momentum": (1e-4, 3), "adagrad": (1e-4, 3), "rmsprop": (1e-5, 0.3), "adam": (1e-5, 0.3)}
_GOOD = 0.1  # excess that still counts as good
_DEFAULT = 1e-3
_COMPARED = ("sgd", "adagrad", "adam")  # on skewed columns
_SKEWED = 1.5  # decades to each side by which the columns are rescaled


def measure(effort: Effort) -> Measured:
    """Tune every optimizer on every task, and once more with columns of unequal scale."""
    steps = effort(200, 20)
    found = {
        (task, name): _tuned(small_task(task, name, steps=steps), name, effort) for task in SMALL for name in _RANGES
    }
    skewed = {
        (task, name): _tuned(_skewed(small_task(task, name, steps=steps)), name, effort)
        for task in SMALL
        for name in _COMPARED
    }
    spread = {name: _spread([found[task, name].lr for task in SMALL]) for name in _RANGES}
    harm = {key: pairs(one.losses, found[key].losses) for key, one in skewed.items()}
    moved = {key: found[key].lr / one.lr for key, one in skewed.items()}
    most = {name: max(max(moved[task, name], 1 / moved[task, name]) for task in SMALL) for name in _COMPARED}
    default = {task: _default(found[task, "adam"]) for task in SMALL}
    against = {task: pairs(found[task, "adam"].losses, found[task, "momentum"].losses) for task in SMALL}
    clear = [task for task in SMALL if against[task].clear]
    leads = ", ".join(f"{task}: {difference_text(against[task], 'momentum')}" for task in SMALL)
    worst = max(default, key=lambda task: default[task])
    return Measured(
        gist=f"No. Across three tasks the best rates of SGD differ by a factor of {number_text(spread['sgd'], 2)}, "
        f"those of Adam by {number_text(spread['adam'], 2)}. At its default rate, Adam ends up to "
        f"{per_cent(default[worst])} above its best. Each at its own best rate, Adam and SGD with momentum differ by "
        f"more than the noise on {len(clear)} of {len(SMALL)} tasks.",
        numbers={
            **{f"spread_{name}": value for name, value in spread.items()},
            **{f"harm_{task}_{name}": value.value for (task, name), value in harm.items()},
            **{f"moved_{task}_{name}": value for (task, name), value in moved.items()},
            **{f"default_adam_{task}": value for task, value in default.items()},
            **{f"adam_against_momentum_{task}": value.value for task, value in against.items()},
        },
        blocks={
            "tuned": table(
                ("optimizer", *SMALL),
                [(_title(name), *(str(found[task, name].mean) for task in SMALL)) for name in _RANGES],
            )
            + f"\n\nAdam against SGD with momentum, seed by seed: {leads}.",
            "rates": table(
                (
                    "optimizer",
                    *(f"best rate, {task}" for task in SMALL),
                    "highest ÷ lowest",
                    f"range within {_GOOD:.0%} of the best",
                ),
                [
                    (
                        _title(name),
                        *(number_text(found[task, name].lr) for task in SMALL),
                        f"{number_text(spread[name], 2)} ×",
                        f"{number_text(float(np.median([_width(found[task, name]) for task in SMALL])), 2)} decades",
                    )
                    for name in _RANGES
                ],
            ),
            "default": f"Final loss of Adam at its default rate of {_DEFAULT:g}, relative to its best rate: "
            + ", ".join(f"{task} {per_cent(value, sign=True)}" for task, value in default.items())
            + ".",
            "skewed": table(
                ("optimizer", *SMALL),
                [
                    (
                        _title(name),
                        *(f"÷ {number_text(moved[task, name], 2)}; {change_text(harm[task, name])}" for task in SMALL),
                    )
                    for name in _COMPARED
                ],
            )
            + f"\n\nThe best rate of SGD moved by a factor of up to {number_text(most['sgd'], 2)}, that of Adagrad by "
            f"up to {number_text(most['adagrad'], 2)} and that of Adam by up to {number_text(most['adam'], 2)}.",
        },
        figures={"fixed-or-adaptive": (_chart({name: found["digits", name] for name in _RANGES}),)},
    )


def _tuned(task: Task, name: str, effort: Effort) -> Tuned:
    return tuned(task, decades(*_RANGES[name], effort(4, 1)), effort)


def _skewed(task: Task) -> Task:
    """Return ``task`` with each input column multiplied by a factor of its own."""
    assert isinstance(task.train, TensorBatches)
    assert isinstance(task.val, TensorBatches)
    width = task.train.tensors[0].shape[1]
    generator = torch.Generator().manual_seed(0)
    factors = 10 ** (_SKEWED * (2 * torch.rand(width, generator=generator) - 1))
    parts = {
        name: replace(batches, tensors=(batches.tensors[0] * factors, *batches.tensors[1:]))
        for name, batches in (("train", task.train), ("val", task.val))
    }
    return replace(task, **parts, name=f"{task.name}, skewed")  # type: ignore[arg-type]


def _title(name: str) -> str:
    return OPTIMIZERS[name].title


def _spread(lrs: list[float]) -> float:
    return max(lrs) / min(lrs)


def _width(one: Tuned) -> float:
    low, high = one.grid.basin(_GOOD)
    return math.log10(high / low)


def _default(adam: Tuned) -> float:
    """Return the excess of the default rate over the best one; by the nearest rate that was tried."""
    near = min(adam.grid.lrs, key=lambda lr: abs(math.log(lr / _DEFAULT)))
    means = adam.grid.means()
    return float(means[adam.grid.lrs.index(near)] / means.min() - 1)


def _chart(found: dict[str, Tuned]) -> Any:
    series = [
        Series(_title(name), one.grid.lrs, one.grid.means() / one.grid.means().min()) for name, one in found.items()
    ]
    y = plain_axis([1, 3], "loss ÷ lowest loss", may_log=False)
    lrs = [lr for one in found.values() for lr in one.grid.lrs]
    return line_chart(series, log_axis(lrs), y, "Loss vs. learning rate, by optimizer: digits")
