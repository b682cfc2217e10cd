"""Constructors of warm-ups, decays and cooldowns: everything that goes once from one factor to another."""

from __future__ import annotations

from stepsize.errors import InputError
from stepsize.schedules.algebra import Then, Within
from stepsize.schedules.leaves import Edges, Ramp
from stepsize.schedules.node import check_factor
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape, as_shape
from stepsize.schedules.units import Duration, Span, as_duration, as_length

__all__ = ["adam_warmup", "constant", "cooldown", "cosine", "decay", "linear", "linear_warmup", "polynomial", "warmup"]


def constant(steps: Duration | None = None, *, factor: float = 1.0) -> Schedule:
    """Return the same factor at every step.

    Args:
        steps: How long; None takes the rest of the horizon, or never ends.
        factor: The factor, >= 0.

    Returns:
        A schedule.

    Raises:
        InputError: If ``factor`` is no factor or ``steps`` no duration.

    Example:
        >>> constant()(10**9), constant(100, factor=0.1).length
        (1.0, 100)
    """
    factor = check_factor("factor", factor)
    return Schedule(Ramp(as_length(steps), factor, factor, Shape("linear")))


def warmup(steps: Duration, *, shape: Shape | str = "linear", start: float = 0.0, edges: Edges = "neither") -> Schedule:
    """Return a rise to the factor 1.

    Over W = ``steps`` updates, with d the decay of the ``shape``: ``start`` + (1 - ``start``) d(1 - p), where
    p = (t + 1) / (W + 1), so that update 0 does not waste its batch on a rate of 0 and the peak belongs to update W.
    ``edges="start"`` has p = t / W (update 0 at ``start``), ``edges="end"`` p = (t + 1) / W (the peak at update W - 1).
    ``shape="constant"`` holds ``start``.

    Args:
        steps: W, how long it takes.
        shape: ``"linear"``, ``"cosine"``, ``"exponential"`` (needs ``start`` > 0), ``"constant"``, or any other.
        start: The factor that it starts from, >= 0; with the default edges no update has it.
        edges: Which of its two ends an update takes.

    Returns:
        A schedule of ``steps`` steps.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> warmup(4).factors().tolist(), warmup(4, edges="start").factors().tolist()
        ([0.2, 0.4, 0.6, 0.8], [0.0, 0.25, 0.5, 0.75])
        >>> warmup(4, edges="end").factors().tolist()
        [0.25, 0.5, 0.75, 1.0]

    Reference:
        Goyal et al., "Accurate, large minibatch SGD: Training ImageNet in 1 hour", 2017.
    """
    if shape == "constant":
        return constant(steps, factor=start)
    return Schedule(Ramp(as_duration("warmup", steps), start, 1.0, as_shape(shape), edges))


def linear_warmup(steps: Duration, *, start: float = 0.0, edges: Edges = "neither") -> Schedule:
    """Return a linear rise to the factor 1: :func:`warmup` in its usual shape.

    At update t of W = ``steps``: ``start`` + (1 - ``start``) (t + 1) / (W + 1).

    Args:
        steps: How long it takes.
        start: The factor that it starts from.
        edges: Which of its two ends an update takes.

    Returns:
        A schedule of ``steps`` steps.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> linear_warmup(500).then(constant(8_000)).then(cooldown(1_500)).length
        10000
    """
    return warmup(steps, start=start, edges=edges)


def adam_warmup(beta2: float = 0.999) -> Schedule:
    """Return the warm-up that Adam needs without tuning: linear over 2 / (1 - beta2) steps.

    At update t: min(1, (t + 1) / W) with W = 2 / (1 - ``beta2``), rounded.

    Args:
        beta2: Adam's second decay rate, in [0, 1).

    Returns:
        A schedule of 2 / (1 - ``beta2``) steps, rounded.

    Raises:
        InputError: If ``beta2`` lies outside [0, 1).

    Example:
        >>> adam_warmup(0.99).length, adam_warmup(0.99)(0)
        (200, 0.005)

    Reference:
        Ma and Yarats, "On the adequacy of untuned warmup for adaptive optimization", 2021.
    """
    if not 0 <= beta2 < 1:
        raise InputError("beta2", beta2, "must lie in [0, 1)")
    return warmup(round(2 / (1 - beta2)), edges="end")


def decay(
    steps: Duration | None = None,
    *,
    shape: Shape | str = "linear",
    warmup: Duration | None = None,
    start: float = 1.0,
    end: float = 0.0,
    edges: Edges = "start",
) -> Schedule:
    """Return a way from one factor to another along any shape, with a warm-up before it if wanted.

    With d the decay of the ``shape`` and p = t / N over its N steps: ``end`` + (``start`` - ``end``) d(p). The shapes:
    linear, cosine(power), k-decay(k), waves(cycles), exponential, 1-sqrt, 1-square, polynomial(power),
    1-power(power), halving, rex, tanh(lower, upper).

    Args:
        steps: How long it takes, warm-up included; None takes the rest of the horizon.
        shape: A name with its parameters in parentheses, or a :class:`Shape`.
        warmup: How much of ``steps`` is a linear warm-up; a share is one of the horizon, which is ``steps`` where
            that is a number.
        start: The factor that it starts from.
        end: The factor that it reaches behind the last update.
        edges: Which of its two ends an update takes; ``"both"`` gives the last update the factor ``end``.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule, or the warm-up is not shorter than ``steps``.

    Example:
        >>> decay(4, shape="1-sqrt").factors().round(3).tolist()
        [1.0, 0.5, 0.293, 0.134]
    """
    length = as_length(steps)
    shape = as_shape(shape)
    if warmup is None:
        return Schedule(Ramp(length, start, end, shape, edges))
    before = as_duration("warmup", warmup)
    rise = Ramp(before, 0.0, start, Shape("linear"), "neither")
    if isinstance(length, int) and isinstance(before, int):
        if before >= length:
            raise InputError("warmup", warmup, f"must be shorter than the whole of {length:,} steps", "Shorten it")
        return Schedule(Then((rise, Ramp(length - before, start, end, shape, edges))))
    both = Schedule(Then((rise, Ramp(None, start, end, shape, edges))))
    if length is None:
        return both
    if isinstance(length, int) and isinstance(before, Span) and before.unit == "share":
        return both.over(length)
    return Schedule(Within(both.node, length))


def linear(
    steps: Duration | None = None, *, warmup: Duration | None = None, start: float = 1.0, end: float = 0.0
) -> Schedule:
    """Return a straight line from ``start`` to ``end``; to zero by default, which decays best at a tuned peak.

    At update t of N: ``start`` + (``end`` - ``start``) t / N.

    Args:
        steps: How long it takes, warm-up included; None takes the rest of the horizon.
        warmup: How much of it is a linear warm-up.
        start: The factor that it starts from.
        end: The factor that it reaches behind the last update.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> linear(warmup="10%").over(10).factors().round(3).tolist()
        [0.5, 1.0, 0.889, 0.778, 0.667, 0.556, 0.444, 0.333, 0.222, 0.111]

    Reference:
        Bergsma et al., "Straight to zero: Why linearly decaying the learning rate to zero works best for LLMs", 2025.
    """
    return decay(steps, shape="linear", warmup=warmup, start=start, end=end)


def cosine(
    steps: Duration | None = None, *, warmup: Duration | None = None, end: float = 0.0, power: float = 1.0
) -> Schedule:
    """Return half a cosine from 1 to ``end``, with a linear warm-up before it if wanted.

    Behind W warm-up updates, with p = (t - W) / (N - W): ``end`` + (1 - ``end``) ((1 + cos(pi p)) / 2)^``power``.

    Args:
        steps: N, how long it takes, warm-up included; None takes the rest of the horizon.
        warmup: W, how much of it is a linear warm-up.
        end: The factor that it reaches behind the last update, where it stays.
        power: The exponent of the cosine, > 0.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> eta = cosine(100, warmup=5)
        >>> [round(eta(t), 3) for t in (0, 5, 52, 100, 1_000)]
        [0.167, 1.0, 0.508, 0.0, 0.0]

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """
    return decay(steps, shape=Shape("cosine", (power,)), warmup=warmup, end=end)


def polynomial(
    steps: Duration | None = None, *, power: float = 2.0, warmup: Duration | None = None, end: float = 0.0
) -> Schedule:
    """Return a polynomial from 1 to ``end``: ``end`` + (1 - ``end``) (1 - p)^``power``.

    Args:
        steps: How long it takes, warm-up included; None takes the rest of the horizon.
        power: The exponent, > 0; 1 is a straight line.
        warmup: How much of it is a linear warm-up.
        end: The factor that it reaches behind the last update.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> polynomial(4, power=2, end=0.2).factors().round(3).tolist()
        [1.0, 0.65, 0.4, 0.25]
    """
    return decay(steps, shape=Shape("polynomial", (power,)), warmup=warmup, end=end)


def cooldown(steps: Duration | None = None, *, shape: Shape | str = "1-sqrt", end: float = 0.0) -> Schedule:
    """Return the last part of a training: from 1 to ``end``.

    At update t of N, with p = t / N: ``end`` + (1 - ``end``) (1 - sqrt(p)) for the default shape.

    Args:
        steps: How long it takes; None takes the rest of the horizon.
        shape: Its form.
        end: The factor that it reaches behind the last update.

    Returns:
        A schedule.

    Raises:
        InputError: If an argument breaks its rule.

    Example:
        >>> constant(2).then(cooldown(4)).factors().round(3).tolist()
        [1.0, 1.0, 1.0, 0.5, 0.293, 0.134]

    Reference:
        Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations", 2024.
    """
    return decay(steps, shape=shape, end=end)
