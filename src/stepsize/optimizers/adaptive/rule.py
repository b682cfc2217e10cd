"""What a rule that adapts the rate is: a multiplier from what one update shows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from stepsize.errors import InputError

__all__ = ["Now", "Rule", "check_number", "dot", "spread"]


@dataclass(frozen=True, eq=False)
class Now:
    """What is known at one update.

    Attributes:
        parameters: Those that have a gradient: before the update, in :meth:`Rule.learn` after it.
        gradients: Of the loss, in the same order, before the optimizer touches them.
        factor: The largest rate of a group relative to its peak: what the schedule says.
        peak: The largest peak rate.
        loss: The mean loss of the batch, where the rule needs it.
        look: Returns this loss at the present weights, where the rule needs it.
        bounds: The least and the largest multiplier.
        places: The numbers of the parameters among all of the optimizer: what is remembered of a parameter belongs to
            its number, since another update may have gradients for others.
        count: How many parameters the optimizer has.
    """

    parameters: list[Tensor]
    gradients: list[Tensor]
    factor: float
    peak: float
    loss: float | None
    look: Callable[[], Tensor] | None
    bounds: tuple[float, float]
    places: tuple[int, ...] = ()
    count: int = 0

    def bounded(self, multiplier: float) -> float:
        """Return ``multiplier`` within the bounds."""
        return min(max(multiplier, self.bounds[0]), self.bounds[1])


class Rule(ABC):
    """A rule that adapts the rate.

    A rule is made without an optimizer; :class:`Adaptive` asks it for the multiplier of each update. What it remembers
    lies in ``memory``, in numbers, lists and tensors: :class:`Adaptive` keeps that in the optimizer's state, where
    ``state_dict``, snapshots and digests find it.
    """

    needs: ClassVar[frozenset[str]] = frozenset()  # "loss", "look"
    sees_movement: ClassVar[bool] = True  # copies of the weights are made for it; without, _moved is empty

    def __init__(self) -> None:
        self.memory: dict[str, Any] = {}

    @abstractmethod
    def multiplier(self, now: Now) -> float:
        """Return by what the scheduled rates are multiplied in this update."""

    def learn(self, _now: Now, _moved: list[Tensor], multiplier: float) -> float:
        """Take note of the update that was made; may change the weights.

        Args:
            _now: As it was before the update; its parameters have moved.
            _moved: The weights before the update minus those after it; the rule may look at them until the update
                after the next multiplier is asked for, and change them.
            multiplier: What the update was made with, within the bounds.

        Returns:
            The multiplier that the update amounts to after all.
        """
        return multiplier

    def why(self) -> str:
        """Return what moved the multiplier last, in a few words."""
        return type(self).__name__


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


def check_number(argument: str, value: object, low: float, high: float, *, open_low: bool = True) -> None:
    """Raise InputError unless ``value`` is a number above (or at) ``low`` and at most ``high``."""
    valid = isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
    if valid and (low < value if open_low else low <= value) and value <= high:  # type: ignore[operator]
        return
    least = f"above {low:g}" if open_low else f"at least {low:g}"
    raise InputError(argument, value, f"must be a number {least}" + (f", at most {high:g}" if high < math.inf else ""))
