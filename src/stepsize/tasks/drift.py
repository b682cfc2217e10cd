"""A target that drifts: a task whose inputs turn while it is trained, so that what was learned goes out of date."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.errors import InputError, TaskError
from stepsize.training import Task

__all__ = ["Drifting", "drifting"]


class Drifting(nn.Module):
    """A model whose inputs are turned by an angle that grows with each forward pass of training.

    The numbers of an input are paired at random, the same pairs for all seeds; pass t turns each pair (a, b) to

        (a cos θ - b sin θ, a sin θ + b cos θ),   θ = 2π · turn · t,

    which keeps the length of every input. Unseen data are judged at the angle of the last one.

    Args:
        model: What gets the turned inputs.
        turn: Turns a forward pass of training.
        pairing: The seed of the pairs.
    """

    updates: Tensor

    def __init__(self, model: nn.Module, turn: float, pairing: int = 0) -> None:
        super().__init__()
        self.model = model
        self.turn = turn
        self.pairing = pairing
        # The first update is at angle 0; in place, since a population stacks buffers that a forward pass changes.
        self.register_buffer("updates", torch.full((), -1.0))

    def forward(self, inputs: Any, *rest: Any) -> Any:
        """Return what the model says to the turned ``inputs``, shape (batch, ...)."""
        if not (isinstance(inputs, Tensor) and inputs.is_floating_point()):
            kind = inputs.dtype if isinstance(inputs, Tensor) else type(inputs).__name__
            rule = f"must get floating-point inputs to turn; got {kind}"
            raise TaskError("model", type(self.model).__name__, rule, "Symbols cannot drift this way")
        if self.training:
            self.updates.add_(1)
        flat = inputs.flatten(1)
        width = flat.shape[1] // 2
        order = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(self.pairing)).to(inputs.device)
        angle = 2 * math.pi * self.turn * self.updates.clamp(min=0)
        cos, sin = angle.cos().to(inputs.dtype), angle.sin().to(inputs.dtype)
        a, b, left = flat[:, order[:width]], flat[:, order[width : 2 * width]], flat[:, order[2 * width :]]
        turned = torch.cat([a * cos - b * sin, a * sin + b * cos, left], dim=1)
        back = torch.argsort(order)
        return self.model(turned[:, back].reshape(inputs.shape), *rest)


def drifting(task: Task, turns: float = 0.25) -> Task:
    """Return ``task`` with inputs that turn ``turns`` times around while it is trained once.

    A rate, a schedule or an optimizer that only settles is left behind by it: what is judged is the model's loss at the
    angle of the last update.

    Args:
        task: Its first input must be of floating-point numbers, shape (batch, ...).
        turns: Over the task's horizon; 0.25 is a right angle, where each number of a pair has taken the other's place.
            How far an update turns stays the same with another horizon or batch size.

    Returns:
        The drifting task; its name tells the turns.

    Raises:
        InputError: If ``turns`` is not positive and finite.
        TaskError: If an input is not of floating-point numbers: at the first forward pass.

    Example:
        >>> from stepsize.tasks import build_task
        >>> drifting(build_task("cancer-mlp", steps=40), 0.5).name
        'cancer-mlp drifting 0.5 turns'

    Reference:
        Hulten, Spencer and Domingos, "Mining time-changing data streams", 2001, whose hyperplane turns.
    """
    if isinstance(turns, bool) or not isinstance(turns, int | float) or not 0 < turns < math.inf:
        raise InputError("turns", turns, "must be positive and finite", "For example 0.25, a right angle")
    turn, make = turns / (task.horizon * task.accumulate), task.model
    return replace(
        task,
        model=lambda: Drifting(make(), turn),
        name=f"{task.name} drifting {turns:g} turn{'s' * (turns != 1)}",
        # The schedule as it was given, on as many updates: the settled one would be settled twice.
        schedule=task.given_schedule,
        steps=task.horizon,
        epochs=None,
    )
