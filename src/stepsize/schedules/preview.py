"""What a course will do, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules.algebra import Then
from stepsize.schedules.course import Course, Peaks, Values
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Array
from stepsize.schedules.units import as_duration

__all__ = ["KeyPoint", "Preview", "preview"]

_MOST_PARTS = 12  # beyond, a table of all boundaries is no help


@dataclass(frozen=True)
class KeyPoint:
    """A step worth looking at, and why.

    Attributes:
        step: The number of the update; the length itself stands for everything behind the end.
        what: What happens there.
    """

    step: int
    what: str


@dataclass(frozen=True, eq=False)
class Preview:
    """The values of every update, and the steps that tell most.

    Attributes:
        steps: Numbers of updates from 0, shape ``(n + 1,)``; the last is the one behind the end.
        factors: Of the rate's schedule, of the same shape.
        values: What the optimizer uses, of the same shape.
        points: Key points, in order.
        effective_steps: Σ factor over the n updates.
    """

    steps: Array
    factors: Array
    values: Values
    points: tuple[KeyPoint, ...]
    effective_steps: float


def preview(course: Course | Schedule, peaks: Peaks, *, steps: int | None = None) -> Preview:
    """Return what ``course`` will do at each update, exactly as a bound optimizer will be given it.

    Args:
        course: A course or a schedule of the rate, settled.
        peaks: Peak rate, momentum and weight decay.
        steps: How many updates; default its length.

    Returns:
        Arrays over the updates and key points.

    Raises:
        InputError: If it has no end and ``steps`` is not given, or the course does not fit the peaks.

    Example:
        >>> from stepsize.schedules import cosine
        >>> seen = preview(cosine(1_000, warmup=50), Peaks(lr=3e-3, momentum=0.9))
        >>> [(point.step, point.what) for point in seen.points]
        [(0, 'first update'), (50, 'peak'), (999, 'last update'), (1000, 'behind the end')]
        >>> float(seen.values.effective_lr[50])
        0.03...
    """
    course = Course(course) if isinstance(course, Schedule) else course
    count = course.length if steps is None else as_duration("steps", steps)
    if count is None:
        raise InputError("steps", None, "must be given for a schedule without an end")
    if not isinstance(count, int):
        raise InputError("steps", steps, "must be a number of updates", "Call .over(…) to change the horizon")
    at = np.arange(count + 1, dtype=np.float64)
    factors = course.rate(at)
    values = course.values(peaks, at)
    points = tuple(_points(course.rate, factors, values.lr, count))
    return Preview(at, factors, values, points, float(factors[:-1].sum()))


def _points(rate: Schedule, factors: Array, lrs: Array, count: int) -> Iterator[KeyPoint]:
    found: dict[int, str] = {0: "first update"}
    for step, what in _begins(rate, count):
        found.setdefault(step, what)
    peak = int(np.argmax(factors[:-1]))
    if factors[peak] > factors[:-1].min():
        found[peak] = "first update, peak" if peak == 0 else "peak"
    highest = int(np.argmax(lrs[:-1]))
    if lrs[highest] > (1 + 1e-9) * lrs[peak]:  # a moving momentum moves it
        found.setdefault(highest, "highest lr")
    if count > 1:
        found.setdefault(count - 1, "last update")
    found[count] = "behind the end"
    yield from (KeyPoint(step, found[step]) for step in sorted(found))


def _begins(rate: Schedule, count: int) -> list[tuple[int, str]]:
    leaps = set(rate.jumps(count))
    node = rate.node
    begins: list[tuple[int, str]] = [(step, "leaps") for step in sorted(leaps)]
    if isinstance(node, Then):
        at = 0
        for part in node.parts[:-1]:
            at += part.length or 0
            if at not in leaps and at < count:
                begins.append((at, "next part begins"))
    return sorted(begins)[:_MOST_PARTS]
