"""Forks of one training: several rates that go on from the same weights on the same batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from stepsize.errors import NotStackableError
from stepsize.training.calling import judged
from stepsize.training.digest import digest
from stepsize.training.population.cohort import build_stacked, clip_gradients, clip_limits, look
from stepsize.training.population.members import Members
from stepsize.training.population.stacked import StackedOptimizer
from stepsize.training.rng import RngState
from stepsize.training.runs import Setting
from stepsize.training.stepping import Stepper, build_model
from stepsize.training.task import Task

__all__ = ["Crowd", "begin_crowd"]


class Crowd(ABC):
    """Members of one training, and by what each multiplies the rate.

    Attributes:
        times: The multipliers.
    """

    times: list[float]

    @abstractmethod
    def forked(self, places: Sequence[int], times: Sequence[float] | None = None) -> Self:
        """Return a crowd that goes on from members at ``places``, any of them several times; this one stays."""

    @abstractmethod
    def update(self, batches: Sequence[Any], factor: float) -> Tensor:
        """Update all members on the mean gradient of ``batches``; return their losses, shape (K,), on the device."""

    @abstractmethod
    def put_on(self, member: int) -> nn.Module:
        """Return a model with the weights and buffers of one member on, until the next call."""

    def judged(self, member: int) -> AbstractContextManager[Any]:
        """Hold one member at the weights that it is judged by."""
        del member
        return nullcontext()


def begin_crowd(task: Task, setting: Setting) -> tuple[Crowd, str]:
    """Return a crowd of one before its first update, and the digest of its weights.

    Where runs of ``task`` cannot be stacked, its members are trained one after the other.
    """
    try:
        known = look(task, setting)
    except NotStackableError:
        apart = _Apart([Stepper(task, setting.lr, setting.steps)], [1.0])
        return apart, digest(dict(apart.put_on(0).state_dict()))
    model = build_model(task)
    initial = digest(dict(model.state_dict()))
    members = Members(task, model, 1, known.rehearsal)
    stacked = _Stacked(members, build_stacked([task], [setting], members), clip_limits([task], members), [1.0])
    return stacked, initial


@final
class _Stacked(Crowd):
    """Members as stacked tensors, updated at once."""

    def __init__(
        self, members: Members, optimizer: StackedOptimizer, clips: Tensor | None, times: Sequence[float]
    ) -> None:
        self.times = list(times)
        self._members = members
        self._optimizer = optimizer
        self._clips = clips
        device = next(iter(members.parameters.values())).device
        self._factors = torch.tensor(self.times, dtype=torch.float64, device=device)

    def forked(self, places: Sequence[int], times: Sequence[float] | None = None) -> Self:
        """Return a crowd that goes on from here; its tensors are copies."""
        chosen = torch.tensor(places, device=self._factors.device)
        members = self._members.forked(chosen)
        optimizer = self._optimizer.forked(chosen, list(members.parameters.values()))
        return type(self)(members, optimizer, self._clips, times or [self.times[place] for place in places])

    def update(self, batches: Sequence[Any], factor: float) -> Tensor:
        """Update all members at once."""
        losses, gradients = self._members.gradients(batches)
        if self._clips is not None:
            clip_gradients(gradients, self._clips.expand(len(self.times)))
        self._optimizer.step(gradients, self._factors * factor)
        return losses

    def put_on(self, member: int) -> nn.Module:
        """Return the template as one member."""
        return self._members.put_on(member)


@final
class _Apart(Crowd):
    """Members with a model and an optimizer each, updated one after the other."""

    def __init__(self, steppers: Sequence[Stepper], times: Sequence[float]) -> None:
        self.times = list(times)
        self._steppers = list(steppers)

    def forked(self, places: Sequence[int], times: Sequence[float] | None = None) -> Self:
        """Return a crowd that goes on from here; its models and optimizers are copies."""
        forks = [self._steppers[place].forked() for place in places]
        return type(self)(forks, times or [self.times[place] for place in places])

    def update(self, batches: Sequence[Any], factor: float) -> Tensor:
        """Update the members in turn; all draw the same random numbers."""
        before, losses = RngState.take(), []
        for stepper, times in zip(self._steppers, self.times, strict=True):
            before.restore()
            stepper.scale(times * factor)
            losses.append(stepper.update(batches).detach())
        return torch.stack(losses)

    def put_on(self, member: int) -> nn.Module:
        """Return the model of one member."""
        return self._steppers[member].model

    def judged(self, member: int) -> AbstractContextManager[Any]:
        """Hold one member at the weights that it is judged by, where its optimizer has others for that."""
        return judged(self._steppers[member].optimizer)
