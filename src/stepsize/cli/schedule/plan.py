"""From what was typed to schedules in steps."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from stepsize.checks import check_lr
from stepsize.cli.options import flag, number, option
from stepsize.errors import InputError, UnknownNameError

if TYPE_CHECKING:
    from stepsize.schedules import Clock, HyperparameterSchedule, Peaks, Schedule

_MOST_STEPS = 10_000_000  # a table of more, in float64, is no preview
_RULES = ("follows", "independent", "corrected")  # not imported, so that --help stays fast

FACTORS = "Factors of the peak rate; with --lr X they become rates."

HorizonOption = Annotated[
    str | None,
    option(
        "N",
        "Horizon: a number of steps, '3ep', '2M samples' or '10B tokens'. Default: the schedule's own length.",
        "--steps",
    ),
]
PeakOption = Annotated[float | None, option("X", "Peak learning rate. Default: factors are shown.", parser=number)]
LogOption = Annotated[bool, flag("--log", "Draw the learning rate on a log axis.")]


def _count(text: str) -> Any:
    return option("N", text, rich_help_panel="For epochs, samples and tokens", show_default=False)


@dataclass(frozen=True)
class ClockOptions:
    """The fields of a ``Clock`` as they were typed, each an option of its own."""

    batch_size: Annotated[int | None, _count("Samples per micro-batch.")] = None
    accumulate: Annotated[int, _count("Micro-batches per step. Default: 1")] = 1
    world_size: Annotated[int, _count("Processes that train together. Default: 1")] = 1
    sequence_length: Annotated[int | None, _count("Tokens per sample.")] = None
    steps_per_epoch: Annotated[float | None, _count("Steps (not micro-batches) per pass over the data.")] = None

    def clock(self) -> Clock:
        from stepsize.schedules import Clock

        return Clock(**{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})


@dataclass(frozen=True)
class MovingOptions:
    """What moves beside the rate, as it was typed."""

    momentum: Annotated[str | None, option("M", "Momentum or β₁: a number, or a written schedule of momenta.")] = None
    weight_decay: Annotated[float | None, option("X", "Coefficient of the weight decay.", parser=number)] = None
    decay_rule: Annotated[
        str,
        option(
            "RULE",
            "How fast weights shrink: follows (with lr), independent (as at the peak) or corrected (with lr²).",
        ),
    ] = "follows"
    keep_effective: Annotated[
        bool, flag("--keep-effective", "Let lr/(1 − momentum) follow the schedule instead of lr.")
    ] = False


def read(text: str, option: str = "") -> Schedule:
    """Return the schedule that ``text`` describes; ``option`` is where it was typed, empty for the argument."""
    from stepsize.schedules import parse

    try:
        return parse(text)
    except InputError as error:
        error.add_note(f"{option} takes a number or a written schedule." if option else _advice(text))
        raise


def resolved(schedule: Schedule, steps: str | None, options: ClockOptions) -> Schedule:
    """Return ``schedule`` over the horizon that was typed, or over its own length."""
    clock = options.clock()
    horizon = _own_length(schedule, clock) if steps is None else max(1, clock.steps(steps, "steps"))
    if horizon > _MOST_STEPS:
        raise InputError("steps", horizon, f"must be at most {_MOST_STEPS:,} to be shown step by step")
    return schedule.over(horizon, clock)


def with_moving(
    rate: Schedule, lr: float | None, moving: MovingOptions, options: ClockOptions
) -> tuple[HyperparameterSchedule, Peaks]:
    """Return a resolved rate with what moves beside it, and the values that both multiply.

    The peak of a scheduled momentum is the one at the peak of the rate, so that ``lr`` is the rate there with
    ``keep_effective`` too.
    """
    from stepsize.schedules import HyperparameterSchedule, Peaks

    rule: Any = moving.decay_rule
    if rule not in _RULES:
        raise UnknownNameError("decay_rule", rule, _RULES)
    if moving.weight_decay is None and rule != "follows":
        raise InputError("decay_rule", rule, "needs a weight decay that it moves", "Add --weight-decay X")
    momentum = _momentum(moving.momentum)
    if momentum is None or isinstance(momentum, float):
        if moving.keep_effective:
            remedy = "Write one, for example --momentum 'one-cycle start=0.95 peak=0.85 end=0.95'"
            raise InputError("keep_effective", True, "needs a schedule of the momentum", remedy)
        peaks = Peaks(peak_lr(lr), momentum, moving.weight_decay)
        return HyperparameterSchedule(rate, weight_decay=rule), peaks
    over = momentum.over(rate.length or 1, options.clock())
    at_peak = over(int(rate.factors().argmax()))
    schedule = HyperparameterSchedule(rate, over, rule, moving.keep_effective)
    return schedule, Peaks(peak_lr(lr), at_peak, moving.weight_decay)


def peak_lr(lr: float | None) -> float:
    """Return the peak rate that was typed, 1 if none was."""
    return 1.0 if lr is None else check_lr("lr", lr)


def steps_text(steps: float) -> str:
    """Return a number of steps that need not be whole, for people."""
    return f"{steps:,.0f}" if steps >= 1000 else f"{steps:.4g}"


def _momentum(text: str | None) -> float | Schedule | None:
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        return read(text, "--momentum")


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
