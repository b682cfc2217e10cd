"""Constructors of schedules that may go on forever: laws, cycles, tables and functions.

Every constructor raises InputError if an argument breaks its rule. ``steps`` is the length; None takes the rest of the
horizon, or never ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from stepsize.errors import InputError
from stepsize.schedules import leaves
from stepsize.schedules.node import Leaf
from stepsize.schedules.ramps import warmup as _warmup
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape, as_shape
from stepsize.schedules.units import Duration

Corners = Literal["start", "both"]


def exponential(gamma: float, every: Duration = 1, *, steps: Duration | None = None) -> Schedule:
    """Return ``gamma``^(t / ``every``).

    Args:
        gamma: The factor after ``every`` steps, > 0.
        every: Number of steps per factor of ``gamma``.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> exponential(0.5, every=10)([0, 10, 20]).tolist()
        [1.0, 0.5, 0.25]
    """
    return _made(leaves.Exponential, gamma, every, steps=steps)


def step_decay(every: Duration, *, gamma: float = 0.1, steps: Duration | None = None) -> Schedule:
    """Return ``gamma``^floor(t / ``every``): a drop every so many steps, first at update ``every``.

    Args:
        every: Steps from one drop to the next.
        gamma: Multiplier of each drop, > 0.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> step_decay(2, gamma=0.1).factors(5).round(3).tolist()
        [1.0, 1.0, 0.1, 0.1, 0.01]
    """
    return _made(leaves.Staircase, every, gamma, steps=steps)


def multi_step(milestones: Sequence[Duration], *, gamma: float = 0.1, steps: Duration | None = None) -> Schedule:
    """Return ``gamma``^(number of milestones <= t): drops at given steps.

    Args:
        milestones: First update after each drop, not decreasing.
        gamma: Multiplier of each drop, > 0.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> multi_step(["50%", "75%"]).over(8).factors().round(3).tolist()
        [1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
    """
    return _made(leaves.MultiStep, milestones, gamma, steps=steps)


def power_law(timescale: Duration, *, power: float = 0.5, steps: Duration | None = None) -> Schedule:
    """Return (τ / (t + τ))^``power`` with τ = ``timescale``: a decay that needs no horizon.

    Power 1 is inverse-time decay 1 / (1 + t / τ); ``constant(τ).then(power_law(τ, power=b))`` is min(1, (t / τ)^-b).

    Args:
        timescale: τ, the number of steps after which the factor is 2^-``power``.
        power: The exponent, > 0.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> power_law(100, power=1)([0, 100, 300]).tolist()
        [1.0, 0.5, 0.25]

    Reference:
        Shen et al., "Power scheduler: A batch size and token number agnostic learning rate scheduler", 2024.
    """
    return _made(leaves.PowerLaw, timescale, power, steps=steps)


def inverse_sqrt(
    timescale: Duration = 10_000, *, warmup: Duration | None = None, steps: Duration | None = None
) -> Schedule:
    """Return sqrt(τ / (t + τ)), with an optional linear warmup before it.

    Args:
        timescale: τ, the number of steps after which the factor is 1 / sqrt(2).
        warmup: Length of the warmup; t counts from its end.
        steps: Length of the decay; None takes the rest of the horizon, or never ends.

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
    factor 1. The absolute rates of the paper are this times the peak rate d^-0.5 W^-0.5 for a model of width d.

    Args:
        warmup: W, the length of the rise.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> noam(4).factors(16)[[0, 3, 15]].tolist()
        [0.25, 1.0, 0.5]

    Reference:
        Vaswani et al., "Attention is all you need", 2017.
    """
    return _made(leaves.Noam, warmup, steps=steps)


def points(
    values: Mapping[Duration, float], *, between: Shape | str | None = "linear", steps: Duration | None = None
) -> Schedule:
    """Return a schedule through given points.

    Args:
        values: The factor at each step; before the first and after the last it stays at theirs.
        between: Shape from one point to the next; None holds each factor until the next point.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> points({0: 0.1, 2: 1.0, 4: 0.0})([0, 1, 2, 3, 9]).tolist()
        [0.1, 0.55, 1.0, 0.5, 0.0]
        >>> points({0: 1.0, 3: 0.1}, between=None)([2, 3]).tolist()
        [1.0, 0.1]
    """
    return _made(leaves.Points, tuple(values), tuple(values.values()), between, steps=steps)


def function(factor: Callable[[int], float], steps: Duration | None = None) -> Schedule:
    """Return any function of whole steps as a schedule.

    It is called with floor(t), and every result is checked. It has no written form;
    ``function(f, 1_000).tabulated()`` has one.

    Args:
        factor: Maps a step to a factor >= 0; it must be pure.
        steps: Length; None takes the rest of the horizon, or never ends.

    Returns:
        A schedule; equal to another if the function is the same object.

    Example:
        >>> function(lambda t: 0.5 ** (t // 10))(25)
        0.25
    """
    return _made(leaves.Function, factor, steps=steps)


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
        up: Length of the rise.
        down: Length of the fall. Default: that of the rise.
        low: The factor that it starts from and returns to, in [0, 1].
        per_cycle: Multiplier of the height from one cycle to the next, in (0, 1].
        per_step: Multiplier of the height from one step to the next, in (0, 1].
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> triangular(2, low=0.0, per_cycle=0.5).factors(8).tolist()
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.25, 0.5, 0.25]

    Reference:
        Smith, "Cyclical learning rates for training neural networks", 2017.
    """
    return _made(leaves.Triangles, up, down, low, per_cycle, per_step, steps=steps)


def one_cycle(
    steps: Duration | None = None,
    *,
    rise: float = 0.3,
    start: float = 1 / 25,
    peak: float = 1.0,
    end: float = 1 / 25e4,
    shape: Shape | str = "cosine",
    three_phase: bool = False,
    endpoints: Corners = "start",
) -> Schedule:
    """Return one cycle: up from ``start`` to ``peak``, then down to ``end``.

    With three phases the way down goes through ``start``, as long after the peak as the rise took.

    Args:
        steps: N, the length; None takes the rest of the horizon.
        rise: Fraction of it that rises, in (0, 1), below 0.5 with three phases.
        start: The factor of update 0; the common ``div_factor`` is 1 / ``start``.
        peak: The factor in between; other than 1 for what is not a rate, such as a momentum that dips.
        end: The factor at the end; the common ``final_div_factor`` is ``start`` / ``end``.
        shape: Shape of all phases.
        three_phase: Whether to come down in two phases.
        endpoints: ``"start"`` peaks at update ``rise`` * N and ends after the last update; ``"both"`` peaks one update
            earlier and gives the last update the factor ``end``, as torch's OneCycleLR does.

    Example:
        >>> one_cycle(10)([0, 3, 10]).round(6).tolist()
        [0.04, 1.0, 4e-06]

    Reference:
        Smith and Topin, "Super-convergence: Very fast training of neural networks using large learning rates", 2018.
    """
    return _made(leaves.OneCycle, rise, start, peak, end, as_shape(shape), three_phase, endpoints, steps=steps)


def one_cycle_momentum(
    steps: Duration | None = None,
    *,
    low: float = 0.85,
    high: float = 0.95,
    rise: float = 0.3,
    shape: Shape | str = "cosine",
    three_phase: bool = False,
    endpoints: Corners = "start",
) -> Schedule:
    """Return the momentum that goes with :func:`one_cycle`: ``low`` while the rate is high.

    Its values are momenta, not factors: use it as the ``momentum`` of a :class:`HyperparameterSchedule`.

    Args:
        steps: As for the rate.
        low: The momentum at the peak of the rate, in [0, 1).
        high: The momentum at both ends, in [0, 1).
        rise: As for the rate.
        shape: As for the rate.
        three_phase: As for the rate.
        endpoints: As for the rate.

    Example:
        >>> one_cycle_momentum(10)([0, 3, 10]).tolist()
        [0.95, 0.85, 0.95]

    Reference:
        Smith, "A disciplined approach to neural network hyper-parameters: Part 1", 2018.
    """
    for name, value in (("low", low), ("high", high)):
        if not 0 <= value < 1:
            raise InputError(name, value, "must be a momentum in [0, 1)")
    return one_cycle(
        steps, rise=rise, start=high, peak=low, end=high, shape=shape, three_phase=three_phase, endpoints=endpoints
    )


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
        first: Length of the first cycle.
        growth: Length of each cycle relative to the one before, >= 1.
        per_cycle: Peak of each cycle relative to the one before, in (0, 1].
        end: The factor at the end of each cycle.
        shape: Shape of each cycle.
        steps: Length; None takes the rest of the horizon, or never ends.

    Example:
        >>> warm_restarts(2, growth=2, per_cycle=0.5, shape="linear").factors(6).tolist()
        [1.0, 0.5, 0.5, 0.375, 0.25, 0.125]

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """
    return _made(leaves.Restarts, first, growth, per_cycle, end, as_shape(shape), steps=steps)


def _made(leaf: Callable[..., Leaf], *fields: Any, steps: Duration | None) -> Schedule:
    """Return a schedule of one leaf, which checks its fields."""
    return Schedule(leaf(*fields, steps=steps))
