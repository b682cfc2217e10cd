"""The last good states of a run, in host memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stepsize.training.snapshot import Snapshot


@dataclass(frozen=True, eq=False)
class SavedState:
    """A state between two updates: the next step, the next batch, the last learning rates, and the snapshot."""

    step: int
    position: int
    rates: tuple[float, ...]
    snapshot: Snapshot


class SnapshotBuffer:
    """At most ``size`` states; a new one replaces the oldest. Until step ``early``, the first one is also kept.

    Args:
        take: Takes a snapshot of the present state.
        size: At least 2: the newest may contain a fault that has not been detected yet.
        early: Last step from which the run can begin anew.
    """

    def __init__(self, take: Callable[[], Snapshot], size: int, early: int) -> None:
        self._take = take
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

    def save(self, step: int, position: int, rates: tuple[float, ...]) -> None:
        """Save the present state; it replaces one of the same step."""
        if self._saved and self._saved[-1].step == step:
            self._saved.pop()
        self._saved.append(SavedState(step, position, rates, self._take()))
        first = self.oldest.step == 0 and step <= self._early
        while len(self._saved) > self._size + first:
            del self._saved[int(first)]

    def before(self, step: int) -> SavedState:
        """Return the newest state of at most that step, or the oldest; later ones are dropped."""
        while len(self._saved) > 1 and self._saved[-1].step > step:
            self._saved.pop()
        return self._saved[-1]
