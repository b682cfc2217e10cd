"""Constructors of schedules that go once from one factor to another: warmups, decays, cooldowns, WSD.

Every constructor raises InputError if an argument breaks its rule.
"""

from __future__ import annotations

from stepsize.checks import check_number
from stepsize.errors import InputError
from stepsize.schedules.algebra import Then, Within
from stepsize.schedules.leaves import Endpoints, Ramp
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape, as_shape
from stepsize.schedules.units import Duration, Span, as_duration, as_length


def constant(steps: Duration | None = None, *, factor: float = 1.0) -> Schedule:
    """Return the same factor at every step.

    Args:
        steps: Length; None takes the rest of the horizon, or never ends.
        factor: The factor, >= 0.

    Example:
        >>> constant()(10**9), constant(100, factor=0.1).length
        (1.0, 100)
    """
    factor = check_number("factor", factor, least=0)
    return Schedule(Ramp(factor, factor, steps=as_length("steps", steps)))


def warmup(
    steps: Duration, *, shape: Shape | str = "linear", start: float = 0.0, endpoints: Endpoints = "neither"
) -> Schedule:
    """Return a rise to the factor 1.

    Over W = ``steps`` updates, with d the decay of the ``shape``: ``start`` + (1 - ``start``) d(1 - p), where
    p = (t + 1) / (W + 1). So update 0 does not waste its batch on a rate of 0, and the peak belongs to update W.
    ``endpoints="start"`` has p = t / W (update 0 at ``start``), ``endpoints="end"`` p = (t + 1) / W (the peak at
    update W - 1). ``shape="constant"`` holds ``start``.

    Args:
        steps: W, the length.
        shape: ``"linear"``, ``"cosine"``, ``"exponential"`` (needs ``start`` > 0), ``"constant"``, or any other.
        start: The factor that it starts from, >= 0; with the default endpoints no update has it.
        endpoints: Which of its two endpoints an update takes.

    Example:
        >>> warmup(4).factors().tolist(), warmup(4, endpoints="start").factors().tolist()
        ([0.2, 0.4, 0.6, 0.8], [0.0, 0.25, 0.5, 0.75])
        >>> warmup(4, endpoints="end").factors().tolist()
        [0.25, 0.5, 0.75, 1.0]

    Reference:
        Goyal et al., "Accurate, large minibatch SGD: Training ImageNet in 1 hour", 2017.
    """
    if shape == "constant":
        return constant(steps, factor=start)
    return Schedule(Ramp(start, 1.0, as_shape(shape), endpoints, steps=as_duration("warmup", steps)))


def adam_warmup(beta2: float = 0.999) -> Schedule:
    """Return the warmup that Adam needs without tuning: linear over 2 / (1 - beta2) steps.

    At update t: min(1, (t + 1) / W) with W = 2 / (1 - ``beta2``), rounded.

    Args:
        beta2: Adam's second decay rate, in [0, 1).

    Example:
        >>> adam_warmup(0.99).length, adam_warmup(0.99)(0)
        (200, 0.005)

    Reference:
        Ma and Yarats, "On the adequacy of untuned warmup for adaptive optimization", 2021.
    """
    if not 0 <= beta2 < 1:
        raise InputError("beta2", beta2, "must be in [0, 1)")
    return warmup(round(2 / (1 - beta2)), endpoints="end")


def decay(
    steps: Duration | None = None,
    *,
    shape: Shape | str = "linear",
    warmup: Duration | None = None,
    start: float = 1.0,
    end: float = 0.0,
    endpoints: Endpoints = "start",
) -> Schedule:
    """Return a decay along any shape, with an optional warmup before it.

    With d the decay of the ``shape`` and p = t / N over its N steps: ``end`` + (``start`` - ``end``) d(p). The shapes:
    linear, cosine(power), k-decay(k), waves(cycles), exponential, 1-sqrt, 1-square, polynomial(power),
    1-power(power), halving, rex, tanh(lower, upper).

    Args:
        steps: Length, warmup included; None takes the rest of the horizon.
        shape: A name with its parameters in parentheses, or a :class:`Shape`.
        warmup: Length of a linear warmup within ``steps``. A percentage refers to the horizon, which is ``steps`` if
            that is a number.
        start: The factor that it starts from.
        end: The factor after its last update.
        endpoints: Which of its two endpoints an update takes; ``"both"`` gives the last update the factor ``end``.

    Example:
        >>> decay(4, shape="1-sqrt").factors().round(3).tolist()
        [1.0, 0.5, 0.293, 0.134]
    """
    length = as_length("steps", steps)
    shape = as_shape(shape)
    if warmup is None:
        return Schedule(Ramp(start, end, shape, endpoints, steps=length))
    before = as_duration("warmup", warmup)
    if isinstance(length, int) and isinstance(before, int) and before >= length:
        raise InputError("warmup", warmup, f"must be shorter than all {length:,} steps", "Shorten it")
    rise = Ramp(0.0, start, endpoints="neither", steps=before)
    both = Schedule(Then((rise, Ramp(start, end, shape, endpoints))))
    return _over(both, length, before)


def linear(
    steps: Duration | None = None, *, warmup: Duration | None = None, start: float = 1.0, end: float = 0.0
) -> Schedule:
    """Return a straight line from ``start`` to ``end``; to zero by default, which decays best at a tuned peak.

    At update t of N: ``start`` + (``end`` - ``start``) t / N.

    Args:
        steps: Length, warmup included; None takes the rest of the horizon.
        warmup: Length of a linear warmup within it.
        start: The factor that it starts from.
        end: The factor after its last update.

    Example:
        >>> linear(warmup="10%").over(10).factors().round(3).tolist()
        [0.5, 1.0, 0.889, 0.778, 0.667, 0.556, 0.444, 0.333, 0.222, 0.111]

    Reference:
        Bergsma et al., "Straight to zero: Why linearly decaying the learning rate to zero works best for LLMs", 2025.
    """
    return decay(steps, warmup=warmup, start=start, end=end)


def cosine(
    steps: Duration | None = None, *, warmup: Duration | None = None, end: float = 0.0, power: float = 1.0
) -> Schedule:
    """Return half a cosine from 1 to ``end``, with an optional linear warmup before it.

    After W warmup updates, with p = (t - W) / (N - W): ``end`` + (1 - ``end``) ((1 + cos(pi p)) / 2)^``power``.

    Args:
        steps: N, the length, warmup included; None takes the rest of the horizon.
        warmup: W, the length of a linear warmup within it.
        end: The factor after its last update, where it stays.
        power: The exponent of the cosine, > 0.

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
        steps: Length, warmup included; None takes the rest of the horizon.
        power: The exponent, > 0; 1 is a straight line.
        warmup: Length of a linear warmup within it.
        end: The factor after its last update.

    Example:
        >>> polynomial(4, power=2, end=0.2).factors().round(3).tolist()
        [1.0, 0.65, 0.4, 0.25]
    """
    return decay(steps, shape=Shape("polynomial", (power,)), warmup=warmup, end=end)


def cooldown(steps: Duration | None = None, *, shape: Shape | str = "1-sqrt", end: float = 0.0) -> Schedule:
    """Return the last phase of a run: from 1 to ``end``.

    At update t of N, with p = t / N: ``end`` + (1 - ``end``) (1 - sqrt(p)) for the default shape.

    Args:
        steps: Length; None takes the rest of the horizon.
        shape: Shape of the decay.
        end: The factor after its last update.

    Example:
        >>> constant(2).then(cooldown(4)).factors().round(3).tolist()
        [1.0, 1.0, 1.0, 0.5, 0.293, 0.134]

    Reference:
        Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations", 2024.
    """
    return decay(steps, shape=shape, end=end)


def wsd(
    steps: Duration | None = None,
    *,
    warmup: Duration | None = "5%",
    cooldown: Duration = "20%",
    shape: Shape | str = "1-sqrt",
    end: float = 0.0,
) -> Schedule:
    """Return warmup, stable phase, cooldown (WSD); with a linear cooldown also known as a trapezoid.

    Args:
        steps: Length of the whole; None takes the horizon.
        warmup: Length of the linear warmup; None has none.
        cooldown: Length of the cooldown.
        shape: Shape of the cooldown.
        end: The factor after its last update.

    Example:
        >>> eta = wsd(100, warmup=5, cooldown="20%")
        >>> [round(eta(t), 3) for t in (0, 5, 80, 85, 100)]
        [0.167, 1.0, 1.0, 0.5, 0.0]

    Reference:
        Hu et al., "MiniCPM: Unveiling the potential of small language models with scalable training strategies", 2024.
    """
    stable_and_down = constant().then(decay(cooldown, shape=shape, end=end))
    rise = None if warmup is None else Ramp(0.0, 1.0, endpoints="neither", steps=as_duration("warmup", warmup))
    plan = stable_and_down if rise is None else Schedule(Then((rise, stable_and_down.node)))
    return _over(plan, as_length("steps", steps))


def _over(plan: Schedule, length: int | Span | None, *durations: int | Span) -> Schedule:
    """Return ``plan`` over ``length``, at once if that is a number and the durations need no clock."""
    if length is None:
        return plan
    if isinstance(length, int) and all(isinstance(each, int) or each.unit == "share" for each in durations):
        return plan.over(length)
    return Schedule(Within(plan.node, length))
