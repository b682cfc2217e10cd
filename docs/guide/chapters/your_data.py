"""Chapter 10: how scale, label noise, batch size and the number of rows move the best rate, for SGD and for Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, line_chart, log_axis
from docs.guide.measuring import Effort, Mean, Measured, Tuned, decades, small_task, table, tuned
from torch import Tensor

import stepsize
from stepsize import Conditions
from stepsize.training import Changes, Task, TensorBatches
from stepsize.views import number_text

_OPTIMIZERS = {"sgd": (0.01, 30), "adam": (3e-4, 0.3)}
_TITLES = {"sgd": "SGD", "adam": "Adam"}
_SCALES = (0.1, 1.0, 10.0)
_WRONG = (0.0, 0.2, 0.4)
_BATCHES = (8, 32, 128, 512)
_SHARES = (0.125, 0.25, 0.5, 1.0)
_BATCH = 128


def measure(effort: Effort) -> Measured:
    """Tune the rate of SGD and of Adam after each change of the data."""
    steps = effort(200, 20)
    found: dict[str, dict[str, dict[float, Tuned]]] = {"scale": {}, "noise": {}, "batch": {}, "rows": {}}
    for name, span in _OPTIMIZERS.items():
        task = small_task("digits", name, steps=steps)
        lrs = decades(*span, effort(4, 1))
        found["scale"][name] = {a: tuned(_scaled(task, a), lrs, effort) for a in _few(_SCALES, effort)}
        found["noise"][name] = {a: tuned(_mislabelled(task, a), lrs, effort) for a in _few(_WRONG, effort)}
        found["batch"][name] = {
            a: tuned(task, lrs, effort, changes=Changes(batch_size=round(a))) for a in _few(_BATCHES, effort)
        }
        found["rows"][name] = {a: tuned(_fewer(task, a), lrs, effort) for a in _few(_SHARES, effort)}
    moved = {
        (what, name): _spread([one.lr for one in of.values()]) for what, by in found.items() for name, of in by.items()
    }
    powers = {(what, name): _power(found[what][name]) for what in ("scale", "batch") for name in _OPTIMIZERS}
    return Measured(
        gist=f"All that were tried. Inputs 100 times larger moved the best rate by a factor of "
        f"{number_text(moved['scale', 'sgd'], 2)} for SGD and {number_text(moved['scale', 'adam'], 2)} for Adam; batch "
        f"sizes from 8 to 512 by {number_text(moved['batch', 'sgd'], 2)} and {number_text(moved['batch', 'adam'], 2)}; "
        f"up to 40% wrong labels by {number_text(moved['noise', 'sgd'], 2)} and "
        f"{number_text(moved['noise', 'adam'], 2)}.",
        numbers={f"moved_{what}_{name}": value for (what, name), value in moved.items()}
        | {f"power_{what}_{name}": value.value for (what, name), value in powers.items()},
        blocks={
            "scale": _rows("inputs ×", found["scale"])
            + f"\n\nThe best rate is proportional to the scale to the power {powers['scale', 'sgd']} for SGD and "
            f"{powers['scale', 'adam']} for Adam.",
            "noise": _rows("wrong labels", found["noise"])
            + _fallen("noise", moved, "From no wrong labels to the most"),
            "batch": _rows("batch size", found["batch"])
            + f"\n\nThe best rate is proportional to the batch size to the power {powers['batch', 'sgd']} for SGD and "
            f"{powers['batch', 'adam']} for Adam. {_rules(found['batch'])}",
            "rows": _rows("fraction of the rows", found["rows"])
            + _fallen("rows", moved, "From the fewest rows to all rows"),
        },
        figures={"batch-size": (_chart(found["batch"]),)},
    )


def _few(values: Sequence[float], effort: Effort) -> Sequence[float]:
    return values if effort.full else values[::2]


def _scaled(task: Task, factor: float) -> Task:
    return _changed(task, lambda x, y: (x * factor, y), validation=True)


def _mislabelled(task: Task, share: float) -> Task:
    """Return ``task`` with a share of its training labels drawn at random; validation data stay clean."""
    generator = torch.Generator().manual_seed(0)

    def change(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        hit = torch.rand(len(y), generator=generator) < share
        return x, torch.where(hit, torch.randint(0, 10, y.shape, generator=generator), y)

    return _changed(task, change, validation=False)


def _fewer(task: Task, share: float) -> Task:
    return _changed(task, lambda x, y: (x[: round(share * len(x))], y[: round(share * len(y))]), validation=False)


def _changed(task: Task, change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *, validation: bool) -> Task:
    assert isinstance(task.train, TensorBatches)
    assert isinstance(task.val, TensorBatches)
    train = replace(task.train, tensors=change(*task.train.tensors))
    val = replace(task.val, tensors=change(*task.val.tensors)) if validation else task.val
    return replace(task, train=train, val=val)


def _spread(lrs: list[float]) -> float:
    return max(lrs) / min(lrs)


def _power(of: dict[float, Tuned]) -> Mean:
    """Return the power that the best rate goes with; each seed has a best rate of its own, which tells the noise."""
    logs = np.log(list(of))
    seeds = next(iter(of.values())).grid.seeds
    return Mean.of([np.polyfit(logs, np.log([one.grid.best([seed]) for one in of.values()]), 1)[0] for seed in seeds])


def _rows(head: str, by: dict[str, dict[float, Tuned]]) -> str:
    sgd, adam = by["sgd"], by["adam"]
    lines = [
        (number_text(value), sgd[value].lr, str(sgd[value].mean), adam[value].lr, str(adam[value].mean))
        for value in sorted(sgd)
    ]
    edges = [number_text(value) for value in sorted(sgd) if sgd[value].at_edge or adam[value].at_edge]
    warning = f"\n\nAt {', '.join(edges)} the best rate is at the end of the range tried." if edges else ""
    return table((head, "SGD: best rate", "validation loss", "Adam: best rate", "validation loss"), lines) + warning


def _fallen(what: str, moved: dict[tuple[str, str], float], over: str) -> str:
    sgd, adam = (number_text(moved[what, name], 2) for name in _OPTIMIZERS)
    return f"\n\n{over}, the best rates differ by a factor of {sgd} for SGD and {adam} for Adam."


def _rules(by: dict[str, dict[float, Tuned]]) -> str:
    """Hold the rules of ``translate`` against what was measured, from the batch size of the task."""
    told = []
    for name, of in by.items():
        if _BATCH not in of:
            continue
        misses = []
        for size, one in of.items():
            before, after = (Conditions(name, batch_size=round(n)) for n in (_BATCH, size))
            rule = stepsize.translate(of[_BATCH].lr, from_=before, to=after)
            assert rule.lr is not None
            misses.append(max(rule.lr / one.lr, one.lr / rule.lr))
        told.append(f"{_TITLES[name]} by at most a factor of {number_text(max(misses), 2)}")
    return (
        f"The rule of `stepsize.translate`, from {_BATCH}, missed the best rate of {' and that of '.join(told)}."
        * bool(told)
    )


def _chart(by: dict[str, dict[float, Tuned]]) -> Any:
    series = []
    for name, title, power in (("sgd", "SGD", 1.0), ("adam", "Adam", 0.5)):
        sizes = sorted(by[name])
        rates = [by[name][size].lr for size in sizes]
        middle = math.exp(float(np.mean(np.log(rates)) - power * np.mean(np.log(sizes))))
        rule = "proportional" if power == 1 else "square root"
        series.append(Series(title, sizes, rates, points=True))
        series.append(Series(rule, sizes, [middle * size**power for size in sizes]))
    y = log_axis(np.concatenate([np.asarray(one.y) for one in series]), "best learning rate")
    return line_chart(series, log_axis([6, 700], "batch size"), y, "Best learning rate vs. batch size: digits")
