"""A schedule as a table of rates: what runs inside the compiled code of any framework."""

from __future__ import annotations

from stepsize.errors import InputError
from stepsize.schedules import Peaks, Schedule
from stepsize.schedules.shapes import Array

__all__ = ["rate_table"]

_MOST = 50_000_000


def rate_table(schedule: Schedule, lr: float, steps: int | None) -> Array:
    """Return the rate of each update, and behind them the one that is held from then on.

    Args:
        schedule: A resolved schedule.
        lr: The peak rate.
        steps: How many updates; None takes the schedule's length.

    Returns:
        Rates, shape ``(steps + 1,)``.

    Raises:
        InputError: If it is no resolved schedule, ``lr`` no rate, ``steps`` no count, or neither ``steps`` nor an end
            is there.
    """
    given: object = schedule  # whatever was given
    if not isinstance(given, Schedule):
        remedy = "Of a HyperparameterSchedule use .rate; wrap a function with stepsize.schedules.function"
        raise InputError("schedule", given, "must be a Schedule", remedy)
    peak = Peaks(lr).lr
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or steps < 1):
        raise InputError("steps", steps, "must be a whole number of updates, at least 1")
    count = schedule.length if steps is None else steps
    if count is None:
        raise InputError("steps", None, "must be given for a schedule without an end")
    if count > _MOST:
        remedy = "Give the steps of the training, or call the schedule in a function of your own"
        raise InputError("steps", count, f"must be at most {_MOST:,}, which a table holds", remedy)
    return peak * schedule(range(count + 1))
