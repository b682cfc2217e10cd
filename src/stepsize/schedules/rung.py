"""The same shape over another number of steps: what turns a horizon into a rung."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stepsize.errors import InputError


@dataclass(frozen=True)
class Resampled:
    """The value behind :func:`resampled`."""

    schedule: Callable[[int], float]
    steps: int
    to: int

    def __call__(self, step: float) -> float:
        # Midpoints map onto midpoints, so that to == steps is the identity and neither end is cut off.
        position = (step + 0.5) * self.steps / self.to - 0.5
        position = min(max(position, 0.0), float(self.steps - 1))
        below = int(position)
        part = position - below
        if part == 0.0:
            return self.schedule(below)
        return (1 - part) * self.schedule(below) + part * self.schedule(below + 1)


def resampled(schedule: Callable[[int], float], steps: int, *, to: int) -> Callable[[float], float]:
    """Return ``schedule``, made for ``steps`` updates, compressed or stretched ``to`` another number.

    The factor of update t is that of the original at (t + 1/2) ``steps`` / ``to`` - 1/2, linearly
    interpolated between whole steps, since a schedule needs to be defined on whole steps only.

    Args:
        schedule: A callable from step to factor.
        steps: The horizon that it was made for, in optimizer updates, >= 1.
        to: The horizon that it is wanted for, in optimizer updates, >= 1.

    Returns:
        A callable from step to factor; the same factors as ``schedule`` where ``to == steps``.

    Raises:
        InputError: If a horizon is below 1.

    Example:
        >>> halves = resampled(lambda t: 1 - t / 8, 8, to=4)
        >>> [halves(t) for t in range(4)]
        [0.9375, 0.6875, 0.4375, 0.1875]
    """
    if steps < 1:
        raise InputError("steps", steps, "must be at least 1")
    if to < 1:
        raise InputError("to", to, "must be at least 1")
    return Resampled(schedule, steps, to)
