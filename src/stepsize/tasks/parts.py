"""The parts of a built-in task, and how its data are split and scaled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.training import Metric

_SPLIT_SEED = 20_260


@dataclass(frozen=True)
class Parts:
    """What a catalog entry contributes to its Task.

    ``train`` and ``val`` are tuples of tensors ``(input, ..., target)`` of equal length, shared
    between the tasks that are built from them: they must not be changed in place.
    """

    model: Callable[[], nn.Module]
    loss: Callable[[Any, Any], Tensor]
    train: tuple[Tensor, ...]
    val: tuple[Tensor, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    clip: float | None = None


def split_rows(n: int, share: float) -> tuple[Tensor, Tensor]:
    """Return the row numbers of training and validation data, ``share`` of all: always the same for the same ``n``."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    held_out = round(share * n)
    return order[held_out:], order[:held_out]


def standardize(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return ``(x - m) / s`` of all tensors, with the column statistics of ``train``; constant columns become 0."""
    mean = train.mean(0)
    deviation = train.std(0, correction=0)
    scale = torch.where(deviation > 1e-8, deviation, torch.ones_like(deviation))
    return tuple((part - mean) / scale for part in (train, *others))


def sequence_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy in nats per symbol of logits ``(batch, length, symbols)``, mean over all positions."""
    return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())


def binary_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of one logit per row, both of shape ``(batch,)``."""
    return nn.functional.binary_cross_entropy_with_logits(output, target)


def _accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(-1) == target).float().mean()


def _binary_accuracy(output: Tensor, target: Tensor) -> Tensor:
    return ((output > 0) == (target > 0.5)).float().mean()


ACCURACY = {"accuracy": Metric(_accuracy, maximize=True)}
BINARY_ACCURACY = {"accuracy": Metric(_binary_accuracy, maximize=True)}
