"""Where the learning rate goes from here, if the schedule of a run is known: with the orders that it has followed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from stepsize.errors import StepsizeError
from stepsize.schedules import parse
from stepsize.schedules.steering import steered
from stepsize.store import OrderRecord

_POINTS = 100


def future_of(
    written: str, orders: Iterable[OrderRecord], step: int, planned: int | None, groups: Sequence[str]
) -> dict[str, list[list[float]]]:
    """Return later steps, and the rate there in multiples of the present one, of each group; nothing if it is unknown.

    ``written`` is the schedule that the run was started with, ``step`` the number of steps made.
    """
    if not written or not planned:
        return {}
    found = {}
    for group in groups:
        try:
            schedule = steered(parse(written), orders, group)
            last = (schedule.length or planned) - 1
            steps = np.unique(np.linspace(min(step, last), last, _POINTS).round())
            factors = schedule(steps)
        except StepsizeError:  # a schedule of a newer version, or orders that do not fit it
            return {}
        if len(steps) > 1 and factors[0] > 0:
            ratios = (factors / factors[0]).tolist()
            found[group] = [steps.tolist(), [round(ratio, 4) for ratio in ratios]]
    return found
