"""How long something lasts: in steps, percent of the horizon, epochs, samples or tokens."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Literal, get_args

from stepsize.checks import check_positive, check_whole, check_word
from stepsize.errors import InputError

Unit = Literal["share", "epochs", "samples", "tokens"]

UNITS: dict[str, Unit | Literal["steps"]] = {
    "%": "share",
    **dict.fromkeys(("step", "steps", "update", "updates"), "steps"),
    **dict.fromkeys(("ep", "eps", "epoch", "epochs"), "epochs"),
    **dict.fromkeys(("sample", "samples", "example", "examples"), "samples"),
    **dict.fromkeys(("tok", "toks", "token", "tokens"), "tokens"),
}
_MULTIPLES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_TEXT = re.compile(
    r"\s*(?P<number>[0-9][0-9_,]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?)\s*(?P<multiple>[kKMGB]|T(?![oO])|)\s*(?P<unit>%|[A-Za-z]*)\s*"
)
_FORMS = "Write 500, '5%', '2ep', '100k samples' or '1.5M tokens'"


@dataclass(frozen=True)
class Span:
    """A duration in a unit other than steps; a :class:`Clock` turns it into steps.

    Args:
        amount: Amount of the unit, > 0, kept to 12 digits. For ``"share"`` a fraction of the horizon, at most 1.
        unit: ``"share"``, ``"epochs"``, ``"samples"`` or ``"tokens"``.

    Raises:
        InputError: If the amount is not a positive number or the unit is unknown.

    Example:
        >>> str(Span(0.05, "share")), str(Span(1.5e6, "tokens"))
        ('5%', '1.5M tokens')
    """

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        check_word("unit", self.unit, get_args(Unit))
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise InputError("duration", self.amount, f"in {self.unit} must be a positive number")
        if self.unit == "share" and self.amount > 1:
            raise InputError("duration", self.amount, "must be at most 1, the whole horizon")
        # Exactly what its text says, so that reading the text gives an equal span.
        number, multiple = self._digits()
        kept = float(number) / 100 if self.unit == "share" else float(number) * multiple
        object.__setattr__(self, "amount", kept)

    def __str__(self) -> str:
        number, multiple = self._digits()
        if self.unit == "share":
            return f"{number}%"
        letter = {1e9: "G", 1e6: "M", 1e3: "k"}.get(multiple, "")
        return f"{number}{letter} {self.unit}"

    def _digits(self) -> tuple[str, float]:
        if self.unit == "share":
            return f"{100 * self.amount:.12g}", 1.0
        multiple = next((multiple for multiple in (1e9, 1e6, 1e3) if self.amount >= multiple), 1.0)
        return f"{self.amount / multiple:.12g}", multiple


Duration = int | str | Span


def as_duration(argument: str, value: object, *, least: int = 1) -> int | Span:
    """Return ``value`` (a whole number, a text such as ``"5%"``, or a span) as steps or as a span."""
    if isinstance(value, Span):
        return value
    if isinstance(value, str):
        return _parsed(argument, value, least)
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None:
        raise InputError(argument, value, "must be a whole number of steps or a text with a unit", _FORMS)
    if number < least:
        raise InputError(argument, value, f"must be at least {least} step{'s' * (least != 1)}", "Leave it out instead")
    return number


def as_length(argument: str, value: object) -> int | Span | None:
    """Return ``value`` as a duration; None stands for the rest of the horizon."""
    return None if value is None else as_duration(argument, value)


def _parsed(argument: str, text: str, least: int) -> int | Span:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InputError(argument, text, "must be a duration", _FORMS)
    unit = UNITS.get(match["unit"].lower() or "steps")
    if unit is None:
        rule = f"must have one of the units %, steps, epochs, samples, tokens, not '{match['unit']}'"
        raise InputError(argument, text, rule, _FORMS)
    amount = float(re.sub("[_,]", "", match["number"])) * _MULTIPLES[match["multiple"]]
    if amount == math.inf:
        raise InputError(argument, text, "must be a smaller number")
    if amount == 0 and least == 0:
        return 0
    if unit == "share":
        if match["multiple"] or not 0 < amount <= 100:
            raise InputError(argument, text, "must be above 0% and at most 100% of the horizon")
        return Span(amount / 100, "share")
    if unit != "steps":
        if amount <= 0:
            raise InputError(argument, text, "must be positive", "Leave it out instead")
        return Span(amount, unit)
    if not math.isclose(amount, round(amount), rel_tol=1e-12):
        raise InputError(argument, text, "must be a whole number of steps")
    return as_duration(argument, round(amount), least=least)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Converts epochs, samples, tokens and percentages into optimizer steps.

    A step takes ``batch_size`` * ``accumulate`` * ``world_size`` samples, and that times ``sequence_length`` tokens.

    Args:
        horizon: Number of steps of the whole run, to which percentages refer.
        batch_size: Samples per micro-batch and process.
        accumulate: Micro-batches per step.
        world_size: Processes that train together on different data.
        sequence_length: Tokens per sample.
        steps_per_epoch: Steps (not micro-batches) per pass over the data.

    Raises:
        InputError: If a number is not positive and whole (``steps_per_epoch`` need not be whole).

    Example:
        >>> clock = Clock(horizon=10_000, batch_size=8, accumulate=4, world_size=2, sequence_length=1_024)
        >>> [clock.steps(text) for text in ("5%", "64k samples", "1.5M tok", 300)]
        [500, 1000, 23, 300]
    """

    horizon: int | None = None
    batch_size: int | None = None
    accumulate: int = 1
    world_size: int = 1
    sequence_length: int | None = None
    steps_per_epoch: float | None = None

    def __post_init__(self) -> None:
        for name in ("horizon", "batch_size", "accumulate", "world_size", "sequence_length"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name))
        if self.steps_per_epoch is not None:
            check_positive("steps_per_epoch", self.steps_per_epoch, "number of steps")

    def exact(self, duration: Duration, argument: str = "duration") -> float:
        """Return ``duration`` in steps, not rounded."""
        span = as_duration(argument, duration, least=0)
        if isinstance(span, int):
            return float(span)
        per_step = self._per_step(span, argument)
        return span.amount * per_step if span.unit in ("share", "epochs") else span.amount / per_step

    def steps(self, duration: Duration, argument: str = "duration") -> int:
        """Return ``duration`` in whole steps, rounded to the nearest.

        Args:
            duration: Steps, a text with a unit, or a span.
            argument: Name of the argument in the error message.

        Returns:
            Steps; 0 if it is shorter than half a step.

        Raises:
            InputError: If the clock lacks what the unit needs; the message names it.
        """
        return math.floor(self.exact(duration, argument) + 0.5)

    def _per_step(self, span: Span, argument: str) -> float:
        """Return steps per unit for shares and epochs, units per step for samples and tokens."""
        if span.unit == "share":
            return self._known("horizon", span, argument)
        if span.unit == "epochs":
            return self._known("steps_per_epoch", span, argument)
        samples = self._known("batch_size", span, argument) * self.accumulate * self.world_size
        return samples * self._known("sequence_length", span, argument) if span.unit == "tokens" else samples

    def _known(self, field: str, span: Span, argument: str) -> float:
        value: float | None = getattr(self, field)
        if value is None:
            what, option = ("the horizon", "steps") if field == "horizon" else (field, field.replace("_", "-"))
            remedy = f"Give Clock({field}=…); on the command line --{option} N"
            raise InputError(argument, str(span), f"needs {what} to be turned into steps", remedy)
        return float(value)
