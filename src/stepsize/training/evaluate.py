"""Evaluation of a model on validation data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.errors import TaskError
from stepsize.training.batches import count_examples, length_of, part_of, to_device
from stepsize.training.losses import LossFormError
from stepsize.training.position import preserved
from stepsize.training.runs import Evaluation
from stepsize.training.task import Task
from stepsize.training.unlearnable import left_out, tell_once

_MOST_BATCHES = 10_000  # of validation data without a length: such data may be endless


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, its number of examples, and whether the model has a loss in eval mode (NaN if not)."""

    evaluation: Evaluation
    examples: int
    has_loss: bool = True


def autocast(task: Task) -> AbstractContextManager[Any]:
    """Return the autocast context of the task's precision; nothing for fp32."""
    if task.precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if task.precision == "bf16" else torch.float16
    return torch.autocast(torch.device(task.device or "cpu").type, dtype=dtype)


def loss_on(task: Task, model: nn.Module, batch: Any) -> Tensor:
    """Return the loss of ``model`` on ``batch``, on the device and in the precision of the task."""
    batch = to_device(batch, torch.device(task.device or "cpu"))
    with autocast(task):
        return task.compute_loss(model, batch)


def mean_loss(task: Task, model: nn.Module, batches: Iterable[Any]) -> Tensor:
    """Return the mean loss of ``model`` on several batches."""
    return torch.stack([loss_on(task, model, batch) for batch in batches]).mean()


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Put ``model`` into eval mode for the block; each part gets its own mode back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def bounded(source: Any) -> Iterator[Any]:
    """Yield the batches of ``source``; TaskError if it has no length and does not end within 10,000."""
    known = length_of(source) is not None
    for number, batch in enumerate(source):
        if not known and number == _MOST_BATCHES:
            received = f"more than {_MOST_BATCHES:,} batches of a {type(source).__name__} without a length"
            remedy = "Give a list of batches, or an object whose len() says how many there are"
            raise TaskError("val", received, "must end", remedy)
        yield batch


def evaluate(task: Task, model: nn.Module, *, step: int, examples: int | None = None) -> Evaluated:
    """Return the mean loss and metrics of ``model`` on the task's validation data, weighted by batch length.

    Generators, data positions and modes are put back. ``examples`` takes a random part of so many, the same each time.
    A batch without a finite loss at initialization either (all its labels are ignored, say) does not count.
    """
    assert task.val is not None
    with preserved(task.val), eval_mode(model), torch.no_grad(), autocast(task):
        sums = _pass_over(task, model, examples)
        if math.isnan(float(sums.totals.get("loss", 0.0))) and sums.has_loss:
            sums = _pass_over(task, model, examples, without_unlearnable=True)
    if not sums.seen:
        raise TaskError("val", type(task.val).__name__, "must yield at least one batch")
    means = {name: float(total) / sums.weight(name) for name, total in sums.totals.items()}
    loss = means.pop("loss", math.nan)
    _tell_left_out(task, sums)
    return Evaluated(Evaluation(step, loss, means), sums.seen, sums.has_loss)


def _tell_left_out(task: Task, sums: _Sums) -> None:
    for name in task.metrics:
        missing = float(sums.left_out.get(name, 0))
        if 0 < missing < sums.counted:
            tell_once(task, name, f"the metric {name} is NaN on a part of val, which is left out of its mean")


class _Sums:
    """Sums of figures over examples; they stay on the device in double precision, for one transfer at the end."""

    def __init__(self) -> None:
        self.totals: dict[str, Any] = {}
        self.left_out: dict[str, Any] = {}  # the weight of metrics that are NaN
        self.seen = 0
        self.counted = 0
        self.has_loss = True

    def weight(self, name: str) -> float:
        """Return the number of examples that count for a figure; NaN if there are none."""
        return self.counted - float(self.left_out.get(name, 0)) or math.nan

    def add_metric(self, name: str, value: Any, weight: int) -> None:
        """Add a metric; one that is NaN, as the area under a curve of one class, is left out."""
        missing = value.isnan() if isinstance(value, Tensor) else value != value
        self.left_out[name] = self.left_out.get(name, 0) + missing * weight
        self.add(name, value.nan_to_num(nan=0.0) if isinstance(value, Tensor) else 0.0 if missing else value, weight)

    def add(self, name: str, value: Any, weight: int) -> None:
        if isinstance(value, Tensor) and value.ndim:
            raise TaskError(
                name, tuple(value.shape), "must return a scalar tensor of shape ()", "Reduce it, for example by .mean()"
            )
        value = value.detach().double() if isinstance(value, Tensor) else float(value)
        self.totals[name] = self.totals.get(name, 0.0) + value * weight


def _pass_over(task: Task, model: nn.Module, examples: int | None, *, without_unlearnable: bool = False) -> _Sums:
    device = torch.device(task.device or "cpu")
    sums = _Sums()
    assert task.val is not None
    for number, batch in enumerate(bounded(task.val if examples is None else part_of(task.val, examples))):
        batch = to_device(batch, device)
        weight = count_examples(batch)
        sums.seen += weight
        loss = _loss(task, model, batch, sums)
        if without_unlearnable and loss is not None and bool(loss.isnan()) and left_out(task, batch, "val", number):
            continue
        sums.counted += weight
        if loss is not None:
            sums.add("loss", loss, weight)
        for name in task.metrics:
            sums.add_metric(name, task.compute_metric(name, model, batch), weight)
        if examples is not None and sums.seen >= examples:
            break
    return sums


def _loss(task: Task, model: nn.Module, batch: Any, sums: _Sums) -> Tensor | None:
    """Return the loss; None if there is none in eval mode and a metric is the objective."""
    try:
        return task.compute_loss(model, batch)
    except LossFormError:
        if task.objective == "loss":
            raise
        sums.has_loss = False
        return None
