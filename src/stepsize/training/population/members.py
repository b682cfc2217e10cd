"""The members of vectorized runs: one model, and the parameters of each member, stacked."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from stepsize.errors import NotStackableError
from stepsize.training.batches import to_device
from stepsize.training.copies import deepcopied
from stepsize.training.evaluate import autocast, loss_on
from stepsize.training.position import RngState, preserved
from stepsize.training.stepping import check_first_loss
from stepsize.training.task import Task

COPIES = 6  # of its parameters that a member takes: gradients, two moments, scratch
_AGREE = 1e-3  # relative difference of a stacked loss from the plain one that rounding explains, half precision too


class _Lossy(nn.Module):
    """A model with its loss, so that one functional call swaps the parameters below both."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(self, batch: Any) -> Tensor:
        """Return the loss of the model on a batch, shape ``()``."""
        return self._task.compute_loss(self.model, batch)


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


@final
class Members:
    """K members of one model that begin with the same weights; they share what no training changes.

    ``model`` is the template, in train mode, and ``info`` its dry run.
    """

    def __init__(self, task: Task, model: nn.Module, size: int, info: DryRun) -> None:
        self._task = task
        self._device = torch.device(task.device or "cpu")
        self._lossy = _Lossy(task, model)
        self.model = model
        self.parameters = {
            name: _repeated(parameter, size).requires_grad_()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad
        }
        self.buffers = {
            name: _repeated(buffer, size) for name, buffer in model.named_buffers() if name in info.changing
        }

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(next(iter(self.parameters.values())))

    def losses(self, batch: Any) -> Tensor:
        """Return each member's loss on ``batch``, shape (K,), with its graph; all draw the same random numbers.

        So does a plain run, unless dropout meets a tensor that is not contiguous: its mask is filled in the order of
        memory.
        """
        batch = to_device(batch, self._device)

        def loss(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]) -> Tensor:
            named = {f"model.{name}": tensor for name, tensor in (*parameters.items(), *buffers.items())}
            found: Tensor = functional_call(self._lossy, named, (batch,))
            return found

        # The fused kernels of attention have no batching rule and would be looped over; the plain one has.
        with autocast(self._task), sdpa_kernel(SDPBackend.MATH):
            if not self.buffers:  # vmap takes no empty mapping
                every = vmap(lambda parameters: loss(parameters, {}), randomness="same")(self.parameters)
            else:
                every = vmap(loss, randomness="same")(self.parameters, self.buffers)
        return every

    def gradients(self, batches: Sequence[Any]) -> tuple[Tensor, list[Tensor | None]]:
        """Return the mean losses, shape (K,), and the gradients of each stacked parameter, over several batches.

        Members do not touch each other, so the gradient of the sum of their losses is the gradient of each.
        """
        parameters = list(self.parameters.values())
        total: list[Tensor | None] = [None] * len(parameters)
        losses = []
        for batch in batches:
            every = self.losses(batch)
            share = every if len(batches) == 1 else every / len(batches)
            found = torch.autograd.grad(share.sum(), parameters, allow_unused=True)
            total = [_added(before, more) for before, more in zip(total, found, strict=True)]
            losses.append(every.detach())
        return (torch.stack(losses).mean(0) if len(losses) > 1 else losses[0]), _owned(total)

    @torch.no_grad()
    def forked(self, members: Tensor) -> Members:
        """Return members that continue from these, by index, which may repeat; these stay as they are."""
        other = copy.copy(self)  # they share the template, which only lends its shape
        other.parameters = {n: p.index_select(0, members).requires_grad_() for n, p in self.parameters.items()}
        other.buffers = {name: buffer.index_select(0, members) for name, buffer in self.buffers.items()}
        return other

    @torch.no_grad()
    def put_on(self, member: int) -> nn.Module:
        """Return the template with the weights and buffers of one member on, until the next call."""
        for name, parameter in self.model.named_parameters():
            if name in self.parameters:
                parameter.copy_(self.parameters[name][member])
        for name, buffer in self.model.named_buffers():
            if name in self.buffers:
                buffer.copy_(self.buffers[name][member])
        return self.model

    def check(self, batch: Any, info: DryRun) -> None:
        """Raise NotStackableError unless the stacked members' loss is the plain one; change nothing.

        vmap itself says what it cannot take. If dropout draws other numbers in stacks, the losses differ by that.
        """
        kept = {name: buffer.clone() for name, buffer in self.buffers.items()}
        try:
            with preserved(), warnings.catch_warnings():
                warnings.filterwarnings("error", "There is a performance drop")  # an operation without a batching rule
                losses, gradients = self.gradients([batch])
        except (RuntimeError, ValueError, TypeError, NotImplementedError, UserWarning) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise NotStackableError(_first_line(error)) from error
        finally:
            for name, buffer in kept.items():
                self.buffers[name].copy_(buffer)
        if losses.shape != (self.size,):
            raise NotStackableError(f"its stacked loss has the shape {tuple(losses.shape)}, not one value per member")
        del gradients
        far = (losses - info.loss).abs().max().item() > _AGREE * max(1.0, abs(info.loss))
        if far and not info.drew:
            raise NotStackableError(
                f"its stacked loss is {losses[0].item():.6g} where a plain forward pass gives {info.loss:.6g}"
            )


def _repeated(tensor: Tensor, size: int) -> Tensor:
    return tensor.detach().unsqueeze(0).expand(size, *tensor.shape).clone(memory_format=torch.contiguous_format)


def _owned(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return the gradients as contiguous tensors of their own: two parameters that are added have one in common."""
    seen: set[int] = set()
    own: list[Tensor | None] = []
    for gradient in gradients:
        if gradient is not None:
            gradient = gradient.contiguous()
            gradient = gradient.clone() if gradient.data_ptr() in seen else gradient
            seen.add(gradient.data_ptr())
        own.append(gradient)
    return own


def _added(before: Tensor | None, more: Tensor | None) -> Tensor | None:
    return more if before is None else before if more is None else before + more


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    line = text.splitlines()[0]
    return line if len(line) <= 200 else line[:197] + "..."
