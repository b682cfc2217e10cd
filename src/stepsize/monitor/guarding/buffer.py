"""The last good states of a run, in host memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from stepsize.monitor.record import Mark
from stepsize.training.position import RngState
from stepsize.training.snapshot import Snapshot

_SCHEDULED = ("lr", "momentum", "betas", "weight_decay", "max_lr", "min_lr", "max_momentum", "base_momentum")


@dataclass(frozen=True, eq=False)
class SavedState:
    """A state between two updates: the next step and batch, last rates, the mark of the record."""

    step: int
    position: int
    rates: tuple[float, ...]
    snapshot: Snapshot
    mark: Mark


def go_back(snapshot: Snapshot, optimizers: Sequence[Optimizer], *, replays: bool = False) -> None:
    """Restore a state; if batches are not replayed, scheduled values and random generators continue.

    Groups that the optimizers were given since then stay.
    """
    groups = [list(one.param_groups) for one in optimizers]
    scheduled = [(group, _scheduled(group)) for several in groups for group in several]
    randomness = RngState.take()
    snapshot.restore()
    for optimizer, several in zip(optimizers, groups, strict=True):
        optimizer.param_groups += several[len(optimizer.param_groups) :]
    if replays:
        return
    randomness.restore()
    for group, values in scheduled:
        for key, value in values.items():
            if isinstance(group.get(key), Tensor) and isinstance(value, Tensor):
                group[key].copy_(value)
            else:
                group[key] = value


def _scheduled(group: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the values of a parameter group that a schedule sets."""
    values = {key: value for key, value in group.items() if key in _SCHEDULED or key.startswith("initial_")}
    return {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in values.items()}


class SnapshotBuffer:
    """At most ``size`` states; a new one replaces the oldest. Until step ``early``, the first one is also kept.

    Two are the fewest: the newest may contain a fault that has not been detected yet.
    """

    def __init__(self, size: int, early: int) -> None:
        self._size, self._early = size, early
        self._saved: deque[SavedState] = deque()

    def __len__(self) -> int:
        return len(self._saved)

    @property
    def oldest(self) -> SavedState:
        """The oldest state."""
        return self._saved[0]

    def clear(self) -> None:
        """Drop all states."""
        self._saved.clear()

    def save(self, state: SavedState) -> None:
        """Save a state; it replaces one of the same step."""
        if self._saved and self._saved[-1].step == state.step:
            self._saved.pop()
        self._saved.append(state)
        first = self.oldest.step == 0 and state.step <= self._early
        while len(self._saved) > self._size + first:
            del self._saved[int(first)]

    def before(self, step: int) -> SavedState:
        """Return the newest state of at most that step, or the oldest; later ones are dropped."""
        while len(self._saved) > 1 and self._saved[-1].step > step:
            self._saved.pop()
        return self._saved[-1]
