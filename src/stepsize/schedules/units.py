"""How long something lasts, in whatever unit people think in: steps, shares, epochs, samples, tokens."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Literal, get_args

from stepsize.errors import InputError

__all__ = ["Clock", "Duration", "Span", "Unit", "as_duration", "as_length"]

Unit = Literal["share", "epochs", "samples", "tokens"]

_WORDS: dict[str, Unit | Literal["steps"]] = {
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
    """A duration in another unit than steps; a :class:`Clock` turns it into steps.

    Args:
        amount: How many, > 0, kept to the 12 digits that its text has; a share is a fraction of the horizon, at most
            1, not a percentage.
        unit: Of what.

    Raises:
        InputError: If it is no positive number, or no known unit.

    Example:
        >>> str(Span(0.05, "share")), str(Span(1.5e6, "tokens"))
        ('5%', '1.5M tokens')
    """

    amount: float
    unit: Unit

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise InputError("unit", self.unit, f"must be one of: {', '.join(get_args(Unit))}")
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise InputError("duration", self.amount, f"in {self.unit} must be a positive number")
        if self.unit == "share" and self.amount > 1:
            raise InputError("duration", self.amount, "must be a share of the horizon, at most 1")
        # What its text says, so that a span read from the text is the same span.
        number, multiple = self._shown()
        kept = float(number) / 100 if self.unit == "share" else float(number) * multiple
        object.__setattr__(self, "amount", kept)

    def __str__(self) -> str:
        number, multiple = self._shown()
        if self.unit == "share":
            return f"{number}%"
        letter = {1e9: "G", 1e6: "M", 1e3: "k"}.get(multiple, "")
        return f"{number}{letter} {self.unit}"

    def _shown(self) -> tuple[str, float]:
        if self.unit == "share":
            return f"{100 * self.amount:.12g}", 1.0
        multiple = next((multiple for multiple in (1e9, 1e6, 1e3) if self.amount >= multiple), 1.0)
        return f"{self.amount / multiple:.12g}", multiple


Duration = int | str | Span


def as_duration(argument: str, value: object, *, least: int = 1) -> int | Span:
    """Return ``value`` as a whole number of steps, or as the :class:`Span` that it is in another unit.

    Args:
        argument: Its name, for the message.
        value: Steps as a whole number; a text such as ``"5%"``, ``"2ep"``, ``"100k samples"``, ``"1.5M tok"``; a span.
        least: The smallest number of steps allowed.

    Returns:
        Steps, or a span.

    Raises:
        InputError: If it is none of these, or not long enough.

    Example:
        >>> as_duration("warmup", "500 steps"), as_duration("warmup", "5%")
        (500, Span(amount=0.05, unit='share'))
    """
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
        raise InputError(
            argument, value, f"must last at least {least} step{'s' * (least != 1)}", "Leave it out instead"
        )
    return number


def as_length(steps: Duration | None) -> int | Span | None:
    """Return how long a part lasts: a duration as :func:`as_duration` reads it, or None for what is left."""
    return None if steps is None else as_duration("steps", steps)


def _parsed(argument: str, text: str, least: int) -> int | Span:
    match = _TEXT.fullmatch(text)
    if match is None:
        raise InputError(argument, text, "is not a duration", _FORMS)
    word = match["unit"].lower() or "steps"
    unit = _WORDS.get(word)
    if unit is None:
        known = ", ".join(["%", "steps", "epochs", "samples", "tokens"])
        raise InputError(argument, text, f"has the unit '{match['unit']}', which is none of: {known}", _FORMS)
    amount = float(re.sub("[_,]", "", match["number"])) * _MULTIPLES[match["multiple"]]
    if amount == math.inf:
        raise InputError(argument, text, "is too large a number")
    if amount == 0 and least == 0:
        return 0
    if unit == "share":
        if match["multiple"] or not 0 < amount <= 100:
            raise InputError(argument, text, "must be a share of the horizon above 0% and up to 100%")
        return Span(amount / 100, "share")
    if unit != "steps":
        if amount <= 0:
            raise InputError(argument, text, "must be longer than nothing", "Leave it out instead")
        return Span(amount, unit)
    if not math.isclose(amount, round(amount), rel_tol=1e-12):
        raise InputError(argument, text, "must be a whole number of steps")
    return as_duration(argument, round(amount), least=least)


@dataclass(frozen=True, kw_only=True)
class Clock:
    """What turns epochs, samples, tokens and shares into optimizer updates.

    A step takes ``batch_size`` * ``accumulate`` * ``world_size`` samples, and that times ``sequence_length`` tokens.

    Args:
        horizon: Updates of the whole training; what shares refer to.
        batch_size: Samples of one micro-batch of one process.
        accumulate: Micro-batches an update.
        world_size: Processes that train together on different data.
        sequence_length: Tokens a sample.
        steps_per_epoch: Updates (not micro-batches) a pass over the data.

    Raises:
        InputError: If a number is not positive and whole (``steps_per_epoch`` may be broken).

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
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InputError(name, value, "must be a whole number, at least 1")
        per_epoch = self.steps_per_epoch
        if per_epoch is not None and (
            isinstance(per_epoch, bool) or not isinstance(per_epoch, int | float) or not 0 < per_epoch < math.inf
        ):
            raise InputError("steps_per_epoch", per_epoch, "must be a positive number of updates")

    def exact(self, duration: Duration, argument: str = "duration") -> float:
        """Return ``duration`` in steps, not rounded."""
        span = as_duration(argument, duration)
        if isinstance(span, int):
            return float(span)
        per_step = self._per_step(span, argument)
        return span.amount * per_step if span.unit in ("share", "epochs") else span.amount / per_step

    def steps(self, duration: Duration, argument: str = "duration") -> int:
        """Return ``duration`` in whole steps, rounded to the nearest.

        Args:
            duration: Steps, a text with a unit, or a span.
            argument: Its name, for the message.

        Returns:
            Steps; 0 where it is shorter than half of one.

        Raises:
            InputError: If this clock does not know what the unit needs; the message names it.
        """
        return math.floor(self.exact(duration, argument) + 0.5)

    def _per_step(self, span: Span, argument: str) -> float:
        """Return steps per unit for shares and epochs, units per step for samples and tokens."""
        if span.unit == "share":
            return float(self._known("horizon", span, argument))
        if span.unit == "epochs":
            return float(self._known("steps_per_epoch", span, argument))
        samples = float(self._known("batch_size", span, argument)) * self.accumulate * self.world_size
        return samples * self._known("sequence_length", span, argument) if span.unit == "tokens" else samples

    def _known(self, field: str, span: Span, argument: str) -> float:
        value: float | None = getattr(self, field)
        if value is None:
            what = f"{'the ' if field == 'horizon' else ''}{field}"
            raise InputError(argument, str(span), f"needs {what} to be turned into steps", f"Give Clock({field}=…)")
        return value
