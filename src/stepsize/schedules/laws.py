"""Constructors of laws that go on for ever, of tables and of functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stepsize.schedules.leaves import Exponential, Function, MultiStep, Noam, Points, PowerLaw, Staircase
from stepsize.schedules.ramps import warmup as _warmup
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape, as_shape
from stepsize.schedules.units import Duration, Span, as_duration, as_length

__all__ = ["exponential", "function", "inverse_sqrt", "multi_step", "noam", "points", "power_law", "step_decay"]


def exponential(gamma: float, every: Duration = 1, *, steps: Duration | None = None) -> Schedule:
    """Return ``gamma``^(t / ``every``).

    Args:
        gamma: What is left of the factor after ``every`` steps, > 0.
        every: How long that takes.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> exponential(0.5, every=10)([0, 10, 20]).tolist()
        [1.0, 0.5, 0.25]
    """
    return Schedule(Exponential(as_length(steps), gamma, as_duration("every", every)))


def step_decay(every: Duration, *, gamma: float = 0.1, steps: Duration | None = None) -> Schedule:
    """Return ``gamma``^floor(t / ``every``): a drop every so many steps, first at update ``every``.

    Args:
        every: Steps from one drop to the next.
        gamma: What a drop multiplies by, > 0.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> step_decay(2, gamma=0.1).factors(5).round(3).tolist()
        [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    return Schedule(Staircase(as_length(steps), gamma, as_duration("every", every)))


def multi_step(milestones: Sequence[Duration], *, gamma: float = 0.1, steps: Duration | None = None) -> Schedule:
    """Return ``gamma``^(number of milestones <= t): drops at given steps.

    Args:
        milestones: The updates that are the first ones after a drop, not decreasing.
        gamma: What a drop multiplies by, > 0.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> multi_step(["50%", "75%"]).over(8).factors().round(3).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    at = tuple(as_duration("milestones", item) for item in milestones)
    return Schedule(MultiStep(as_length(steps), at, gamma))


def power_law(timescale: Duration, *, power: float = 0.5, steps: Duration | None = None) -> Schedule:
    """Return (τ / (t + τ))^``power`` with τ = ``timescale``: a decay that needs no horizon.

    Power 1 is inverse-time decay 1 / (1 + t / τ); ``constant(τ).then(power_law(τ, power=b))`` is min(1, (t / τ)^-b).

    Args:
        timescale: τ, the steps after which the factor is 2^-``power``.
        power: The exponent, > 0.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> power_law(100, power=1)([0, 100, 300]).tolist()
        [1.0, 0.5, 0.25]

    Reference:
        Shen et al., "Power scheduler: A batch size and token number agnostic learning rate scheduler", 2024.
    """
    return Schedule(PowerLaw(as_length(steps), as_duration("timescale", timescale), power))


def inverse_sqrt(
    timescale: Duration = 10_000, *, warmup: Duration | None = None, steps: Duration | None = None
) -> Schedule:
    """Return sqrt(τ / (t + τ)), with a linear warm-up before it if wanted.

    Args:
        timescale: τ, the steps after which the factor is 1 / sqrt(2).
        warmup: How long the warm-up lasts; t counts from its end.
        steps: How long the decay lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> inverse_sqrt(100, warmup=100)([100, 400]).tolist()
        [1.0, 0.5]

    Reference:
        Vaswani et al., "Attention is all you need", 2017.
    """
    law = power_law(timescale, steps=steps)
    return law if warmup is None else _warmup(warmup).then(law)


def noam(warmup: Duration, *, steps: Duration | None = None) -> Schedule:
    """Return the schedule of the first transformers: a linear rise, then the inverse square root.

    The shape of min((t + 1)^-0.5, (t + 1) W^-1.5) for W = ``warmup``, divided by its peak W^-0.5: update W - 1 has
    factor 1. The absolute rates of the paper are this times the peak lr d^-0.5 W^-0.5 for a model of width d.

    Args:
        warmup: W, how long the rise takes.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If ``warmup`` is no duration.

    Example:
        >>> noam(4).factors(16)[[0, 3, 15]].tolist()
        [0.25, 1.0, 0.5]

    Reference:
        Vaswani et al., "Attention is all you need", 2017.
    """
    return Schedule(Noam(as_length(steps), as_duration("warmup", warmup)))


def points(
    values: Mapping[Duration, float],
    *,
    between: Shape | str | None = "linear",
    steps: Duration | None = None,
) -> Schedule:
    """Return a schedule through given points.

    Args:
        values: The factor at each step; before the first and behind the last it stays at theirs.
        between: The shape of the way from one point to the next; None holds each factor until the next point.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If positions do not increase, or a value is no factor.

    Example:
        >>> points({0: 0.1, 2: 1.0, 4: 0.0})([0, 1, 2, 3, 9]).tolist()
        [0.1, 0.55, 1.0, 0.5, 0.0]
        >>> points({0: 1.0, 3: 0.1}, between=None)([2, 3]).tolist()
        [1.0, 0.1]
    """
    positions: tuple[int | Span, ...] = tuple(as_duration("values", position, least=0) for position in values)
    shape = None if between is None else as_shape(between)
    return Schedule(Points(as_length(steps), positions, tuple(values.values()), shape))


def function(factor: Callable[[int], float], steps: Duration | None = None) -> Schedule:
    """Return any function of whole steps as a schedule.

    It is asked for floor(t); what it returns is checked at every step. It has no JSON form:
    ``function(f, 1_000).tabulated()`` has.

    Args:
        factor: From a step to a factor >= 0; it must be pure.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule; equal to another if the function is the same object.

    Raises:
        InputError: If it is not callable; on use, if it returns a negative, infinite or NaN factor.

    Example:
        >>> function(lambda t: 0.5 ** (t // 10))(25)
        0.25
    """
    return Schedule(Function(as_length(steps), factor))
