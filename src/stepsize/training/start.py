"""What is known of a task before any training: how much data there are, what the untrained model reaches, the price."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.training.batches import Stream, TensorBatches, count_examples, length_of, map_tensors, to_device
from stepsize.training.border import undisturbed
from stepsize.training.digest import digest
from stepsize.training.evaluate import autocast, bounded, evaluate
from stepsize.training.stepping import build_model
from stepsize.training.task import Task

__all__ = ["Start", "look_at_start"]

_VAL_SHARE = 0.15  # of the work of a short run, for judging it
_PASSES = 3.0  # that one update counts: a backward pass is two forward ones


@dataclass(frozen=True)
class Start:
    """What is known of a task before any training.

    Attributes:
        judged: What the untrained model reaches, lower is better.
        val_examples: How many examples of unseen data there are; 0 without any.
        batch_size: Examples a batch of training data.
        batches: Of a full training: updates times batches an update.
        horizon: The horizon, in updates.
        fingerprint: A digest of the initial weights and the first batch: another task has another.
    """

    judged: float
    val_examples: int
    batch_size: int
    batches: int
    horizon: int
    fingerprint: str = ""

    @property
    def full_passes(self) -> float:
        """The work of one full training with its evaluation, in forward passes of a batch."""
        return _PASSES * self.batches + self.val_examples / self.batch_size

    def price(self, steps: int) -> float:
        """Return the cost of a run of ``steps`` updates with its evaluation, in trainings."""
        return (_PASSES * self._taken(steps) + self.val_passes(steps)) / self.full_passes

    def val_limit(self, steps: int | None) -> int | None:
        """Return how many unseen examples judge a run of ``steps`` updates; None (all) at the full horizon.

        Where ``steps`` is None: how many judge the untrained model.
        """
        if steps is not None and steps >= self.horizon:
            return None
        batches = self._taken(steps or max(1, self.horizon // 16))
        return max(1, int(_VAL_SHARE * _PASSES * batches * self.batch_size))

    def val_passes(self, steps: int | None) -> float:
        """Return the work of judging a run of ``steps`` updates, in forward passes of a batch."""
        limit = self.val_limit(steps)
        return (self.val_examples if limit is None else min(limit, self.val_examples)) / self.batch_size

    def _taken(self, steps: int) -> float:
        return steps * self.batches / self.horizon


def look_at_start(task: Task, seed: int) -> Start:
    """Look at the data and the untrained model of ``task``; generators and data positions stay as they were.

    Args:
        task: What is to be trained.
        seed: Of the initial weights.

    Raises:
        TaskError: If the parts of the task do not fit together.
    """
    with undisturbed(task, seed):
        return _look(task)


def _look(task: Task) -> Start:
    model = build_model(task)
    first = next(Stream(task.train))
    size = max(1, count_examples(first))
    tensors: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(first, collect)
    bare = Start(
        judged=math.nan,
        val_examples=_count_unseen(task),
        batch_size=size,
        batches=task.accumulate * task.horizon,
        horizon=task.horizon,
        fingerprint=digest({**model.state_dict(), "batch": tensors}),
    )
    if task.val is None:
        return replace(bare, judged=_first_loss(task, model, first))
    evaluation = evaluate(task, model, step=0, examples=bare.val_limit(None)).evaluation
    return replace(bare, judged=evaluation.judged(task.judge, maximize=task.maximize))


def _count_unseen(task: Task) -> int:
    if task.val is None:
        return 0
    if isinstance(task.val, TensorBatches):
        return len(task.val.tensors[0])
    batches = length_of(task.val)
    if batches is not None:
        return batches * count_examples(next(iter(task.val), None))
    return sum(count_examples(batch) for batch in bounded(task.val))


def _first_loss(task: Task, model: nn.Module, batch: Any) -> float:
    with torch.no_grad(), autocast(task):
        batch = to_device(batch, torch.device(task.device or "cpu"))
        loss = task.compute_loss(model, batch)
    return float(loss.mean()) if isinstance(loss, Tensor) else math.nan  # the first update will name what is wrong
