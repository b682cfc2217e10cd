"""A value for each step of a training, kept as its changes: as long as what happened, not as the training."""

from __future__ import annotations

from collections.abc import Iterable

from stepsize.schedules import Span

__all__ = ["Steps"]


class Steps:
    """The values of all steps so far.

    Args:
        changes: From which step on which value holds, as :attr:`changes` gave it.

    Example:
        >>> steps = Steps()
        >>> for step, value in enumerate([1.0, 1.0, 0.5, 0.5, 1.0]):
        ...     steps.add(step, value)
        >>> steps.changes, steps.corners(5)
        ([(0, 1.0), (2, 0.5), (4, 1.0)], {0: 1.0, 1: 1.0, 2: 0.5, 3: 0.5, 4: 1.0})
    """

    def __init__(self, changes: Iterable[tuple[int, float]] = ()) -> None:
        self.changes = [(int(step), float(value)) for step, value in changes]

    def add(self, step: int, value: float) -> None:
        """Say which value ``step`` has; those of it and after it are forgotten, since the training went back."""
        while self.changes and self.changes[-1][0] >= step:
            self.changes.pop()
        if not self.changes or self.changes[-1][1] != value:
            self.changes.append((step, value))

    def corners(self, end: int) -> dict[int | str | Span, float]:
        """Return the values at the steps before and after each change, and at the last of ``end`` steps."""
        found: dict[int | str | Span, float] = {0: 1.0}
        for number, (step, value) in enumerate(self.changes):
            if step:
                found[step - 1] = self.changes[number - 1][1] if number else 1.0
            found[step] = value
        if self.changes and end - 1 > self.changes[-1][0]:
            found[end - 1] = self.changes[-1][1]
        return found
