"""Where two schedules part, and by how much."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.node import plural, whole
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Array
from stepsize.schedules.units import as_duration

_EQUAL = 1e-12  # relative; what rounding makes of one formula written in two ways


@dataclass(frozen=True)
class Difference:
    """What :func:`diff` found, a before b.

    Attributes:
        same: Whether all updates have the same factors and both end at the same step.
        steps: The updates that were compared, from 0.
        first: The first update at which they differ by more than 1e-12 of the larger factor; None if none does.
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
        """Σ factor of b over Σ factor of a; None where a makes no step at all."""
        return self.area[1] / self.area[0] if self.area[0] else None

    @property
    def status(self) -> str:
        """What was found, in a sentence."""
        held = self._held()
        if self.first is None:
            what = f"The two schedules have the same factors at all {plural(self.steps)}"
            return f"{what}{f', {held}' if held else ''}."
        step, a, b = self.largest
        span = f"at update {self.first:,} only"
        if self.last != self.first:
            span = f"first at update {self.first:,}, last at {self.last:,} of {self.steps:,}"
        ratio = self.effective_steps_ratio
        times = "" if ratio is None else f", {ratio:.4g} times as many effective steps"
        return (
            f"The two schedules part {span}; most at update {step:,}, {a:.4g} against {b:.4g}; the second makes "
            f"{self.area[1]:,.6g} effective steps to {self.area[0]:,.6g}{times}{f'; {held}' if held else ''}."
        )

    def _held(self) -> str:
        """Say whose end lies within the compared updates, so that its last factor was held."""
        if self.lengths[0] == self.lengths[1]:
            return ""
        names, lasts = ("the first", "the second"), [length or self.steps for length in self.lengths]
        ends = [
            f"{name} ends after {plural(last)} and is held at its last factor"
            for name, last in zip(names, lasts, strict=True)
            if last < self.steps
        ]
        ends += [f"{name} has no end" for name, own in zip(names, self.lengths, strict=True) if own is None]
        return " and ".join(ends) or f"they last {plural(self.lengths[0])} and {plural(self.lengths[1])}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``, with the status."""
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**lists, "effective_steps_ratio": self.effective_steps_ratio, "status": self.status}


def diff(a: Schedule, b: Schedule, steps: int | None = None) -> Difference:
    """Return where two schedules part.

    Update t is counted as different where |f_a(t) - f_b(t)| > 1e-12 max(f_a(t), f_b(t)). Behind its end a schedule
    keeps its last factor.

    Args:
        a: A settled schedule.
        b: Another one.
        steps: How many updates to compare; default the length of the longer one, or of the one that has an end.

    Returns:
        The first, last and largest difference, the areas under both, and a sentence.

    Raises:
        InputError: If one of them is not settled, or neither has an end and ``steps`` is not given.

    Example:
        >>> from stepsize.schedules import cosine, linear
        >>> found = diff(linear(100), cosine(100))
        >>> found.first, found.last, found.area
        (1, 99, (50.5, 50.5))
        >>> diff(linear(100), linear(100)).status
        'The two schedules have the same factors at all 100 steps.'
    """
    lengths = _length("a", a), _length("b", b)
    count = whole(as_duration("steps", steps)) if steps is not None else max(length or 0 for length in lengths)
    if count == 0:
        raise InputError("steps", None, "must be given where neither schedule has an end")
    left, right = a.factors(count), b.factors(count)
    parted = _parted(left, right)
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


def _parted(left: Array, right: Array) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.flatnonzero(np.abs(left - right) > _EQUAL * np.maximum(left, right))
