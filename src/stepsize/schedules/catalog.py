"""The table of schedules: one entry adds one to the written form, the command line, the page and the contract tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

from stepsize.catalog import Catalog
from stepsize.errors import InputError
from stepsize.schedules.algebra import Within
from stepsize.schedules.laws import (
    exponential,
    inverse_sqrt,
    multi_step,
    noam,
    one_cycle,
    points,
    power_law,
    step_decay,
    triangular,
    warm_restarts,
)
from stepsize.schedules.ramps import adam_warmup, constant, cooldown, cosine, decay, linear, polynomial, warmup, wsd
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import SHAPES
from stepsize.schedules.units import Clock, Duration, as_duration
from stepsize.schedules.written import Parameter, Reader, parameters_of


@dataclass(frozen=True)
class ScheduleEntry:
    """A schedule in the catalog.

    Attributes:
        name: Its name in the written form.
        make: Its constructor; what its parameters are is read from the signature.
        written: A typical one in the written form.
        title: What it is, in a line.
        formula: f(t), for people.
        source: Author, title, year.
    """

    name: str
    make: Callable[..., Schedule]
    written: str
    title: str
    formula: str
    source: str = ""

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What it takes."""
        return tuple(parameters_of(self.make).values())

    @cached_property
    def example(self) -> Schedule:
        """The typical one, its durations relative."""
        return parse(self.written)

    def typical(self, steps: int = 1_000) -> Schedule:
        """Return the example over ``steps`` updates."""
        span = self.example.node.span(Clock(horizon=steps))
        if span is None or round(span) == steps:
            return self.example.over(steps)
        return self.example.then(constant()).over(steps)  # a warmup alone does not fill a horizon


_SGDR = "Loshchilov and Hutter, SGDR: Stochastic gradient descent with warm restarts, 2017"
_HAEGELE = "Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024"
_CYCLES = "Smith, Cyclical learning rates for training neural networks, 2017"
_ATTENTION = "Vaswani et al., Attention is all you need, 2017"


def _shaped(shape: str, title: str) -> ScheduleEntry:
    """Return the entry of a decay along one of the shapes, which knows formula and source."""
    known = SHAPES[shape]
    return ScheduleEntry(
        shape,
        partial(decay, shape=shape),
        "exponential end=0.01" if shape == "exponential" else shape,  # which never reaches zero
        title,
        f"end + (start − end) · {known.title}",
        source=known.source,
    )


_ENTRIES = (
    ScheduleEntry("constant", constant, "constant", "always the peak", "factor"),
    ScheduleEntry(
        "warmup", warmup, "warmup 10%", "a rise to the peak", "start + (1 − start) · (t + 1) / (steps + 1)",
        source="Goyal et al., Accurate, large minibatch SGD: Training ImageNet in 1 hour, 2017",
    ),
    ScheduleEntry(
        "adam-warmup", adam_warmup, "adam-warmup beta2=0.99", "the rise that Adam needs, from its beta2",
        "min(1, (t + 1) · (1 − beta2) / 2)",
        source="Ma and Yarats, On the adequacy of untuned warmup for adaptive optimization, 2021",
    ),
    ScheduleEntry(
        "linear", linear, "linear warmup=5%", "a straight line to zero", "start + (end − start) · t / steps",
        source="Bergsma et al., Straight to zero: Why linearly decaying the learning rate to zero works best, 2025",
    ),
    ScheduleEntry(
        "cosine", cosine, "cosine warmup=5%", "half a cosine", "end + (1 − end) · ((1 + cos πp) / 2)^power",
        source=_SGDR,
    ),
    ScheduleEntry(
        "polynomial", polynomial, "polynomial power=2 end=0.05", "a power of what is left, with a floor",
        "end + (1 − end) · (1 − p)^power",
    ),
    ScheduleEntry(
        "decay", decay, "decay shape=1-power(3)", "any shape between any two factors", "end + (start − end) · d(p)",
    ),
    _shaped("exponential", "a geometric decay to a small factor"),
    _shaped("1-sqrt", "fast at first, slower later"),
    _shaped("1-square", "slow at first, faster later"),
    _shaped("halving", "an exponential that reaches zero"),
    _shaped("rex", "a reflected exponential: high for long, then down"),
    _shaped("k-decay", "a cosine that starts later"),
    _shaped("tanh", "high, down in the middle, low"),
    _shaped("waves", "a cosine over several half waves"),
    ScheduleEntry(
        "cooldown", cooldown, "constant, cooldown 20%", "the last phase of a run", "end + (1 − end) · (1 − √p)",
        source=_HAEGELE,
    ),
    ScheduleEntry(
        "wsd", wsd, "wsd warmup=5% cooldown=20%", "warmup, stable phase, cooldown", "warmup, then 1, then cooldown",
        source="Hu et al., MiniCPM: Unveiling the potential of small language models, 2024",
    ),
    ScheduleEntry(
        "trapezoid", partial(wsd, shape="linear"), "trapezoid warmup=10% cooldown=30%",
        "warmup, stable phase, straight down", "warmup, then 1, then 1 − p",
    ),
    ScheduleEntry(
        "exp", exponential, "exp gamma=0.1 every=50%", "the same fraction less at every step", "gamma^(t / every)",
    ),
    ScheduleEntry(
        "step", step_decay, "step every=30% gamma=0.3", "a drop every so many steps", "gamma^⌊t / every⌋",
    ),
    ScheduleEntry(
        "multi-step", multi_step, "multi-step milestones=50%|75% gamma=0.1", "drops at given steps",
        "gamma^(number of milestones ≤ t)",
    ),
    ScheduleEntry(
        "power-law", power_law, "power-law timescale=10% power=1", "a decay that needs no horizon",
        "(timescale / (t + timescale))^power",
        source="Shen et al., Power scheduler: A batch size and token number agnostic learning rate scheduler, 2024",
    ),
    ScheduleEntry(
        "inverse-sqrt", inverse_sqrt, "inverse-sqrt timescale=10% warmup=10%", "one over the root of the time",
        "√(timescale / (t + timescale))", source=_ATTENTION,
    ),
    ScheduleEntry(
        "noam", noam, "noam warmup=10%", "the schedule of the first transformers",
        "min((t + 1) / warmup, √(warmup / (t + 1)))", source=_ATTENTION,
    ),
    ScheduleEntry(
        "points", points, "points values=0:0.1|20%:1|70%:0.4|100%:0", "through given points",
        "between the points, along a shape",
    ),
    ScheduleEntry(
        "triangular", triangular, "triangular up=10% low=0.1", "up and down along straight lines",
        "low + (1 − low) · h · per_cycle^c · per_step^t", source=_CYCLES,
    ),
    ScheduleEntry(
        "triangular2", partial(triangular, per_cycle=0.5), "triangular2 up=10% low=0.1",
        "triangles, each half as high", "low + (1 − low) · h / 2^c", source=_CYCLES,
    ),
    ScheduleEntry(
        "exp-range", partial(triangular, per_cycle=1.0), "exp-range up=10% per_step=0.998 low=0.1",
        "triangles that shrink at every step", "low + (1 − low) · h · per_step^t", source=_CYCLES,
    ),
    ScheduleEntry(
        "one-cycle", one_cycle, "one-cycle rise=0.3", "up once, then down to almost nothing", "start → peak → end",
        source="Smith and Topin, Super-convergence: Very fast training of neural networks, 2018",
    ),
    ScheduleEntry(
        "warm-restarts", warm_restarts, "warm-restarts first=15% growth=2 per_cycle=0.7",
        "a decay that starts again and again", "per_cycle^c · (1 + cos πp) / 2 in cycle c", source=_SGDR,
    ),
)  # fmt: skip

SCHEDULES: Catalog[ScheduleEntry] = Catalog("schedule", _ENTRIES)


def _within(self: Schedule, steps: Duration) -> Schedule:
    """Return a schedule over a length that is not in steps yet."""
    return Schedule(Within(self.node, as_duration("steps", steps)))


CHANGES: Mapping[str, Callable[..., Schedule]] = {
    "floored": Schedule.floored,
    "capped": Schedule.capped,
    "repeated": Schedule.repeated,
    "first": Schedule.first,
    "after": Schedule.after,
    "cooled-down": Schedule.cooled_down,
    "extended": Schedule.extended,
    "switched": Schedule.switched,
    "within": _within,
}


def parse(text: str) -> Schedule:
    """Return the schedule that ``text`` describes; its durations may be relative until ``.over`` resolves them.

    Args:
        text: Phases separated by commas, ``*`` for products, and changes after a bar, which apply to the phase or group
            right before it. The grammar is in the documentation of the schedules.

    Returns:
        A schedule, equal to the one that the constructors and methods of the same names make.

    Raises:
        ScheduleSyntaxError: If the text cannot be read, or a value breaks a rule; it points at the fault.

    Example:
        >>> str(parse("warmup 5% linear, constant 75%, cooldown 20% 1-sqrt"))
        'warmup 5%, constant 75%, cooldown 20%'
        >>> parse("((linear 4 | repeated 2) * 0.5) | floored 0.2").factors().tolist()
        [0.5, 0.375, 0.25, 0.2, 0.5, 0.375, 0.25, 0.2]
        >>> parse("warmup 5%, constan")
        Traceback (most recent call last):
        stepsize.errors.ScheduleSyntaxError: the schedule cannot be read at character 12:
          warmup 5%, constan
                     ^^^^^^^
        'constan' is not a schedule. Did you mean 'constant'? Known: ...
    """
    if not isinstance(text, str):
        raise InputError("text", text, "must be a str", "Write a schedule with stepsize.schedules.write")
    return Reader(text, {name: entry.make for name, entry in SCHEDULES.items()}, CHANGES, decay).whole()


def write(schedule: Schedule) -> str:
    """Return the written form of ``schedule``, the same text for all equal schedules.

    ``parse`` reads it back to an equal schedule. ``str(schedule)`` is the same text, but does not refuse functions.

    Args:
        schedule: Resolved or not.

    Raises:
        InputError: If it contains a function; use :meth:`~stepsize.schedules.Schedule.tabulated` before.

    Example:
        >>> write(cosine(warmup="5%", end=0.1))
        'warmup 5%, cosine end=0.1'
        >>> write(wsd(1_000).floored(0.01))
        '(warmup 50, constant 750, cooldown 200) | floored 0.01'
    """
    if not isinstance(schedule, Schedule):
        raise InputError("schedule", schedule, "must be a Schedule", "Read a text with stepsize.schedules.parse")
    if schedule.node.holds_function:
        raise InputError(
            "schedule", str(schedule), "contains a function, which has no written form", "Use .tabulated()"
        )
    return str(schedule)
