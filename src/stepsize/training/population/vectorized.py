"""Vectorized runs: configurations of one seed and horizon as stacked tensors, updated at once."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from stepsize.errors import NotStackableError
from stepsize.training.batches import Stream, to_device
from stepsize.training.border import undisturbed
from stepsize.training.evaluate import autocast
from stepsize.training.forked import ForkedRuns, SequentialRuns
from stepsize.training.population.dry_run import COPIES, DryRun, dry_run, weights_of
from stepsize.training.population.stacked import stack_optimizers
from stepsize.training.position import preserved
from stepsize.training.runs import Setting
from stepsize.training.stepping import Stepper, build_model, build_optimizer
from stepsize.training.task import Task

_CLIP_EPS = 1e-6  # torch.nn.utils.clip_grad_norm_ adds it to the norm
_AGREE = 1e-3  # relative difference of a stacked loss from the plain one that rounding explains, half precision too


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
        VectorizedRuns([task, task], [setting, setting], info, model).check(batch, info)
    return info


def _check_memory(needed: float, memory: float) -> None:
    if needed > memory:
        raise NotStackableError(f"two at once take {needed / 1e9:.2g} GB, more than a quarter of the free memory")


def begin_run(task: Task, setting: Setting) -> ForkedRuns:
    """Return one run before its first update that can be forked, vectorized if the task can be stacked."""
    try:
        info = check_stacking(task, setting)
    except NotStackableError:
        return SequentialRuns([Stepper(task, setting.lr)])
    return VectorizedRuns([task], [setting], info)


class _Lossy(nn.Module):
    """A model with its loss, so that one functional call swaps the parameters below both."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._task = task

    def forward(self, batch: Any) -> Tensor:
        """Return the loss of the model on a batch, shape ``()``."""
        return self._task.compute_loss(self.model, batch)


@final
class VectorizedRuns(ForkedRuns):
    """Runs of one model as stacked tensors, with the same initial weights; they share what no training changes.

    The model, in train mode, is a template that lends its shape; ``info`` is its dry run.
    """

    def __init__(
        self, tasks: Sequence[Task], settings: Sequence[Setting], info: DryRun, model: nn.Module | None = None
    ) -> None:
        self._task, size = tasks[0], len(settings)
        self._device = torch.device(self._task.device or "cpu")
        self._template = build_model(self._task) if model is None else model
        self._lossy = _Lossy(self._task, self._template)
        trained = {name: p for name, p in self._template.named_parameters() if p.requires_grad}
        self._parameters = {name: _repeated(p, size).requires_grad_() for name, p in trained.items()}
        self._buffers = {
            name: _repeated(buffer, size) for name, buffer in self._template.named_buffers() if name in info.changing
        }
        own = list(trained.values())
        optimizers = [build_optimizer(t, self._template, s.lr) for t, s in zip(tasks, settings, strict=True)]
        self._optimizer = stack_optimizers(optimizers, [own] * size, list(self._parameters.values()))
        self._clips = _clip_limits(tasks, next(iter(self._parameters.values())))

    @property
    def size(self) -> int:
        """K."""
        return len(next(iter(self._parameters.values())))

    def update(self, batches: Sequence[Any], factors: Sequence[float]) -> Tensor:
        """Update all runs at once."""
        losses, gradients = self.gradients(batches)
        if self._clips is not None:
            clip_gradients(gradients, self._clips)
        same = all(factor == factors[0] for factor in factors)
        self._optimizer.step(gradients, factors[0] if same else torch.tensor(factors, dtype=torch.float64))
        return losses

    @torch.no_grad()
    def model(self, place: int) -> nn.Module:
        """Return the template with the weights and buffers of one run."""
        for name, parameter in self._template.named_parameters():
            if name in self._parameters:
                parameter.copy_(self._parameters[name][place])
        for name, buffer in self._template.named_buffers():
            if name in self._buffers:
                buffer.copy_(self._buffers[name][place])
        return self._template

    @torch.no_grad()
    def forked(self, places: Sequence[int]) -> Self:
        """Return runs with copies of the tensors."""
        chosen = torch.tensor(list(places), device=self._device)
        other = copy.copy(self)
        other._parameters = {n: p.index_select(0, chosen).requires_grad_() for n, p in self._parameters.items()}
        other._buffers = {name: buffer.index_select(0, chosen) for name, buffer in self._buffers.items()}
        other._optimizer = self._optimizer.forked(chosen, list(other._parameters.values()))
        other._clips = None if self._clips is None else self._clips.index_select(0, chosen)
        return other

    def _losses(self, batch: Any) -> Tensor:
        """Return each run's loss on ``batch``, shape (K,), with its graph; all draw the same random numbers.

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
            if not self._buffers:  # vmap takes no empty mapping
                every = vmap(lambda parameters: loss(parameters, {}), randomness="same")(self._parameters)
            else:
                every = vmap(loss, randomness="same")(self._parameters, self._buffers)
        return every

    def gradients(self, batches: Sequence[Any]) -> tuple[Tensor, list[Tensor | None]]:
        """Return the mean losses, shape (K,), and the gradients of each stacked parameter, over several batches.

        Runs do not touch each other, so the gradient of the sum of their losses is the gradient of each.
        """
        parameters = list(self._parameters.values())
        total: list[Tensor | None] = [None] * len(parameters)
        losses = []
        for batch in batches:
            every = self._losses(batch)
            share = every if len(batches) == 1 else every / len(batches)
            found = torch.autograd.grad(share.sum(), parameters, allow_unused=True)
            total = [_added(before, more) for before, more in zip(total, found, strict=True)]
            losses.append(every.detach())
        return (torch.stack(losses).mean(0) if len(losses) > 1 else losses[0]), _owned(total)

    def check(self, batch: Any, info: DryRun) -> None:
        """Raise NotStackableError unless the stacked members' loss is the plain one; change nothing.

        vmap itself says what it cannot take. If dropout draws other numbers in stacks, the losses differ by that.
        """
        kept = {name: buffer.clone() for name, buffer in self._buffers.items()}
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
                self._buffers[name].copy_(buffer)
        if losses.shape != (self.size,):
            raise NotStackableError(f"its stacked loss has the shape {tuple(losses.shape)}, not one value per member")
        del gradients
        far = (losses - info.loss).abs().max().item() > _AGREE * max(1.0, abs(info.loss))
        if far and not info.drew:
            raise NotStackableError(
                f"its stacked loss is {losses[0].item():.6g} where a plain forward pass gives {info.loss:.6g}"
            )


def _clip_limits(tasks: Sequence[Task], like: Tensor) -> Tensor | None:
    """Return the runs' largest gradient norms, shape (K,), infinite for one that does not clip; None if none do."""
    if all(task.clip is None for task in tasks):
        return None
    limits = [math.inf if task.clip is None else float(task.clip) for task in tasks]
    return torch.tensor(limits, device=like.device, dtype=like.dtype)


def clip_gradients(gradients: Sequence[Tensor | None], limits: Tensor) -> None:
    """Scale each member's gradients in place, so that their global norm is at most its limit."""
    given = [gradient for gradient in gradients if gradient is not None]
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in given])
    factor = (limits / (torch.linalg.vector_norm(norms, dim=0) + _CLIP_EPS)).clamp(max=1.0)
    for gradient in given:
        gradient.mul_(factor.view(-1, *[1] * (gradient.dim() - 1)))


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
