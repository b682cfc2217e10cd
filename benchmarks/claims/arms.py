"""What is trained: a built-in task with an optimizer, a horizon, a schedule, and one thing changed about its data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.by_schedule import COMPARED
from benchmarks.drifting import drifting
from stepsize.tasks import TASKS, build_task
from stepsize.training import Task, TensorBatches

__all__ = ["CHANGES", "Arm", "Trial", "built"]

_TURNS = 0.25
_WRONG = 0.3  # share of labels that noise replaces


@dataclass(frozen=True)
class Arm:
    """One way of training.

    Attributes:
        name: What a study calls it.
        task: A built-in task.
        optimizer: A name of the catalog.
        steps: The horizon in updates; None is the task's own.
        schedule: A key of ``by_schedule.COMPARED``.
        change: A key of ``CHANGES``, what is different about the data.
        control: Who else moves the rate: ``erratic`` multiplies each update's rate by a random factor, ``erratic,
            lasting`` does so for a twentieth of the training at a time, ``plateau`` halves it when one half of the
            unseen data makes no more progress.
    """

    name: str
    task: str
    optimizer: str
    steps: int | None = None
    schedule: str = "cosine"
    change: str | None = None
    control: str | None = None


@dataclass(frozen=True)
class Trial:
    """One training of an arm, in a study."""

    study: str
    arm: Arm
    lr: float
    seed: int

    @property
    def key(self) -> tuple[str, str, str, str, float, int]:
        """What it is a run of."""
        return self.study, self.arm.name, self.arm.task, self.arm.optimizer, self.lr, self.seed


def _scaled(task: Task) -> Task:
    return _with(task, lambda data, _: (10 * data[0], *data[1:]), unseen=True)


def _mislabelled(task: Task) -> Task:
    return _with(task, _noise)


def _noise(data: tuple[Tensor, ...], draw: torch.Generator) -> tuple[Tensor, ...]:
    target = data[-1]
    if target.is_floating_point():
        return *data[:-1], target + target.std() * torch.randn(target.shape, generator=draw)
    wrong = torch.rand(target.shape, generator=draw) < _WRONG
    return *data[:-1], torch.where(wrong, target[torch.randperm(len(target), generator=draw)], target)


def _quarter(task: Task) -> Task:
    return _with(task, lambda data, _: tuple(part[: len(part) // 4] for part in data))


def _small_batches(task: Task) -> Task:
    assert isinstance(task.train, TensorBatches)
    return _replaced(task, train=dataclasses.replace(task.train, batch_size=max(1, task.train.batch_size // 8)))


CHANGES: dict[str, Callable[[Task], Task]] = {
    "inputs × 10": _scaled,
    "noisy targets": _mislabelled,
    "a quarter of the data": _quarter,
    "batches of an eighth": _small_batches,
    "drifting": lambda task: drifting(task, _TURNS),
}


@cache
def built(arm: Arm) -> Task:
    """Return the task of ``arm``."""
    folder = os.environ.get("STEPSIZE_DATA")
    steps = TASKS[arm.task].steps if arm.steps is None else arm.steps
    task = build_task(arm.task, optimizer=arm.optimizer, data=Path(folder) if folder else None, steps=steps)
    task = _replaced(task, schedule=COMPARED[arm.schedule])
    return CHANGES[arm.change](task) if arm.change else task


def _with(
    task: Task, change: Callable[[tuple[Tensor, ...], torch.Generator], tuple[Tensor, ...]], *, unseen: bool = False
) -> Task:
    """Return ``task`` with other training data, and unseen data changed likewise where asked."""
    draw = torch.Generator().manual_seed(0)
    parts = {name: getattr(task, name) for name in (("train", "val") if unseen else ("train",))}
    return _replaced(
        task, **{name: dataclasses.replace(p, tensors=change(p.tensors, draw)) for name, p in parts.items()}
    )


def _replaced(task: Task, **parts: Any) -> Task:
    # The schedule as it was given: the settled one would be settled twice.
    return dataclasses.replace(task, **{"schedule": task.given_schedule, "epochs": None} | parts)
