"""Batches without a finite loss at any rate: NaN for the untrained model already, though their numbers are finite."""

from __future__ import annotations

import math
import warnings
from typing import Any
from weakref import WeakKeyDictionary

import torch

from stepsize.training.batches import holds_non_finite, to_device
from stepsize.training.position import preserved
from stepsize.training.task import Task

_TOLD: WeakKeyDictionary[Task, set[str]] = WeakKeyDictionary()


def left_out(task: Task, batch: Any, argument: str, number: int) -> bool:
    """Return whether ``batch`` has no finite loss at initialization either (all labels ignored, say); tell so once."""
    if holds_non_finite(batch) or math.isfinite(_untrained_loss(task, batch)):
        return False
    tell_once(
        task,
        argument,
        f"batch {number} of {argument} has no finite loss, at initialization neither, though its numbers "
        "are finite (are all of its labels ignored?): such batches are left out",
    )
    return True


def tell_once(task: Task, subject: str, text: str) -> None:
    """Warn of something once for each task."""
    told = _TOLD.setdefault(task, set())
    if subject not in told:
        told.add(subject)
        warnings.warn(text, UserWarning, stacklevel=3)


def _untrained_loss(task: Task, batch: Any) -> float:
    from stepsize.training.stepping import build_model

    device = torch.device(task.device or "cpu")
    with preserved(seed=task.seed), torch.no_grad():
        return float(task.compute_loss(build_model(task), to_device(batch, device)))
