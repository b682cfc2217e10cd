"""What a task of the catalog is made of, and how data are split and scaled for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.training import Metric

__all__ = [
    "ACCURACY",
    "BINARY_ACCURACY",
    "Parts",
    "binary_loss",
    "sequence_loss",
    "split_rows",
    "standardise",
]

_SPLIT_SEED = 20_260


@dataclass(frozen=True)
class Parts:
    """What a catalog entry contributes to its Task: model factory, loss, data and metrics.

    ``train`` and ``val`` are tuples of tensors ``(input, ..., target)`` of equal length; they are shared
    between the tasks that are built from them and must not be changed in place.
    """

    model: Callable[[], nn.Module]
    loss: Callable[[Any, Any], Tensor]
    train: tuple[Tensor, ...]
    val: tuple[Tensor, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    clip: float | None = None


def split_rows(n: int, share: float) -> tuple[Tensor, Tensor]:
    """Return the row numbers of training and unseen data: always the same for the same ``n``.

    Args:
        n: How many rows there are.
        share: The share of unseen rows, in (0, 1).

    Returns:
        Two disjoint integer tensors that together hold 0 ... ``n`` - 1.

    Example:
        >>> train, val = split_rows(10, 0.2)
        >>> len(train), len(val), sorted([*train.tolist(), *val.tolist()]) == list(range(10))
        (8, 2, True)
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(_SPLIT_SEED))
    unseen = round(share * n)
    return order[unseen:], order[:unseen]


def standardise(train: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
    """Return ``(x - m) / s`` of all given tensors, with m and s the column statistics of ``train`` alone.

    Args:
        train: Shape ``(n, ...)``; a column is a position in the further dimensions.
        others: Unseen data with the same columns.

    Returns:
        The scaled tensors, ``train`` first; constant columns become 0.

    Example:
        >>> standardise(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[2.0, 6.0]]))[1]
        tensor([[0., 1.]])
    """
    mean = train.mean(0)
    deviation = train.std(0, correction=0)
    scale = torch.where(deviation > 1e-8, deviation, torch.ones_like(deviation))
    return tuple((part - mean) / scale for part in (train, *others))


def sequence_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy in nats a symbol, mean over all positions.

    Args:
        output: Logits, shape ``(batch, length, symbols)``.
        target: Symbol numbers, shape ``(batch, length)``.
    """
    return nn.functional.cross_entropy(output.flatten(0, 1), target.flatten())


def binary_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of one logit a row, both of shape ``(batch,)``."""
    return nn.functional.binary_cross_entropy_with_logits(output, target)


def _accuracy(output: Tensor, target: Tensor) -> Tensor:
    return (output.argmax(-1) == target).float().mean()


def _binary_accuracy(output: Tensor, target: Tensor) -> Tensor:
    return ((output > 0) == (target > 0.5)).float().mean()


ACCURACY = {"accuracy": Metric(_accuracy, maximize=True)}
BINARY_ACCURACY = {"accuracy": Metric(_binary_accuracy, maximize=True)}
