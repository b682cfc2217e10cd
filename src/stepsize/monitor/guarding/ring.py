"""The last good states of a training, in host memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from stepsize.training.snapshot import Snapshot

__all__ = ["Kept", "Ring"]


@dataclass(frozen=True, eq=False)
class Kept:
    """A state before an update.

    Attributes:
        step: The update that comes next.
        position: The batch that comes next.
        rates: Of the groups, at the last update.
        snapshot: Everything that the training changes.
    """

    step: int
    position: int
    rates: tuple[float, ...]
    snapshot: Snapshot


class Ring:
    """At most ``size`` states; a new one takes the place of the oldest.

    Args:
        take: Makes a snapshot of the present state.
        size: At least 2: the newest may hold trouble that was not seen yet.
    """

    def __init__(self, take: Callable[[], Snapshot], size: int) -> None:
        self._take = take
        self._kept: deque[Kept] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def nbytes(self) -> int:
        """The memory that the copies take, in bytes."""
        return sum(kept.snapshot.nbytes for kept in self._kept)

    @property
    def oldest(self) -> Kept:
        """The oldest one."""
        return self._kept[0]

    def clear(self) -> None:
        """Forget all of them."""
        self._kept.clear()

    def keep(self, step: int, position: int, rates: tuple[float, ...]) -> None:
        """Keep the present state, in the place of one of the same step."""
        if self._kept and self._kept[-1].step == step:
            self._kept.pop()
        self._kept.append(Kept(step, position, rates, self._take()))

    def before(self, step: int) -> Kept:
        """Return the newest state of at least that many steps before, or the oldest; later ones are dropped."""
        while len(self._kept) > 1 and self._kept[-1].step > step:
            self._kept.pop()
        return self._kept[-1]
