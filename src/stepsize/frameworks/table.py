"""A schedule as a table of learning rates, for the compiled code of any framework."""

from __future__ import annotations

from stepsize.checks import check_whole
from stepsize.errors import InputError
from stepsize.schedules import Peaks, Schedule
from stepsize.schedules.shapes import Array

_MOST = 50_000_000


def rate_table(schedule: Schedule, lr: float, steps: int | None) -> Array:
    """Return the learning rate of each update, and the one that is held after them: shape ``(steps + 1,)``."""
    given: object = schedule  # any type at run time
    if not isinstance(given, Schedule):
        remedy = "Of a HyperparameterSchedule use .rate; wrap a function with stepsize.schedules.function"
        raise InputError("schedule", given, "must be a Schedule", remedy)
    peak = Peaks(lr).lr
    if steps is not None:
        check_whole("steps", steps, unit="updates")
        schedule = schedule if schedule.resolved else schedule.over(steps)
    count = schedule.count(steps)
    if count > _MOST:
        remedy = "Pass the number of training steps, or call the schedule in a function of your own"
        raise InputError("steps", count, f"must be at most {_MOST:,}, which a table holds", remedy)
    return peak * schedule(range(count + 1))
