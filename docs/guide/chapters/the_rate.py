"""Chapter 1: what one update does, for SGD and for Adam, and what the best rate for one update is worth."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from docs.guide.charts import Series, Upright, line_chart, log_axis, plain_axis
from docs.guide.measuring import Effort, Measured, decades, difference_text, pairs, small_task, table, trained
from numpy.typing import NDArray
from torch import Tensor, nn

from stepsize.optimizers import OPTIMIZERS
from stepsize.training import Task
from stepsize.training.position import preserved
from stepsize.views import number_text

_TRUSTED = 0.1  # share by which the real change may miss the predicted one
_LOUDER = 1000.0


@dataclass(frozen=True, eq=False)
class _Update:
    """One update at many rates, from one start on one batch."""

    gradient: float
    before: float
    after: NDArray[np.float64]
    moved: NDArray[np.float64]


def measure(effort: Effort) -> Measured:
    """Make single updates at many rates, and whole trainings at the rates that they would choose."""
    task = small_task("digits", steps=effort(200, 20))
    lrs, seeds = decades(1e-3, 30, effort(10, 3)), range(effort(8, 2))
    updates = [_update(task, "sgd", lrs, seed) for seed in seeds]
    predicted = np.mean([-np.asarray(lrs) * one.gradient**2 for one in updates], axis=0)
    change = np.mean([one.after - one.before for one in updates], axis=0)
    greedy = lrs[int(np.argmin(change))]
    even = next((lr for lr, value in zip(lrs, change, strict=True) if lr > greedy and value > 0), lrs[-1])
    kept = itertools.takewhile(lambda row: row[1] / row[2] > 1 - _TRUSTED, zip(lrs, change, predicted, strict=True))
    trusted = max((lr for lr, _, _ in kept), default=lrs[0])
    grid = trained(task, decades(0.01, 10, effort(5, 2)), seeds)
    at_greedy = trained(task, (greedy,), seeds)
    lost = pairs(at_greedy.losses(greedy), grid.losses(grid.best()))
    length = max(abs(m / (lr * one.gradient) - 1) for one in updates for lr, m in zip(lrs, one.moved, strict=True))
    louder = {name: _louder(task, name, list(seeds)) for name in ("sgd", "adam")}
    return Measured(
        gist=f"It scales the step. The first-order prediction of the gradient holds up to {number_text(trusted)} here. "
        f"The rate that lowers the loss most in one step is {number_text(greedy)}; the best rate for the whole run is "
        f"{number_text(grid.best())}.",
        numbers={
            "length_error": length,
            "louder_sgd": louder["sgd"],
            "louder_adam": louder["adam"],
            "trusted": trusted,
            "greedy": greedy,
            "break_even": even,
            "best": grid.best(),
            "greedy_regret": lost.value,
        },
        blocks={
            "step": f"For SGD, the norm of the step ÷ (rate × norm of the gradient) was 1 at all {len(lrs)} rates and "
            f"{len(updates)} seeds, to within {length:.0e}. Then the loss was multiplied by {_LOUDER:g}, which does "
            f"not change the problem. SGD's first step became {number_text(louder['sgd'])} times as large, Adam's "
            f"{number_text(louder['adam'], 4)} times. Adam divides by the size of the gradient, so its learning rate "
            "is roughly how far each weight moves.",
            "change": table(
                ("learning rate of the single step", "loss of that batch"),
                (
                    (f"up to {number_text(trusted)}", f"falls as the gradient predicts, to within {_TRUSTED:.0%}"),
                    (number_text(greedy), f"falls most: by {number_text(-float(change.min()))}"),
                    (f"{number_text(even)} and above", "is higher than before"),
                ),
            ),
            "greedy": f"Over {task.horizon} steps the best constant rate was {number_text(grid.best())}, "
            f"{number_text(grid.best() / greedy)} times the rate that is best for a single step. With that greedy "
            f"rate, {at_greedy.diverged(greedy)} of {len(seeds)} runs diverged. The mean final loss was "
            f"{difference_text(lost, 'at the best rate')} (a diverged run counts with the loss at initialization).",
        },
        figures={"one-update": (_chart(lrs, change, predicted, greedy),)},
    )


def _update(task: Task, optimizer: str, lrs: tuple[float, ...], seed: int, louder: float = 1.0) -> _Update:
    after, moved = [], []
    before = gradient = 0.0
    for lr in lrs:
        with preserved(seed=seed):
            model, batch = task.model(), next(iter(task.train))
            start = _flat(model)
            stepper = OPTIMIZERS[optimizer].make(model.parameters(), lr)
            loss = louder * task.compute_loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            before, gradient = float(loss.detach()), float(_flat(model, of_gradient=True).norm())
            stepper.step()
            moved.append(float((_flat(model) - start).norm()))
            with torch.no_grad():
                after.append(louder * float(task.compute_loss(model, batch)))
    return _Update(gradient, before, np.asarray(after), np.asarray(moved))


def _flat(model: nn.Module, *, of_gradient: bool = False) -> Tensor:
    parts: list[Any] = [weight.grad if of_gradient else weight for weight in model.parameters()]
    return torch.cat([part.detach().double().flatten() for part in parts])


def _louder(task: Task, optimizer: str, seeds: list[int]) -> float:
    """Return how many times longer the first step becomes when the loss is multiplied."""
    ratios = [
        _update(task, optimizer, (1e-3,), seed, _LOUDER).moved[0] / _update(task, optimizer, (1e-3,), seed).moved[0]
        for seed in seeds
    ]
    return float(np.mean(ratios))


def _chart(lrs: tuple[float, ...], change: NDArray[np.float64], predicted: NDArray[np.float64], greedy: float) -> Any:
    span = -float(change.min())
    y = plain_axis([-1.6 * span, 1.2 * span], "change of the batch loss", may_log=False)
    series = (Series("measured after one step", lrs, change), Series("predicted by the gradient", lrs, predicted))
    return line_chart(
        series,
        log_axis(lrs),
        y,
        "Change of the loss in one step vs. learning rate",
        uprights=[Upright(greedy, "falls most", left=True)],
        columns=1,
    )
