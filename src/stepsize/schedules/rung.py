"""The same shape over another number of steps: the schedule of a rung, a short run with a complete decay."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from stepsize.checks import check_whole


def resampled(schedule: Callable[[int], float], steps: int, *, to: int) -> Callable[[float], float]:
    """Return ``schedule``, made for ``steps`` updates, compressed or stretched ``to`` another number.

    The factor of update t is that of the original at (t + 1/2) ``steps`` / ``to`` - 1/2, linearly interpolated between
    whole steps, since a schedule needs to be defined on whole steps only.

    Args:
        schedule: Maps a step to a factor.
        steps: The horizon that it was made for, in optimizer updates, >= 1.
        to: The new horizon, in optimizer updates, >= 1.

    Returns:
        Maps a step to a factor; the same factors as ``schedule`` if ``to == steps``.

    Example:
        >>> halves = resampled(lambda t: 1 - t / 8, 8, to=4)
        >>> [halves(t) for t in range(4)]
        [0.9375, 0.6875, 0.4375, 0.1875]
    """
    return partial(_between, schedule, check_whole("steps", steps), check_whole("to", to))  # which pickles


def _between(schedule: Callable[[int], float], steps: int, to: int, step: float) -> float:
    # Midpoints map onto midpoints, so that to == steps is the identity and neither end is cut off.
    position = (step + 0.5) * steps / to - 0.5
    position = min(max(position, 0.0), float(steps - 1))
    below = int(position)
    rest = position - below
    if rest == 0.0:
        return schedule(below)
    return (1 - rest) * schedule(below) + rest * schedule(below + 1)
