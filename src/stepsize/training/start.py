"""What is known of a task before training: amount of data, loss at initialization, cost."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from stepsize.training.batches import Stream, TensorBatches, count_examples, length_of, tensors_in
from stepsize.training.border import undisturbed
from stepsize.training.cost import CostModel
from stepsize.training.digest import digest
from stepsize.training.evaluate import bounded, evaluate, loss_on
from stepsize.training.stepping import build_model
from stepsize.training.task import Task
from stepsize.training.threads import counted_operations


@dataclass(frozen=True)
class Start:
    """What is known of a task before training."""

    untrained: float  # objective at initialization, lower is better
    costs: CostModel  # of its runs
    operations: float  # multiply-adds of a forward pass of one batch
    fingerprint: str = ""  # digest of the initial weights and the first batch
    parameters: int = 0  # of the model

    @property
    def batch_size(self) -> int:
        """Examples per batch of training data."""
        return self.costs.batch_size


def look_at_start(task: Task, seed: int) -> Start:
    """Look at the data and the initial model of ``task``; generators and data positions stay as they were."""
    with undisturbed(task, seed):
        return _look(task)


def _look(task: Task) -> Start:
    model = build_model(task)
    first = next(Stream(task.train))
    size = max(1, count_examples(first))
    costs = CostModel(task.horizon, task.accumulate, size, _count_val(task))
    weights = sum(parameter.numel() for parameter in model.parameters())
    fingerprint = digest({**model.state_dict(), "batch": tensors_in(first)})
    with counted_operations(model) as done, torch.no_grad():
        if task.val is None:
            untrained, examples = float(loss_on(task, model, first)), size
        else:
            seen = evaluate(task, model, step=0, examples=costs.val_limit(None))
            untrained, examples = seen.evaluation.objective(task.objective, maximize=task.maximize), seen.examples
    return Start(untrained, costs, done.operations * size / max(1, examples), fingerprint, weights)


def _count_val(task: Task) -> int:
    if task.val is None:
        return 0
    if isinstance(task.val, TensorBatches):
        return len(task.val.tensors[0])
    batches = length_of(task.val)
    if batches is not None:
        return batches * count_examples(next(iter(task.val), None))
    return sum(count_examples(batch) for batch in bounded(task.val))
