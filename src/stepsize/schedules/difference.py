"""Where two schedules differ, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stepsize.errors import InputError
from stepsize.plain import plain
from stepsize.schedules.schedule import Schedule

_EQUAL = 1e-12  # relative; what rounding makes of one formula written in two ways


@dataclass(frozen=True)
class Difference:
    """The result of :func:`diff`, a before b.

    Attributes:
        same: Whether all updates have the same factors and both end at the same step.
        steps: The updates that were compared, from 0.
        first: The first update at which they differ by more than 1e-12 of the larger factor; None if there is none.
        last: The last such update.
        largest: The update with the largest absolute difference, and both factors there.
        area: Σ factor over the compared updates: the effective steps of each.
        lengths: The number of updates that each lasts; None without an end.
    """

    same: bool
    steps: int
    first: int | None
    last: int | None
    largest: tuple[int, float, float]
    area: tuple[float, float]
    lengths: tuple[int | None, int | None]

    @property
    def effective_steps_ratio(self) -> float | None:
        """Σ factor of b over Σ factor of a; None if a makes no step at all."""
        return self.area[1] / self.area[0] if self.area[0] else None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {**plain(self), "effective_steps_ratio": self.effective_steps_ratio}


def diff(a: Schedule, b: Schedule, steps: int | None = None) -> Difference:
    """Return where two schedules differ.

    Update t is counted as different if |f_a(t) - f_b(t)| > 1e-12 max(f_a(t), f_b(t)). After its end a schedule holds
    its last factor.

    Args:
        a: A resolved schedule.
        b: Another one.
        steps: Number of updates to compare. Default: the length of the longer one, or of the one that has an end.

    Returns:
        The first, last and largest difference, and the areas under both.

    Raises:
        InputError: If one of them is not resolved, or neither has an end and ``steps`` is not given.

    Example:
        >>> from stepsize.schedules import cosine, linear
        >>> found = diff(linear(100), cosine(100))
        >>> found.first, found.last, found.area
        (1, 99, (50.5, 50.5))
        >>> diff(linear(100), linear(100)).same
        True
    """
    lengths = _length("a", a), _length("b", b)
    count = a.count(max(length or 0 for length in lengths) or None if steps is None else steps)
    left, right = a.factors(count), b.factors(count)
    parted = np.flatnonzero(np.abs(left - right) > _EQUAL * np.maximum(left, right))
    widest = int(np.argmax(np.abs(left - right)))
    return Difference(
        same=not parted.size and lengths[0] == lengths[1],
        steps=count,
        first=int(parted[0]) if parted.size else None,
        last=int(parted[-1]) if parted.size else None,
        largest=(widest, float(left[widest]), float(right[widest])),
        area=(float(left.sum()), float(right.sum())),
        lengths=lengths,
    )


def _length(argument: str, schedule: object) -> int | None:
    if not isinstance(schedule, Schedule):
        raise InputError(argument, schedule, "must be a Schedule", "Read a text with stepsize.schedules.parse")
    if not schedule.resolved:
        raise InputError(argument, str(schedule), "must be in steps", "Call .over(steps) first")
    return schedule.length
