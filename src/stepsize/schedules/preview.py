"""What a schedule will do, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stepsize.schedules.algebra import Then
from stepsize.schedules.hyperparameters import HyperparameterSchedule, Peaks, Values, as_hyperparameters
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Array

_MOST_PHASES = 12  # beyond, a table of all boundaries is no help
_VISIBLE = 1e-3  # fraction of the factor that a jump must exceed to be shown
_HALVINGS = 30  # of the time between two updates
_AT_ONCE = 0.2  # fraction of the change until then that a jump exceeds; a root is steep, but less so


@dataclass(frozen=True)
class KeyPoint:
    """A step worth looking at, and why.

    Attributes:
        step: Number of the update; the length itself stands for everything after the end.
        what: What happens there.
    """

    step: int
    what: str


@dataclass(frozen=True, eq=False)
class Preview:
    """The values of every update, and the steps that tell most.

    Attributes:
        steps: Numbers of updates from 0, shape ``(n + 1,)``; the last is the one after the end.
        factors: Factors of the rate, of the same shape.
        values: What the optimizer uses, of the same shape.
        points: Key points, in order.
        effective_steps: Sum of the factors of the n updates.
    """

    steps: Array
    factors: Array
    values: Values
    points: tuple[KeyPoint, ...]
    effective_steps: float


def preview(schedule: HyperparameterSchedule | Schedule | str, peaks: Peaks, *, steps: int | None = None) -> Preview:
    """Return what ``schedule`` will do at each update, exactly as a bound optimizer will get it.

    Args:
        schedule: A schedule of the rate, its written form, or one of rate, momentum and weight decay; resolved.
        peaks: Peak rate, momentum and weight decay.
        steps: Number of updates. Default: its length.

    Returns:
        Arrays over the updates and key points.

    Raises:
        InputError: If it has no end and ``steps`` is not given, or it does not fit the peaks.

    Example:
        >>> from stepsize.schedules import cosine
        >>> seen = preview(cosine(1_000, warmup=50), Peaks(lr=3e-3, momentum=0.9))
        >>> [(point.step, point.what) for point in seen.points]
        [(0, 'first update'), (50, 'peak'), (999, 'last update'), (1000, 'after the end')]
        >>> float(seen.values.effective_lr[50])
        0.03...
    """
    schedule = as_hyperparameters("schedule", schedule)
    count = schedule.rate.count(steps)
    at = np.arange(count + 1, dtype=np.float64)
    factors = schedule.rate(at)
    values = schedule.values(peaks, at)
    points = tuple(_points(schedule.rate, factors, values.lr, count))
    return Preview(at, factors, values, points, float(factors[:-1].sum()))


def _points(rate: Schedule, factors: Array, lrs: Array, count: int) -> Iterator[KeyPoint]:
    found: dict[int, str] = {0: "first update"}
    for step, what in _boundaries(rate, factors, count):
        found.setdefault(step, what)
    peak = int(np.argmax(factors[:-1]))
    if factors[peak] > factors[:-1].min():
        found[peak] = "first update, peak" if peak == 0 else "peak"
    highest = int(np.argmax(lrs[:-1]))
    if lrs[highest] > (1 + 1e-9) * lrs[peak]:  # a moving momentum moves it
        found.setdefault(highest, "highest lr")
    if count > 1:
        found.setdefault(count - 1, "last update")
    found[count] = "after the end"
    yield from (KeyPoint(step, found[step]) for step in sorted(found))


def _boundaries(rate: Schedule, factors: Array, count: int) -> list[tuple[int, str]]:
    found = {} if rate.node.holds_function else dict.fromkeys(_jumps(rate, factors), "jump")
    if isinstance(rate.node, Then):
        lengths = [phase.length or 0 for phase in rate.node.phases[:-1]]
        for at in np.cumsum(lengths).tolist():
            if at < count:
                found.setdefault(at, "next phase begins")
    return sorted(found.items())[:_MOST_PHASES]


def _jumps(rate: Schedule, factors: Array) -> list[int]:
    """Return the updates at which the factor has jumped since the update before, by bisection of the time between."""
    first, last = factors[:-2], factors[1:-1]
    seen = np.flatnonzero(np.abs(last - first) > _VISIBLE * np.maximum(first, last))
    first, last, left, right = first[seen], last[seen], seen.astype(np.float64), seen + 1.0
    change = np.abs(last - first)
    for _ in range(_HALVINGS):
        middle = (left + right) / 2
        value = rate(middle)
        early = np.abs(value - first) > np.abs(last - value)  # most of the change is before the middle
        left, right = np.where(early, left, middle), np.where(early, middle, right)
        first, last = np.where(early, first, value), np.where(early, value, last)
    found: list[int] = (1 + seen[np.abs(last - first) > _AT_ONCE * change]).tolist()
    return found
