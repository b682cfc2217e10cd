"""The table of schedules: one entry enrols one in the command line, the documentation and the contract tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from stepsize.errors import UnknownNameError
from stepsize.schedules.cyclic import one_cycle, triangular, warm_restarts
from stepsize.schedules.laws import exponential, inverse_sqrt, multi_step, noam, points, power_law, step_decay
from stepsize.schedules.ramps import adam_warmup, constant, cooldown, cosine, decay, linear, polynomial, warmup
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import SHAPES
from stepsize.schedules.units import Clock
from stepsize.schedules.wsd import wsd

__all__ = ["SCHEDULES", "Kind", "Parameter", "ScheduleEntry", "schedule_entry"]

Kind = Literal["duration", "durations", "number", "points", "shape", "word", "flag"]


@dataclass(frozen=True)
class Parameter:
    """An argument of a constructor that can be written down.

    Attributes:
        name: As the constructor calls it.
        kind: What it holds; ``durations`` are separated by ``|``, ``points`` are ``step:factor`` pairs, so separated.
    """

    name: str
    kind: Kind


@dataclass(frozen=True)
class ScheduleEntry:
    """What is known of a schedule.

    Attributes:
        name: What the written form calls it.
        make: Its constructor; what the written form gives goes there by name.
        parameters: Those that can be written as ``name=value``; the first duration and a shape also without a name.
        written: A typical one in the written form.
        example: The same one from Python; durations are open, :meth:`typical` settles them.
        title: What it is, in a line.
        formula: f(t), for people.
        continuous: Whether the typical one never leaps.
        falls: Whether it never rises once it has reached its peak.
        source: Author, title, year.
    """

    name: str
    make: Callable[..., Schedule]
    parameters: tuple[Parameter, ...]
    written: str
    example: Schedule
    title: str
    formula: str
    continuous: bool = True
    falls: bool = True
    source: str = ""

    def typical(self, steps: int = 1_000) -> Schedule:
        """Return the example over ``steps`` updates."""
        span = self.example.node.span(Clock(horizon=steps))
        if span is None or round(span) == steps:
            return self.example.over(steps)
        return self.example.then(constant()).over(steps)  # a warm-up alone does not fill a horizon


_STEPS = Parameter("steps", "duration")
_END, _START, _WARMUP = Parameter("end", "number"), Parameter("start", "number"), Parameter("warmup", "duration")
_SHAPE, _EDGES = Parameter("shape", "shape"), Parameter("edges", "word")
_GAMMA, _POWER = Parameter("gamma", "number"), Parameter("power", "number")
_DECAY = (_STEPS, _WARMUP, _START, _END, _EDGES)

_SGDR = "Loshchilov and Hutter, SGDR: Stochastic gradient descent with warm restarts, 2017"
_HAEGELE = "Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024"
_CYCLES = "Smith, Cyclical learning rates for training neural networks, 2017"
_ATTENTION = "Vaswani et al., Attention is all you need, 2017"


def _shaped(shape: str, title: str) -> ScheduleEntry:
    """Return the entry of a decay along one of the shapes, which knows formula and source."""
    known = SHAPES[shape]
    end = 0.01 if shape == "exponential" else 0.0  # which never reaches zero
    return ScheduleEntry(
        shape,
        partial(decay, shape=shape),
        (*_DECAY, _SHAPE),
        f"{shape} end={end:g}" if end else shape,
        decay(shape=shape, end=end),
        title,
        f"end + (start − end) · {known.title}",
        falls=shape != "waves",
        source=known.source,
    )


_ENTRIES = (
    ScheduleEntry(
        "constant", constant, (_STEPS, Parameter("factor", "number")), "constant", constant(), "always the peak",
        "factor",
    ),
    ScheduleEntry(
        "warmup", warmup, (_STEPS, _SHAPE, _START, _EDGES), "warmup 10%", warmup("10%"), "a rise to the peak",
        "start + (1 − start) · (t + 1) / (steps + 1)",
        source="Goyal et al., Accurate, large minibatch SGD: Training ImageNet in 1 hour, 2017",
    ),
    ScheduleEntry(
        "adam-warmup", adam_warmup, (Parameter("beta2", "number"),), "adam-warmup beta2=0.99", adam_warmup(0.99),
        "the rise that Adam needs, from its beta2", "min(1, (t + 1) · (1 − beta2) / 2)",
        source="Ma and Yarats, On the adequacy of untuned warmup for adaptive optimization, 2021",
    ),
    ScheduleEntry(
        "linear", linear, (_STEPS, _WARMUP, _START, _END), "linear warmup=5%", linear(warmup="5%"),
        "a straight line to zero", "start + (end − start) · t / steps",
        source="Bergsma et al., Straight to zero: Why linearly decaying the learning rate to zero works best, 2025",
    ),
    ScheduleEntry(
        "cosine", cosine, (_STEPS, _WARMUP, _END, _POWER), "cosine warmup=5%", cosine(warmup="5%"),
        "half a cosine", "end + (1 − end) · ((1 + cos πp) / 2)^power", source=_SGDR,
    ),
    ScheduleEntry(
        "polynomial", polynomial, (_STEPS, _POWER, _WARMUP, _END), "polynomial power=2 end=0.05",
        polynomial(power=2, end=0.05), "a power of what is left, with a floor", "end + (1 − end) · (1 − p)^power",
    ),
    ScheduleEntry(
        "decay", decay, (*_DECAY, _SHAPE), "decay shape=1-power(3)", decay(shape="1-power(3)"),
        "any shape between any two factors", "end + (start − end) · d(p)",
    ),
    *(
        _shaped(shape, title)
        for shape, title in (
            ("exponential", "a geometric way to a small factor"),
            ("1-sqrt", "fast at first, slower towards the end"),
            ("1-square", "slow at first, fast towards the end"),
            ("halving", "an exponential that reaches zero"),
            ("rex", "a reflected exponential: high for long, then down"),
            ("k-decay", "a cosine that starts later"),
            ("tanh", "high, down in the middle, low"),
            ("waves", "a cosine over several half waves"),
        )
    ),
    ScheduleEntry(
        "cooldown", cooldown, (_STEPS, _SHAPE, _END), "constant, cooldown 20%", constant().then(cooldown("20%")),
        "the last part of a training", "end + (1 − end) · (1 − √p)", source=_HAEGELE,
    ),
    ScheduleEntry(
        "wsd", wsd, (_STEPS, _WARMUP, Parameter("cooldown", "duration"), _SHAPE, _END), "wsd warmup=5% cooldown=20%",
        wsd(warmup="5%", cooldown="20%"), "warm-up, stable, cooldown", "warmup, then 1, then cooldown",
        source="Hu et al., MiniCPM: Unveiling the potential of small language models, 2024",
    ),
    ScheduleEntry(
        "trapezoid", partial(wsd, shape="linear"),
        (_STEPS, _WARMUP, Parameter("cooldown", "duration"), _SHAPE, _END), "trapezoid warmup=10% cooldown=30%",
        wsd(warmup="10%", cooldown="30%", shape="linear"), "warm-up, stable, straight down",
        "warmup, then 1, then 1 − p",
    ),
    ScheduleEntry(
        "exp", exponential, (_GAMMA, Parameter("every", "duration"), _STEPS), "exp gamma=0.1 every=50%",
        exponential(0.1, "50%"), "a constant share less at every step", "gamma^(t / every)",
    ),
    ScheduleEntry(
        "step", step_decay, (Parameter("every", "duration"), _GAMMA, _STEPS), "step every=30% gamma=0.3",
        step_decay("30%", gamma=0.3), "a drop every so many steps", "gamma^⌊t / every⌋", continuous=False,
    ),
    ScheduleEntry(
        "multi-step", multi_step, (Parameter("milestones", "durations"), _GAMMA, _STEPS),
        "multi-step milestones=50%|75% gamma=0.1", multi_step(("50%", "75%")), "drops at given steps",
        "gamma^(number of milestones ≤ t)", continuous=False,
    ),
    ScheduleEntry(
        "power-law", power_law, (Parameter("timescale", "duration"), _POWER, _STEPS), "power-law timescale=10% power=1",
        power_law("10%", power=1), "a decay that needs no horizon", "(timescale / (t + timescale))^power",
        source="Shen et al., Power scheduler: A batch size and token number agnostic learning rate scheduler, 2024",
    ),
    ScheduleEntry(
        "inverse-sqrt", inverse_sqrt, (Parameter("timescale", "duration"), _WARMUP, _STEPS),
        "inverse-sqrt timescale=10% warmup=10%", inverse_sqrt("10%", warmup="10%"), "one over the root of the time",
        "√(timescale / (t + timescale))", source=_ATTENTION,
    ),
    ScheduleEntry(
        "noam", noam, (_WARMUP, _STEPS), "noam warmup=10%", noam("10%"), "the first transformers' schedule",
        "min((t + 1) / warmup, √(warmup / (t + 1)))", source=_ATTENTION,
    ),
    ScheduleEntry(
        "points", points, (Parameter("values", "points"), Parameter("between", "shape"), _STEPS),
        "points values=0:0.1|20%:1|70%:0.4|100%:0", points({0: 0.1, "20%": 1.0, "70%": 0.4, "100%": 0.0}),
        "through given points", "between the points, along a shape",
    ),
    ScheduleEntry(
        "triangular", triangular,
        (
            Parameter("up", "duration"), Parameter("down", "duration"), Parameter("low", "number"),
            Parameter("per_cycle", "number"), Parameter("per_step", "number"), _STEPS,
        ),
        "triangular up=10% low=0.1", triangular("10%", low=0.1), "up and down along straight lines",
        "low + (1 − low) · h · per_cycle^c · per_step^t", falls=False, source=_CYCLES,
    ),
    ScheduleEntry(
        "triangular2", partial(triangular, per_cycle=0.5),
        (Parameter("up", "duration"), Parameter("down", "duration"), Parameter("low", "number"), _STEPS),
        "triangular2 up=10% low=0.1", triangular("10%", low=0.1, per_cycle=0.5), "triangles, each half as high",
        "low + (1 − low) · h / 2^c", falls=False, source=_CYCLES,
    ),
    ScheduleEntry(
        "exp-range", triangular,
        (
            Parameter("up", "duration"), Parameter("per_step", "number"), Parameter("down", "duration"),
            Parameter("low", "number"), _STEPS,
        ),
        "exp-range up=10% per_step=0.998 low=0.1", triangular("10%", low=0.1, per_step=0.998),
        "triangles that shrink at every step", "low + (1 − low) · h · per_step^t", falls=False, source=_CYCLES,
    ),
    ScheduleEntry(
        "one-cycle", one_cycle,
        (
            _STEPS, Parameter("rise", "number"), _START, Parameter("peak", "number"), _END, _SHAPE,
            Parameter("three_phase", "flag"), _EDGES,
        ),
        "one-cycle rise=0.3", one_cycle(), "up once, then down to almost nothing", "start → peak → end",
        source="Smith and Topin, Super-convergence: Very fast training of neural networks, 2018",
    ),
    ScheduleEntry(
        "warm-restarts", warm_restarts,
        (
            Parameter("first", "duration"), Parameter("growth", "number"), Parameter("per_cycle", "number"), _END,
            _SHAPE, _STEPS,
        ),
        "warm-restarts first=15% growth=2 per_cycle=0.7", warm_restarts("15%", growth=2, per_cycle=0.7),
        "a decay that starts again and again", "per_cycle^c · (1 + cos πp) / 2 in cycle c", continuous=False,
        falls=False, source=_SGDR,
    ),
)  # fmt: skip

SCHEDULES: dict[str, ScheduleEntry] = {entry.name: entry for entry in _ENTRIES}


def schedule_entry(name: str) -> ScheduleEntry:
    """Return the catalog entry of ``name``.

    Args:
        name: A key of :data:`SCHEDULES`, for example ``"cosine"``.

    Returns:
        The entry.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest.

    Example:
        >>> schedule_entry("wsd").title
        'warm-up, stable, cooldown'
    """
    if name not in SCHEDULES:
        raise UnknownNameError("schedule", name, SCHEDULES)
    return SCHEDULES[name]
