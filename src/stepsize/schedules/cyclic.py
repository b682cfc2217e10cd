"""Constructors of schedules that rise again: triangles, one cycle, warm restarts."""

from __future__ import annotations

from typing import Literal

from stepsize.errors import InputError
from stepsize.schedules.leaves import OneCycle, Restarts, Triangles
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape, as_shape
from stepsize.schedules.units import Duration, as_duration, as_length

__all__ = ["one_cycle", "one_cycle_momentum", "triangular", "warm_restarts"]

Corners = Literal["start", "both"]


def triangular(
    up: Duration,
    down: Duration | None = None,
    *,
    low: float = 0.1,
    per_cycle: float = 1.0,
    per_step: float = 1.0,
    steps: Duration | None = None,
) -> Schedule:
    """Return a rate that cycles between ``low`` and 1 along straight lines.

    In cycle c = 0, 1, ..., with the triangle h(t) in [0, 1]: ``low`` + (1 - ``low``) h ``per_cycle``^c ``per_step``^t.
    ``per_cycle=0.5`` is known as triangular2, ``per_step`` below 1 as exp_range.

    Args:
        up: How long it rises.
        down: How long it falls; default as long as it rises.
        low: The factor that it starts from and returns to, in [0, 1].
        per_cycle: What is left of the height from one cycle to the next, in (0, 1].
        per_step: What is left of the height from one step to the next, in (0, 1].
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> triangular(2, low=0.0, per_cycle=0.5).factors(8).tolist()
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]

    Reference:
        Smith, "Cyclical learning rates for training neural networks", 2017.
    """
    rise = as_duration("up", up)
    fall = rise if down is None else as_duration("down", down)
    return Schedule(Triangles(as_length(steps), rise, fall, low, per_cycle, per_step))


def one_cycle(
    steps: Duration | None = None,
    *,
    rise: float = 0.3,
    start: float = 1 / 25,
    peak: float = 1.0,
    end: float = 1 / 25e4,
    shape: Shape | str = "cosine",
    three_phase: bool = False,
    edges: Corners = "start",
) -> Schedule:
    """Return one cycle: up from ``start`` to ``peak``, then down to ``end``.

    With three phases the way down leads through ``start``, as long after the peak as the rise took.

    Args:
        steps: N, how long it takes; None takes the rest of the horizon.
        rise: The share of it that rises, in (0, 1), below one half with three phases.
        start: The factor of update 0; the common ``div_factor`` is 1 / ``start``.
        peak: The factor in between; another than 1 for what is no rate, such as the momentum that dips.
        end: The factor at the end; the common ``final_div_factor`` is ``start`` / ``end``.
        shape: Of all phases.
        three_phase: Whether to come down in two phases.
        edges: ``"start"`` peaks at update ``rise`` * N and ends behind the last update; ``"both"`` peaks one update
            earlier and gives the last update the factor ``end``, as torch's OneCycleLR does.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> one_cycle(10)([0, 3, 10]).round(6).tolist()
        [0.04, 1.0, 4e-06]

    Reference:
        Smith and Topin, "Super-convergence: Very fast training of neural networks using large learning rates", 2018.
    """
    return Schedule(OneCycle(as_length(steps), start, peak, end, rise, as_shape(shape), three_phase, edges))


def one_cycle_momentum(
    steps: Duration | None = None,
    *,
    low: float = 0.85,
    high: float = 0.95,
    rise: float = 0.3,
    shape: Shape | str = "cosine",
    three_phase: bool = False,
    edges: Corners = "start",
) -> Schedule:
    """Return the momentum that goes with :func:`one_cycle`: ``low`` while the rate is high.

    Its values are momenta themselves, not factors of one: give it as the ``momentum`` of a course.

    Args:
        steps: As for the rate.
        low: The momentum at the peak of the rate, in [0, 1).
        high: The momentum at both ends, in [0, 1).
        rise: As for the rate.
        shape: As for the rate.
        three_phase: As for the rate.
        edges: As for the rate.

    Returns:
        A schedule of momenta.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> one_cycle_momentum(10)([0, 3, 10]).tolist()
        [0.95, 0.85, 0.95]

    Reference:
        Smith, "A disciplined approach to neural network hyper-parameters: Part 1", 2018.
    """
    for name, value in (("low", low), ("high", high)):
        if not 0 <= value < 1:
            raise InputError(name, value, "must be a momentum in [0, 1)")
    return Schedule(OneCycle(as_length(steps), high, low, high, rise, as_shape(shape), three_phase, edges))


def warm_restarts(
    first: Duration,
    *,
    growth: float = 1.0,
    per_cycle: float = 1.0,
    end: float = 0.0,
    shape: Shape | str = "cosine",
    steps: Duration | None = None,
) -> Schedule:
    """Return a decay that starts again and again.

    Cycle c = 0, 1, ... takes ``first`` ``growth``^c steps and goes from max(``per_cycle``^c, ``end``) to ``end``.

    Args:
        first: How long the first cycle takes.
        growth: How much longer each cycle is than the one before, >= 1.
        per_cycle: What is left of the peak from one cycle to the next, in (0, 1].
        end: The factor that each cycle reaches.
        shape: Of each cycle.
        steps: How long it lasts; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> warm_restarts(2, growth=2, per_cycle=0.5, shape="linear").factors(6).tolist()
        [1.0, 0.5, 0.5, 0.375, 0.25, 0.125]

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """
    length = as_length(steps)
    return Schedule(Restarts(length, as_duration("first", first), growth, per_cycle, end, as_shape(shape)))
