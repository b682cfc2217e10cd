"""Gradients of many small batches at one point, as their inner products: all that the noise scale needs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stepsize.errors import TaskError
from stepsize.training.batches import count_examples, map_tensors, tensors_in, to_device
from stepsize.training.evaluate import autocast
from stepsize.training.stepping import check_first_loss
from stepsize.training.task import Task

_SKETCH = 1 << 20  # numbers kept of a gradient: smaller ones are kept whole, larger ones folded with random signs
_COUPLING = (nn.modules.batchnorm._BatchNorm,)  # layers through which the examples of a batch see each other


@dataclass(frozen=True, eq=False)
class GradientSample:
    """Gradients g_i of n disjoint pieces of data at one point: <g_i, g_j>, and of each piece examples and loss.

    ``silent`` names the parameters whose gradient is missing or zero throughout.
    """

    gram: NDArray[np.float64]
    sizes: NDArray[np.float64]
    losses: NDArray[np.float64]
    silent: tuple[str, ...]


def sample_gradients(task: Task, model: nn.Module, batches: Sequence[Any], *, pieces: int = 1) -> GradientSample:
    """Return the gradients of ``batches`` at the present weights of ``model``, each cut into ``pieces``.

    They are those of an update before clipping, with dropout; in full precision if the task trains in fp16. More than a
    million numbers are folded onto a million with random signs (the count sketch of Charikar, Chen and Farach-Colton,
    2002), which keeps inner products up to 0.14% of the product of the norms. TaskError if a loss is not finite.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    silent = {name for name, _ in named}
    rows, sizes, losses = [], [], []
    fold = _Fold([p for _, p in named])
    for batch in batches:
        for piece in cut(batch, pieces):
            size = count_examples(piece)
            loss, gradients = _gradients(task, model, piece, [p for _, p in named])
            rows.append(fold(gradients))
            silent -= {name for (name, _), g in zip(named, gradients, strict=True) if g is not None and bool(g.any())}
            sizes.append(float(size))
            losses.append(loss)
    stacked = torch.stack(rows).double() if fold.short else torch.stack(rows)
    gram = (stacked @ stacked.T).double().cpu().numpy()
    silenced = tuple(name for name, _ in named if name in silent)
    return GradientSample(gram, np.asarray(sizes), np.asarray(losses), silenced)


def couples_examples(model: nn.Module) -> bool:
    """Return whether examples of a batch see each other in ``model``, so that cutting a batch changes its loss."""
    return any(isinstance(module, _COUPLING) and module.training for module in model.modules())


def cut(batch: Any, pieces: int) -> Iterator[Any]:
    """Yield ``batch`` in about equal ``pieces``, as far as its tensors share their first dimension; else whole."""
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in tensors_in(batch)}
    size = lengths.pop() if len(lengths) == 1 else 0
    if pieces == 1 or size < 2:
        yield batch
        return
    ends = np.linspace(0, size, min(pieces, size) + 1).round().astype(int).tolist()
    for start, stop in itertools.pairwise(ends):
        yield map_tensors(batch, lambda tensor, part=slice(start, stop): tensor[part])  # type: ignore[misc]


def _gradients(
    task: Task, model: nn.Module, piece: Any, parameters: list[nn.Parameter]
) -> tuple[float, tuple[Tensor | None, ...]]:
    piece = to_device(piece, torch.device(task.device or "cpu"))
    with nullcontext() if task.precision == "fp16" else autocast(task):
        loss = task.compute_loss(model, piece)
    value = float(loss.detach())
    if not np.isfinite(value):
        rule = "must be finite on the training data, before any update"
        raise TaskError("loss", value, rule, "No learning rate can fix this")
    check_first_loss(loss)
    return value, torch.autograd.grad(loss, parameters, allow_unused=True)


class _Fold:
    """Turns the gradients of a model into one vector of at most ``_SKETCH`` numbers."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self._parameters = parameters
        self._total = sum(p.numel() for p in parameters)
        self.short = self._total <= _SKETCH

    def __call__(self, gradients: Sequence[Tensor | None]) -> Tensor:
        flat = [
            torch.zeros(p.numel(), device=p.device) if g is None else g.detach().flatten().float()
            for p, g in zip(self._parameters, gradients, strict=True)
        ]
        if self.short:
            return torch.cat(flat)
        folded = torch.zeros(_SKETCH, device=flat[0].device)
        generator = torch.Generator(device=folded.device).manual_seed(0)  # the same signs for every gradient
        for part in flat:
            for chunk in torch.split(part, _SKETCH):
                signs = torch.randint(0, 2, chunk.shape, generator=generator, device=chunk.device) * 2 - 1
                folded[: len(chunk)] += chunk * signs
        return folded
