"""What stacking needs to know of a model: seen in one plain forward pass on a copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stepsize.errors import NotStackableError
from stepsize.training.evaluate import loss_on
from stepsize.training.position import RngState
from stepsize.training.stepping import check_first_loss, deepcopied
from stepsize.training.task import Task

COPIES = 6  # of its parameters that a member takes: gradients, two moments, scratch


@dataclass(frozen=True)
class DryRun:
    """What one plain forward pass on a copy of the model showed.

    ``changing`` are names of buffers that it changes (BatchNorm's), ``memory`` the bytes that another member takes, and
    ``drew`` whether it drew random numbers (dropout).
    """

    loss: float
    changing: frozenset[str]
    memory: int
    drew: bool


def dry_run(task: Task, model: nn.Module, batch: Any) -> DryRun:
    """Make one plain pass on a copy of ``model`` and put the generators back: what stacking needs to know."""
    randomness = RngState.take()
    twin = deepcopied(model, model)
    buffers = dict(twin.named_buffers())
    before = {name: buffer.clone() for name, buffer in buffers.items()}  # native BatchNorm bumps no version counter
    saved = 0  # bytes for the backward pass

    def weigh(tensor: Tensor) -> Tensor:
        nonlocal saved
        saved += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        loss = loss_on(task, twin, batch)
    check_first_loss(loss)
    drew = not _same(randomness, RngState.take())
    randomness.restore()
    after = dict(twin.named_buffers())
    if any(after.get(name) is not buffer for name, buffer in buffers.items()):
        raise NotStackableError("a forward pass replaces a buffer of the model instead of changing it in place")
    changing = frozenset(name for name, buffer in buffers.items() if not _alike(buffer, before[name]))
    return DryRun(loss.item(), changing, COPIES * weights_of(model) + 2 * saved, drew)


def weights_of(model: nn.Module) -> int:
    """Return the bytes of the trained parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def _same(one: RngState, other: RngState) -> bool:
    return torch.equal(one.torch, other.torch) and all(map(torch.equal, one.cuda, other.cuda))


def _alike(one: Tensor, other: Tensor) -> bool:
    return bool(((one == other) | (one != one) & (other != other)).all())
