"""Size of loss, outputs and targets before training, compared with predictions that ignore the input."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stepsize.training.batches import count_examples, to_device
from stepsize.training.task import Task

_MOST_COORDINATES = 4_096  # of a constant prediction; larger outputs share one number
_MOST_CLASSES = 1_000
_FITTING = 60  # iterations of the fit of a constant
Outputs = list[tuple[Tensor, Tensor]]  # of a model, each with its targets, batch by batch


@dataclass(frozen=True)
class LossScale:
    """The loss before training, and that of predictions that ignore the input.

    Attributes:
        start: Mean training loss of the initial model.
        error: Its standard error over the batches.
        zero: Loss if every output is 0: log(classes) for cross-entropy, the mean square for a regression.
        constant: Loss of the best output that is the same for every example: the entropy of the classes, or
            the variance of the target.
    """

    start: float
    error: float
    zero: float | None = None
    constant: float | None = None


@dataclass(frozen=True)
class TargetScale:
    """The scale of a target of numbers.

    Attributes:
        columns: Numbers per example.
        offset: Largest |mean| of a column.
        low: Smallest standard deviation of a column.
        high: Largest standard deviation of a column.
    """

    columns: int
    offset: float
    low: float
    high: float


@dataclass(frozen=True)
class Classes:
    """The frequencies of classes.

    Attributes:
        count: Number of classes that occur.
        labels: Number of labels.
        per_example: Labels per example: 1, or the length of a sequence.
        majority: Fraction of the most frequent class.
        rarest: Fraction of the rarest that occurs.
        entropy: H = - sum p log p, in nats: the cross-entropy of a prediction that knows only the fractions.
    """

    count: int
    labels: int
    per_example: float
    majority: float
    rarest: float
    entropy: float


def outputs_of(task: Task, model: nn.Module, batches: Sequence[Any]) -> Outputs | str:
    """Return the outputs of ``model`` on ``batches`` with their targets, or the reason why there are none."""
    if task.loss_takes == "model":
        return "the loss takes the model itself, so no other prediction can be put in its place"
    seen = []
    with torch.no_grad():
        for batch in batches:
            moved = to_device(batch, torch.device(task.device or "cpu"))
            output, target = model(*moved[:-1]), moved[-1]
            if not isinstance(output, Tensor) or not isinstance(target, Tensor) or not output.is_floating_point():
                return "output and target are not single tensors"
            seen.append((output.float(), target))
    return seen


def best_constant(loss: Callable[..., Tensor], seen: Outputs) -> tuple[float, float]:
    """Return the loss of outputs that are all 0, and that of the best output that is the same for every example.

    The constant is fitted with the loss itself: a number for each class of labels, else for each coordinate of the
    output.
    """
    shape = _constant_shape(seen)
    constant = torch.zeros(shape, device=seen[0][0].device, requires_grad=True)
    weights = [float(count_examples(target)) for _, target in seen]

    def mean_loss() -> Tensor:
        losses = [
            weight * loss(constant.expand(output.shape).clone(), target)
            for weight, (output, target) in zip(weights, seen, strict=True)
        ]
        return torch.stack(losses).sum() / sum(weights)

    zero = mean_loss()
    if not zero.requires_grad:
        return float(zero), float(zero)
    optimizer = torch.optim.LBFGS([constant], max_iter=_FITTING, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = mean_loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    best = float(mean_loss().detach())
    return float(zero.detach()), min(best, float(zero.detach())) if math.isfinite(best) else float(zero.detach())


def classes_of(target: Tensor) -> Classes | None:
    """Return the balance of the classes in ``target``: whole numbers, or the two numbers 0 and 1; else None."""
    if target.is_complex() or not target.numel():
        return None
    if target.is_floating_point() and not bool(((target == 0) | (target == 1)).all()):
        return None
    labels, counts = np.unique(target.cpu().numpy().ravel(), return_counts=True)
    if not 2 <= len(labels) <= _MOST_CLASSES:
        return None
    shares = counts / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum())
    per_example = target.numel() / len(target) if target.ndim else 1.0
    return Classes(len(labels), int(counts.sum()), per_example, float(shares.max()), float(shares.min()), entropy)


def target_scale(target: Tensor) -> TargetScale | None:
    """Return the scale of a target of numbers, shape ``(n, ...)``; None where it is none, or has less than two rows."""
    if not target.is_floating_point() or len(target) < 2:
        return None
    rows = target.detach().double().reshape(len(target), -1)
    spread = rows.std(0)
    return TargetScale(rows.shape[1], float(rows.mean(0).abs().max()), float(spread.min()), float(spread.max()))


def _constant_shape(seen: Outputs) -> tuple[int, ...]:
    """Return the shape of one output for every example, which broadcasts against all outputs."""
    output, target = seen[0]
    if not target.is_floating_point() and output.ndim >= 2:
        if output.shape[:-1] == target.shape:
            return (output.shape[-1],)
        if output.shape[:1] + output.shape[2:] == target.shape:
            return (output.shape[1], *(1 for _ in output.shape[2:]))
    shapes = {each.shape[1:] for each, _ in seen}
    if len(shapes) == 1 and math.prod(output.shape[1:]) <= _MOST_COORDINATES:
        return tuple(output.shape[1:])
    return ()
