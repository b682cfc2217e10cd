"""Vectorized runs: configurations of one seed and horizon as stacked tensors, updated at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn

from stepsize.errors import NotStackableError
from stepsize.training.batches import Stream
from stepsize.training.border import undisturbed
from stepsize.training.forked import ForkedRuns, SequentialRuns
from stepsize.training.loop import train_together
from stepsize.training.population.members import COPIES, DryRun, Members, dry_run, weights_of
from stepsize.training.population.stacked import StackedOptimizer, stack_optimizers
from stepsize.training.runs import Run, Setting, Watcher
from stepsize.training.stepping import Stepper, build_model, build_optimizer
from stepsize.training.task import Task

_CLIP_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm


def check_stacking(task: Task, setting: Setting, *, memory: float = math.inf) -> DryRun:
    """Find out with two members whether runs of ``task`` can be stacked: NotStackableError if not, with the reason.

    If two do not fit into ``memory`` bytes, nothing is copied.
    """
    with undisturbed(task, setting.seed, inspected=True):
        model = build_model(task)
        _check_memory(2 * COPIES * weights_of(model), memory)
        batch = next(Stream(task.train))
        info = dry_run(task, model, batch)
        _check_memory(2 * info.memory, memory)
        members = Members(task, model, 2, info)
        _build_optimizer([task, task], [setting, setting], members)
        members.check(batch, info)
    return info


def _check_memory(needed: float, memory: float) -> None:
    if needed > memory:
        raise NotStackableError(f"two at once take {needed / 1e9:.2g} GB, more than a quarter of the free memory")


def train_vectorized(
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    info: DryRun,
    on_progress: Watcher | None = None,
    evals: frozenset[int] = frozenset(),
) -> list[Run]:
    """Train all configurations at once, one task for each, and return their runs in that order."""
    return train_together(tasks, settings, lambda: VectorizedRuns.begin(tasks, settings, info), evals, on_progress)


def begin_run(task: Task, setting: Setting) -> ForkedRuns:
    """Return one run before its first update that can be forked, vectorized if the task can be stacked."""
    try:
        info = check_stacking(task, setting)
    except NotStackableError:
        return SequentialRuns([Stepper(task, setting.lr)])
    return VectorizedRuns.begin([task], [setting], info)


@final
class VectorizedRuns(ForkedRuns):
    """Runs as stacked tensors."""

    def __init__(self, members: Members, optimizer: StackedOptimizer, clips: Tensor | None) -> None:
        self._members = members
        self._optimizer = optimizer
        self._clips = clips

    @classmethod
    def begin(cls, tasks: Sequence[Task], settings: Sequence[Setting], info: DryRun) -> Self:
        """Return runs with the same initial weights, each at its own rate."""
        members = Members(tasks[0], build_model(tasks[0]), len(settings), info)
        return cls(members, _build_optimizer(tasks, settings, members), _clip_limits(tasks, members))

    @property
    def size(self) -> int:
        """K."""
        return self._members.size

    def update(self, batches: Sequence[Any], factors: Sequence[float]) -> Tensor:
        """Update all runs at once."""
        losses, gradients = self._members.gradients(batches)
        if self._clips is not None:
            clip_gradients(gradients, self._clips)
        same = all(factor == factors[0] for factor in factors)
        self._optimizer.step(gradients, factors[0] if same else torch.tensor(factors, dtype=torch.float64))
        return losses

    def model(self, place: int) -> nn.Module:
        """Return the template with the weights of one run."""
        return self._members.put_on(place)

    def forked(self, places: Sequence[int]) -> Self:
        """Return runs with copies of the tensors."""
        chosen = self._chosen(places)
        members = self._members.forked(chosen)
        optimizer = self._optimizer.forked(chosen, list(members.parameters.values()))
        return type(self)(members, optimizer, None if self._clips is None else self._clips.index_select(0, chosen))

    def _chosen(self, places: Sequence[int]) -> Tensor:
        return torch.tensor(list(places), device=next(iter(self._members.parameters.values())).device)


def _build_optimizer(tasks: Sequence[Task], settings: Sequence[Setting], members: Members) -> StackedOptimizer:
    model = members.model
    optimizers = [build_optimizer(task, model, setting.lr) for task, setting in zip(tasks, settings, strict=True)]
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return stack_optimizers(optimizers, [own] * len(optimizers), list(members.parameters.values()))


def _clip_limits(tasks: Sequence[Task], members: Members) -> Tensor | None:
    """Return the members' largest gradient norms, shape (K,), infinite for one that does not clip; None if none do."""
    if all(task.clip is None for task in tasks):
        return None
    parameter = next(iter(members.parameters.values()))
    limits = [math.inf if task.clip is None else float(task.clip) for task in tasks]
    return torch.tensor(limits, device=parameter.device, dtype=parameter.dtype)


def clip_gradients(gradients: Sequence[Tensor | None], limits: Tensor) -> None:
    """Scale each member's gradients in place, so that their global norm is at most its limit."""
    given = [gradient for gradient in gradients if gradient is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in given])
    factor = (limits / (torch.linalg.vector_norm(norms, dim=0) + _CLIP_EPS)).clamp(max=1.0)
    for gradient in given:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))
