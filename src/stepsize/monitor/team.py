"""Processes that train one model together: what each of them measured alone, made the same for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["Team", "team_of", "trains_together"]

_MADE: Counter[str] = Counter()  # watches of each kind of training that this process began


def trains_together(models: Sequence[nn.Module]) -> bool:
    """Return whether one of the models is trained by several processes with averaged gradients."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return False
    return any(isinstance(one, nn.parallel.DistributedDataParallel) for model in models for one in model.modules())


def team_of(what: str, *, together: bool) -> Team | None:
    """Return the team of a training of this kind; None where it is trained by one process."""
    return Team(what) if together else None


class Team:
    """The processes that watch one training.

    A process that is alone in watching must not wait for others. So each tells the store of the process group when it
    begins; whether all have is known at the first update, since its backward pass went through all of them.

    Args:
        what: What is trained, the same in all processes.
    """

    def __init__(self, what: str) -> None:
        self.size = dist.get_world_size()
        _MADE[what] += 1
        self._key = f"stepsize/{what}/{_MADE[what]}"
        self._store: Any = dist.distributed_c10d._get_default_store()
        self._store.add(self._key, 1)

    def complete(self) -> bool:
        """Return whether every process watches; asked once, behind the first update."""
        return int(self._store.add(self._key, 0)) == self.size

    def sum(self, values: Sequence[Any], device: torch.device) -> list[float]:
        """Return the sums over all processes; each must call it at the same point."""
        parts = [torch.as_tensor(one, dtype=torch.float64, device=device).detach().reshape(()) for one in values]
        total = torch.stack(parts)
        dist.all_reduce(total)
        return total.tolist()

    def mean(self, value: float, device: torch.device) -> float:
        """Return the mean over all processes; each must call it at the same point."""
        return self.sum([value], device)[0] / self.size
