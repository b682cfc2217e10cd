"""From what was typed to schedules and courses in steps."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from stepsize.cli.options import number
from stepsize.cli.schedule.clock import ClockOptions, told_as_options
from stepsize.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from stepsize.schedules import Clock, HyperparameterSchedule, Peaks, Schedule

__all__ = [
    "Coupling", "HorizonOption", "LogOption", "PeakOption", "checked_lr", "course_of", "read", "settled", "steps_text",
]  # fmt: skip

_MOST_STEPS = 10_000_000  # a table of more, in float64, is no preview
_RULES = ("follows", "independent", "corrected")  # not imported, so that --help stays fast

HorizonOption = Annotated[
    str | None,
    typer.Option(
        "--steps",
        metavar="N",
        help="The horizon: updates, or '3ep', '2M samples', '10B tokens'. Default: the schedule's own length.",
        show_default=False,
    ),
]
PeakOption = Annotated[
    float | None,
    typer.Option(
        "--lr",
        metavar="X",
        parser=number,
        help="The peak learning rate. Default: factors are shown.",
        show_default=False,
    ),
]
LogOption = Annotated[bool, typer.Option("--log", help="Draw the rate on a log axis.")]


@dataclass(frozen=True)
class Coupling:
    """What moves beside the rate, as it was typed.

    Attributes:
        momentum: A number, or a written schedule of momenta; None where there is none.
        weight_decay: Its coefficient; None where there is none.
        rule: How it moves: ``"follows"``, ``"independent"`` or ``"corrected"``.
        keep_effective: Whether lr / (1 − momentum) follows the schedule instead of lr.
    """

    momentum: str | None
    weight_decay: float | None
    rule: str
    keep_effective: bool


def read(text: str, option: str = "") -> Schedule:
    """Return the schedule that ``text`` is the written form of.

    Args:
        text: What was typed.
        option: Where it was typed, for the message; empty for the argument itself.

    Returns:
        A schedule; its durations may be open.

    Raises:
        InputError: If it cannot be read; the message points at the fault.
    """
    from stepsize.schedules import parse

    try:
        return parse(text)
    except InputError as error:
        error.add_note(f"{option} takes a number or a written schedule." if option else _advice(text))
        raise


def settled(schedule: Schedule, steps: str | None, options: ClockOptions) -> Schedule:
    """Return ``schedule`` over the horizon that was asked for, or over its own length.

    Args:
        schedule: As it was written.
        steps: The horizon in any unit; None takes the schedule's own length.
        options: What turns other units into steps.

    Returns:
        A schedule in steps, with an end.

    Raises:
        InputError: If there is no horizon, or the schedule does not fit into it.

    Example:
        >>> from stepsize.schedules import linear
        >>> settled(linear(), "2ep", ClockOptions(steps_per_epoch=50)).length
        100
    """
    clock = options.clock()
    with told_as_options():
        horizon = _own_length(schedule, clock) if steps is None else max(1, clock.steps(steps, "steps"))
        if horizon > _MOST_STEPS:
            raise InputError("steps", horizon, f"must be at most {_MOST_STEPS:,} to be shown one by one")
        return schedule.over(horizon, clock)


def course_of(
    rate: Schedule, lr: float | None, coupling: Coupling, options: ClockOptions
) -> tuple[HyperparameterSchedule, Peaks]:
    """Return the course around a settled rate, and the values that it multiplies.

    Args:
        rate: A schedule in steps, with an end.
        lr: The peak learning rate; None is 1.
        coupling: What moves beside it.
        options: What turns other units into steps.

    Returns:
        A settled course, and peaks. Where the momentum is scheduled its peak is the one at the peak of the rate, so
        that ``lr`` is the rate there with ``keep_effective`` too.

    Raises:
        InputError: If a value breaks its rule, or something is asked of a momentum or weight decay that is not given.
    """
    from stepsize.schedules import HyperparameterSchedule, Peaks

    if coupling.rule not in _RULES:
        raise UnknownNameError("decay_rule", coupling.rule, _RULES)
    if coupling.weight_decay is None and coupling.rule != "follows":
        raise InputError("decay_rule", coupling.rule, "needs a weight decay that it moves", "Add --weight-decay X")
    momentum = _momentum(coupling.momentum)
    if momentum is None or isinstance(momentum, float):
        peaks = Peaks(checked_lr(lr), momentum, coupling.weight_decay)
        if coupling.keep_effective:
            remedy = "Write one, for example --momentum 'one-cycle start=0.95 peak=0.85 end=0.95'"
            raise InputError("keep_effective", True, "needs a schedule of the momentum", remedy)
        return HyperparameterSchedule(rate, weight_decay=coupling.rule), peaks  # type: ignore[arg-type]  # checked by HyperparameterSchedule
    with told_as_options():
        over = momentum.over(rate.length or 1, options.clock())
    course = HyperparameterSchedule(rate, over, coupling.rule, coupling.keep_effective)  # type: ignore[arg-type]
    at_peak = over(int(rate.factors().argmax()))
    return course, Peaks(checked_lr(lr), at_peak, coupling.weight_decay)


def checked_lr(lr: float | None) -> float:
    """Return the peak rate that was typed, 1 where none was.

    Raises:
        InputError: If it is not a positive number.
    """
    if lr is None:
        return 1.0
    if not 0 < lr < math.inf:
        raise InputError("lr", lr, "must be a positive, finite learning rate")
    return lr


def steps_text(steps: float) -> str:
    """Return a number of steps that need not be whole, for people.

    Example:
        >>> steps_text(8416.71), steps_text(12.345)
        ('8,417', '12.35')
    """
    return f"{steps:,.0f}" if steps >= 1000 else f"{steps:.4g}"


def _momentum(typed: str | None) -> float | Schedule | None:
    if typed is None:
        return None
    try:
        return float(typed)
    except ValueError:
        return read(typed, "--momentum")


def _own_length(schedule: Schedule, clock: Clock) -> int:
    """Return how long ``schedule`` lasts whatever the horizon is."""
    # What is the same under two horizons does not depend on it.
    spans = [schedule.node.span(dataclasses.replace(clock, horizon=horizon)) for horizon in (10**6, 2 * 10**6)]
    if spans[0] is None or spans[0] != spans[1]:
        rule = "must be given for a schedule that has no length of its own"
        raise InputError("steps", None, rule, "Add --steps 10000, or --steps 3ep --steps-per-epoch 390")
    return max(1, math.floor(spans[0] + 0.5))


def _advice(text: str) -> str:
    names = ("list", "compare")
    near = difflib.get_close_matches((text.split() or [""])[0], names, n=1, cutoff=0.7)
    if near:
        return f"Or did you mean the command: stepsize schedule {near[0]}"
    return "See all schedules, with an example of each: stepsize schedule list"
