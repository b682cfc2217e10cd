"""Data, models and a loop that the tests of training share: small enough to run in milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Optimizer

from stepsize.training import Task
from stepsize.training.border import inspect_task

Batch = tuple[Tensor, Tensor]


def examples(n: int = 48) -> Batch:
    """Return inputs of shape (n, 3) and noisy targets of shape (n, 1), the same on every call."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, 3, generator=generator)
    return x, x.sum(1, keepdim=True) + 0.1 * torch.randn(n, 1, generator=generator)


def batches(n: int = 48, size: int = 8) -> list[Batch]:
    """Return the examples in batches of ``size``, in order; the last may be smaller."""
    x, y = examples(n)
    return [(x[start : start + size], y[start : start + size]) for start in range(0, n, size)]


def linear() -> nn.Module:
    return nn.Linear(3, 1)


def network() -> nn.Module:
    """Return a network with all that makes two trainings differ: BatchNorm statistics and dropout."""
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1))


class Frozen(nn.Module):
    """A network whose BatchNorm stands still, as in fine-tuning."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.norm = nn.BatchNorm1d(1).eval()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.body(x))
        return out


class ReIterable:
    """Batches without a length."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __iter__(self) -> Iterator[Any]:
        return iter(self.given)


def make_task(**changes: Any) -> Task:
    """Return a task on the examples, with ``changes``."""
    parts: dict[str, Any] = {"model": linear, "loss": mse_loss, "train": examples(), "optimizer": "sgd"}
    if "epochs" not in changes:
        parts["steps"] = 20
    return Task(**(parts | changes))


def endless(source: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from source


def inspected(task: Task, *spies: list[Any]) -> Task:
    """Return ``task`` after the look that comes before its first run, and forget what ``spies`` have seen of that."""
    inspect_task(task)
    for spy in spies:
        spy.clear()
    return task


def naive_losses(
    task: Task,
    optimize: Callable[[Iterable[Any]], Optimizer],
    lr: float,
    *,
    schedule: Callable[[int], float] = lambda step: 1.0,
    clip: float | None = None,
) -> tuple[list[float], nn.Module]:
    """Return the losses of the plainest loop over ``task``'s data, and its model: the twin of ``train``."""
    torch.manual_seed(task.seed)
    model = task.model()
    optimizer = optimize(model.parameters())
    stream = endless(task.train)
    losses = []
    for step in range(task.horizon):
        for group in optimizer.param_groups:
            group["lr"] = lr * schedule(step)
        x, y = next(stream)
        optimizer.zero_grad()
        loss = mse_loss(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses, model
