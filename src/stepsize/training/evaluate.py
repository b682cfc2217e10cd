"""How a model does on unseen data."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stepsize.errors import TaskError
from stepsize.training.batches import count_examples, to_device
from stepsize.training.position import DataPosition
from stepsize.training.rng import RngState
from stepsize.training.runs import Evaluation
from stepsize.training.task import Task

__all__ = ["Evaluated", "autocast", "evaluate"]


@dataclass(frozen=True)
class Evaluated:
    """An evaluation, and the number of examples that it took."""

    evaluation: Evaluation
    examples: int


def autocast(task: Task) -> AbstractContextManager[Any]:
    """Return the autocast context of the task's precision; nothing for fp32."""
    if task.precision == "fp32":
        return nullcontext()
    dtype = torch.bfloat16 if task.precision == "bf16" else torch.float16
    return torch.autocast(torch.device(task.device or "cpu").type, dtype=dtype)


def evaluate(task: Task, model: nn.Module, *, step: int, examples: int | None = None) -> Evaluated:
    """Return the mean loss and metrics of ``model`` on the task's unseen data, weighted by batch length.

    What it draws from the random generators and the data is put back, so that looking does not change a training.

    Args:
        task: Its ``val``, loss and metrics are used; ``val`` must be given.
        model: Put into eval mode meanwhile; its own modes come back after it.
        step: The number of updates that the model has had, for the record.
        examples: How many examples to take, from the first, rounded up to whole batches; None takes all.

    Returns:
        The evaluation and the number of examples behind it.

    Raises:
        TaskError: If ``val`` yields no batch.
    """
    assert task.val is not None
    device = torch.device(task.device or "cpu")
    modes = {module: module.training for module in model.modules()}
    randomness, position = RngState.take(), DataPosition.take(task.val)
    model.eval()
    totals: dict[str, Any] = {}
    seen = 0
    try:
        with torch.no_grad(), autocast(task):
            for batch in task.val:
                batch = to_device(batch, device)
                weight = count_examples(batch)
                seen += weight
                _add(totals, "loss", task.compute_loss(model, batch), weight)
                for name in task.metrics:
                    _add(totals, name, task.compute_metric(name, model, batch), weight)
                if examples is not None and seen >= examples:
                    break
    finally:
        for module, mode in modes.items():
            module.training = mode
        position.restore()
        randomness.restore()
    if not seen:
        raise TaskError("val", type(task.val).__name__, "must yield at least one batch")
    means = {name: float(total) / seen for name, total in totals.items()}
    loss = means.pop("loss")
    return Evaluated(Evaluation(step, loss, means), seen)


def _add(totals: dict[str, Any], name: str, value: Any, weight: int) -> None:
    if isinstance(value, torch.Tensor) and value.ndim:
        raise TaskError(
            name, tuple(value.shape), "must return a scalar tensor of shape ()", "Reduce it, for example by .mean()"
        )
    # Sums stay on the device in double precision; one transfer at the end.
    value = value.detach().double() if isinstance(value, torch.Tensor) else float(value)
    totals[name] = totals.get(name, 0.0) + value * weight
