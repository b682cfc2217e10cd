"""Processes that train one model together: what each of them measured alone, made the same for all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

EXCHANGE = 16
"""Steps between two exchanges."""

_MADE: Counter[str] = Counter()  # watches of each kind of run that this process began


@dataclass(frozen=True)
class Shared:
    """What all know after an exchange: mean seconds of watching and training, losses, validation loss, orders."""

    times: tuple[float, float]
    losses: list[tuple[int, float]]
    val_loss: float | None
    orders: bytes


def trains_together(models: Sequence[nn.Module]) -> bool:
    """Return whether one of the models is trained by several processes with averaged gradients."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return False
    return any(isinstance(one, nn.parallel.DistributedDataParallel) for model in models for one in model.modules())


class Team:
    """The processes that watch one run.

    A process that watches alone must not wait for others. So each registers in the store of the process group when it
    begins; whether all did is known at the first update, since its backward pass went through all of them. ``what``
    describes the model, the same in all processes.
    """

    def __init__(self, what: str) -> None:
        self._size = dist.get_world_size()
        _MADE[what] += 1
        self._key = f"stepsize/{what}/{_MADE[what]}"
        self._store: Any = dist.distributed_c10d._get_default_store()
        self._store.add(self._key, 1)
        self.losses: list[tuple[int, Tensor | float]] = []
        self.val_losses: list[float] = []

    def complete(self) -> bool:
        """Return whether every process watches; asked once, after the first update."""
        return int(self._store.add(self._key, 0)) == self._size

    def exchange(self, times: tuple[float, float], failing: str, device: torch.device, orders: bytes = b"") -> Shared:
        """Average what the processes know, and pass on orders, which one of them has; each calls it at the same step.

        Raises:
            RuntimeError: If the exchange, or a process before it, failed.
        """
        losses, self.losses = self.losses, []
        seen, self.val_losses = self.val_losses, []
        padded = [loss for _, loss in losses] + [0.0] * (EXCHANGE - len(losses))
        sizes = float(len(orders)), float(bool(orders))
        heads = [*times, math.fsum(seen), float(len(seen)), float(len(losses)), float(bool(failing)), *sizes]
        try:
            sums = self._sum([*heads, *padded], device)
        except Exception as error:
            raise RuntimeError(f"the processes could not exchange what they measured: {error}") from error
        spent, trained, total, evaluations, count, failed, size, senders = sums[: len(heads)]
        if senders > 1:
            raise RuntimeError("several processes took orders; pass store= in one of them")
        if failed or count != self._size * len(losses):
            raise RuntimeError(failing or "another process stopped watching")
        means = [loss / self._size for loss in sums[len(heads) :]]
        return Shared(
            (spent / self._size, trained / self._size),
            [(step, mean) for (step, _), mean in zip(losses, means, strict=False)],
            total / evaluations if evaluations else None,
            self._passed_on(orders, int(size), device) if size else b"",
        )

    def _passed_on(self, text: bytes, size: int, device: torch.device) -> bytes:
        """Return the text that one process has."""
        held = torch.tensor(list(text) or [0] * size, dtype=torch.int64, device=device)
        dist.all_reduce(held)
        return bytes(held.tolist())

    def mean(self, value: float, device: torch.device) -> float:
        """Return the mean over all processes; each must call it at the same point."""
        return self._sum([value], device)[0] / self._size

    def _sum(self, values: Sequence[Any], device: torch.device) -> list[float]:
        parts = [torch.as_tensor(one, dtype=torch.float64, device=device).detach().reshape(()) for one in values]
        total = torch.stack(parts)
        dist.all_reduce(total)
        return total.tolist()
