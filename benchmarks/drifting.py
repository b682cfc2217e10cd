"""Distribution shift: a task whose inputs rotate during a run, so that what was learned becomes outdated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.checks import check_positive
from stepsize.errors import TaskError
from stepsize.training import Task


class Drifting(nn.Module):
    """A model whose inputs are rotated by an angle that grows with each forward pass of training.

    The numbers of an input are paired at random, the same pairs for all seeds; pass t rotates each pair (a, b) to

        (a cos θ - b sin θ, a sin θ + b cos θ),   θ = 2π · turn · t,

    which keeps the norm of every input. Validation data are evaluated at the angle of the last pass.
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
    """Return ``task`` with inputs that rotate by ``turns`` full turns during one run.

    A rate, a schedule or an optimizer that only settles does not follow it: the model is evaluated at the angle of
    the last update.

    Args:
        task: Its first input must hold floating-point numbers, shape (batch, ...).
        turns: Full turns over the task's horizon; 0.25 is a right angle, where each number of a pair has taken the
            other's place. The angle per update does not change with the horizon or batch size.

    Returns:
        The shifting task; its name states the turns.

    Raises:
        InputError: If ``turns`` is not positive and finite.
        TaskError: If an input does not hold floating-point numbers, at the first forward pass.

    Example:
        >>> from stepsize.tasks import build_task
        >>> drifting(build_task("cancer-mlp", steps=40), 0.5).name
        'cancer-mlp drifting 0.5 turns'

    Reference:
        Hulten, Spencer and Domingos, "Mining time-changing data streams", 2001, whose hyperplane turns.
    """
    check_positive("turns", turns, remedy="For example 0.25, a right angle")
    turn, make = turns / (task.horizon * task.accumulate), task.model
    return replace(
        task,
        model=lambda: Drifting(make(), turn),
        name=f"{task.name} drifting {turns:g} turn{'s' * (turns != 1)}",
        # The schedule as it was given, on as many steps: the resolved one would be resolved twice.
        schedule=task.given_schedule,
        steps=task.horizon,
        epochs=None,
    )
