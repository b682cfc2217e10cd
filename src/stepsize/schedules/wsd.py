"""Warm-up, stable, decay: the schedule whose horizon can be decided late."""

from __future__ import annotations

from stepsize.schedules.algebra import Within
from stepsize.schedules.ramps import constant
from stepsize.schedules.ramps import cooldown as _cooldown
from stepsize.schedules.ramps import warmup as _warmup
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape
from stepsize.schedules.units import Duration, Span, as_duration

__all__ = ["wsd"]


def wsd(
    steps: Duration | None = None,
    *,
    warmup: Duration | None = "5%",
    cooldown: Duration = "20%",
    shape: Shape | str = "1-sqrt",
    end: float = 0.0,
) -> Schedule:
    """Return warm-up, stable rate, cooldown; with a linear cooldown also known as a trapezoid.

    Args:
        steps: The whole of it; None takes the horizon.
        warmup: How long the linear warm-up takes; None has none.
        cooldown: How long the cooldown takes.
        shape: Of the cooldown.
        end: The factor that it reaches behind the last update.

    Returns:
        A schedule.

    Raises:
        InputError: If warm-up and cooldown leave nothing in between, or an argument breaks its rule.

    Example:
        >>> eta = wsd(100, warmup=5, cooldown="20%")
        >>> [round(eta(t), 3) for t in (0, 5, 80, 85, 100)]
        [0.167, 1.0, 1.0, 0.5, 0.0]

    Reference:
        Hu et al., "MiniCPM: Unveiling the potential of small language models with scalable training strategies", 2024.
    """
    plan = constant().then(_cooldown(cooldown, shape=shape, end=end))
    if warmup is not None:
        plan = _warmup(warmup).then(plan)
    if steps is None:
        return plan
    length = as_duration("steps", steps)
    return Schedule(Within(plan.node, length)) if isinstance(length, Span) else plan.over(length)
