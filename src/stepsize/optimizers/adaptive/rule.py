"""What a rule that adapts the rate is: a multiplier from what one update shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Now:
    """What is known at one update.

    Attributes:
        parameters: Those that have a gradient; in :meth:`Rule.learn` after the update.
        gradients: Gradients of the loss, in the same order, before the optimizer touches them.
        factor: Factor of the schedule: the largest rate of a group relative to its peak.
        peak: Largest peak rate.
        loss: Mean loss of the batch, if the rule needs it.
        loss_fn: Returns this loss at the present weights, if the rule needs it.
        bounds: Smallest and largest multiplier.
        places: Indices of the parameters among all of the optimizer. What is remembered of a parameter belongs to
            its index, since the next update may have gradients for others.
        count: Number of parameters of the optimizer.
    """

    parameters: list[Tensor]
    gradients: list[Tensor]
    factor: float
    peak: float
    loss: float | None
    loss_fn: Callable[[], Tensor] | None
    bounds: tuple[float, float]
    places: tuple[int, ...] = ()
    count: int = 0

    def bounded(self, multiplier: float) -> float:
        """Return ``multiplier`` within the bounds."""
        return min(max(multiplier, self.bounds[0]), self.bounds[1])


class AdaptiveRule(ABC):
    """A rule that adapts the rate.

    A rule is created without an optimizer; :class:`Adaptive` asks it for the multiplier of each update. It remembers
    numbers, lists and tensors in ``memory``: :class:`Adaptive` keeps that in the optimizer's state, where
    ``state_dict``, snapshots and digests find it.
    """

    needs: ClassVar[frozenset[str]] = frozenset()  # "loss", "loss_fn"

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    @abstractmethod
    def multiplier(self, now: Now) -> float:
        """Return the factor of the scheduled rates in this update."""

    @abstractmethod
    def learn(self, now: Now, moved: list[Tensor], multiplier: float) -> float:
        """Take note of the update that was made with ``multiplier``; return what it finally amounts to.

        The weights may be changed here. ``moved`` is the weights before the update minus those after it; the rule may
        change it, and keep it until the next update.
        """

    @abstractmethod
    def why(self) -> str:
        """Return what moved the multiplier last, in a few words."""


def spread(values: Sequence[Tensor], now: Now, before: Sequence[Tensor | None] = ()) -> list[Tensor | None]:
    """Return ``values`` at the places of their parameters among all; elsewhere those of ``before``."""
    found: list[Tensor | None] = [*before, *[None] * (now.count - len(before))]
    for place, value in zip(now.places, values, strict=True):
        found[place] = value
    return found


def dot(first: Sequence[Tensor], second: Sequence[Tensor]) -> Tensor:
    """Return the inner product over all tensors of both lists, a tensor of shape ()."""
    parts = [torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in zip(first, second, strict=True)]
    return parts[0] if len(parts) == 1 else torch.stack([part.to(parts[0].device) for part in parts]).sum()
