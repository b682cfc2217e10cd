"""Runs of one task that are updated on the same batches, and can be forked: the one thing that every loop trains."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self, final

import torch
from torch import Tensor, nn

from stepsize.training.batches import Stream
from stepsize.training.evaluate import Evaluated, evaluate
from stepsize.training.position import RngState
from stepsize.training.stepping import Stepper, at_evaluation_weights
from stepsize.training.task import Task


class ForkedRuns(ABC):
    """K runs of one task that are updated on the same batches."""

    @property
    @abstractmethod
    def size(self) -> int:
        """K."""

    @abstractmethod
    def update(self, batches: Sequence[Any], factors: Sequence[float]) -> Tensor:
        """Update run k on the mean gradient of ``batches`` at factors[k] × its peak rates; return the losses, (K,)."""

    @abstractmethod
    def model(self, place: int) -> nn.Module:
        """Return a model with the weights and buffers of one run, valid until the next call."""

    @abstractmethod
    def forked(self, places: Sequence[int]) -> Self:
        """Return runs that continue from those at ``places``, which may repeat; these stay as they are."""

    def evaluate(self, task: Task, place: int, step: int, examples: int | None = None) -> Evaluated:
        """Return how one run does on validation data."""
        return evaluate(task, self.model(place), step=step, examples=examples)


@final
class SequentialRuns(ForkedRuns):
    """Runs with a model and an optimizer each, updated sequentially."""

    def __init__(self, steppers: Sequence[Stepper]) -> None:
        self._steppers = list(steppers)

    @property
    def size(self) -> int:
        """K."""
        return len(self._steppers)

    def update(self, batches: Sequence[Any], factors: Sequence[float]) -> Tensor:
        """Update the runs in turn; all draw the same random numbers."""
        before, losses = RngState.take() if self.size > 1 else None, []
        for stepper, factor in zip(self._steppers, factors, strict=True):
            if before is not None:
                before.restore()
            stepper.scale(factor)
            losses.append(stepper.update(batches).detach())
        return torch.stack(losses)

    def model(self, place: int) -> nn.Module:
        """Return the model of one run."""
        return self._steppers[place].model

    def forked(self, places: Sequence[int]) -> Self:
        """Return runs with copies of models and optimizers."""
        return type(self)([self._steppers[place].forked() for place in places])

    def evaluate(self, task: Task, place: int, step: int, examples: int | None = None) -> Evaluated:
        """Return how one run does at the weights that its optimizer evaluates."""
        with at_evaluation_weights(self._steppers[place].optimizer):
            return super().evaluate(task, place, step, examples)


class Update(NamedTuple):
    """One update of K runs: its number from 0, the batches that it was made on, and the losses, (K,), on the device."""

    step: int
    batches: Sequence[Any]
    losses: Tensor


def updates(
    update: Callable[[Sequence[Any], Sequence[float]], Tensor],
    numbered: Iterable[tuple[int, Sequence[Any]]],
    factors: Callable[[int], Sequence[float]],
) -> Iterator[Update]:
    """The loop: update runs on each of the numbered batches, run k at factors(step)[k] × its peak rates.

    Each update is yielded after it was made; whoever asks for the next one records, evaluates and stops.
    """
    for step, batches in numbered:
        yield Update(step, batches, update(batches, factors(step)))


def draw(task: Task) -> Iterator[list[Any]]:
    """Yield the batches of one update after the other, without end."""
    stream = Stream(task.train)
    while True:
        yield stream.take(task.accumulate)
