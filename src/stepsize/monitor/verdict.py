"""Is the learning rate too high, too low or fine: what the signals of a run say, which can be inconclusive."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.rate_signals import CIRCUMSTANCES, rate_signals, signal_text
from stepsize.monitor.record import Record
from stepsize.monitor.verdict_model import SIDES, Judgment, verdict_model

RateCode: TypeAlias = Literal["too low", "fine", "too high", "diverged", "inconclusive"]

LOOKS = (1 / 8, 3 / 16, 1 / 4, 3 / 8, 1 / 2)
"""Fractions of the horizon at which the learning rate is evaluated; without a horizon, numbers of steps that double."""

_UNTIL = 0.6  # of the horizon
_FROM_STEPS = 16
_UNKNOWN_FROM = 100  # steps, if the horizon is unknown
_DECAYED = 0.4  # of the peak
_DIVERGED_CUT = 1 / 3
_SUGGESTED = (0.05, 20.0)  # factors: more than that is too much for one change
_TELLING = 3  # signals that are named
_NEEDED = ("straightness", "update")


@dataclass(frozen=True)
class RateVerdict:
    """What the signals so far say about the learning rate.

    Attributes:
        code: ``"too low"``, ``"fine"``, ``"too high"``, ``"diverged"`` or ``"inconclusive"``.
        confidence: Probability of ``code``, 0 … 1; that of the likeliest side if inconclusive.
        leaning: Likeliest side, whatever its probability.
        factor: Suggested multiplier of the present learning rate, at most 20 either way; None if the rate should not
            change or the factor is unknown.
        reason: Explanation with the numbers.
        between: Multiples of the learning rate in use between which the best one lies, for four out of five recorded
            runs with such signals; None if nothing was compared.
        chances: Probabilities that the learning rate is too low, fine and too high; None if nothing was compared.
        signals: Values on which the verdict rests.
        how_to_check: What would confirm the verdict or rule it out.
    """

    code: RateCode
    confidence: float
    leaning: RateCode
    factor: float | None
    reason: str
    between: tuple[float, float] | None = None
    chances: tuple[float, float, float] | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    how_to_check: str = (
        "Fork the run at half and twice the learning rate on the same batches, decay both to zero, and compare."
    )

    @classmethod
    def unknown(cls, reason: str, signals: Mapping[str, float] | None = None) -> RateVerdict:
        """Return an inconclusive verdict without probabilities."""
        return cls("inconclusive", 0.0, "inconclusive", None, reason, signals=signals or {})

    def __str__(self) -> str:
        return f"{self.code.capitalize()}. {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        pairs = {name: None if value is None else list(value) for name, value in self._pairs()}
        return {**asdict(self), **pairs}

    def _pairs(self) -> tuple[tuple[str, tuple[float, ...] | None], ...]:
        return ("between", self.between), ("chances", self.chances)


def rate_verdict(record: Record) -> RateVerdict:
    """Return whether the learning rate of a run is too high, too low or fine, as far as its signals show.

    A small network, learned from recorded runs with known outcome at learning rates from far too low to far too high,
    gives the probabilities; fine means a final validation loss within 10% of the best one. It reads the learning rate
    over the usual one of the optimizer, the trajectory of the weights, the losses and the slopes along the steps.

    Args:
        record: Signals of a run.

    Returns:
        The verdict; ``"inconclusive"`` too early, after 60% of the steps, or if no side is likely enough.

    Reference:
        Wu et al., "Understanding short-horizon bias in stochastic meta-optimization", 2018, on why not by single steps.
    """
    if record.diverged is not None:
        step, why = record.diverged
        return RateVerdict("diverged", 1.0, "diverged", _DIVERGED_CUT, f"The run diverged at step {step:,}: {why}.")
    if why := _out_of_time(record):
        return RateVerdict.unknown(why)
    signals = rate_signals(record)
    if all(math.isnan(signals[name]) for name in _NEEDED):
        known = "grad_norm" in record
        return RateVerdict.unknown("Too few steps." if known else "No weight trajectory: a log does not contain it.")
    known_signals = {name: round(value, 4) for name, value in signals.items() if not math.isnan(value)}
    judged = verdict_model().judge(signals)
    if not judged.known:
        odd = "; ".join(signal_text(name, signals[name]) for name in judged.unlike[:_TELLING])
        return RateVerdict.unknown(f"No recorded run is similar to this one: {odd}.", known_signals)
    return _verdict(judged, known_signals, record)


def verdicts_at_looks(record: Record) -> list[RateVerdict]:
    """Return the verdicts at the looks so far; a new look is taken if it is time."""
    now = _looks_so_far(record)
    if now > record.looks:
        record.looks = now
        record.verdicts.append(rate_verdict(record))
    return record.verdicts


def _looks_so_far(record: Record) -> int:
    if record.facts.steps:
        return sum(record.progress >= look for look in LOOKS) if record.step >= _FROM_STEPS else 0
    return max(0, 1 + math.floor(math.log2(record.step / _UNKNOWN_FROM))) if record.step else 0


def _out_of_time(record: Record) -> str:
    """Return why there is no verdict at this moment; empty if there can be one."""
    if record.facts.steps and (record.progress < LOOKS[0] or record.step < _FROM_STEPS):
        return f"Too early: the learning rate is evaluated after {LOOKS[0]:.1%} of the steps."
    if record.facts.steps and record.progress > _UNTIL:
        return f"Too late: the learning rate is evaluated until {_UNTIL:.0%} of the steps."
    if not record.facts.steps and record.step < _UNKNOWN_FROM:
        return f"Too early: without a horizon, the learning rate is evaluated after {_UNKNOWN_FROM} steps."
    if record.lr < _DECAYED * record.peak_lr:
        return (
            f"The learning rate has decayed below {_DECAYED:.0%} of its peak, so the peak can no longer be evaluated."
        )
    return ""


def _verdict(judged: Judgment, signals: Mapping[str, float], record: Record) -> RateVerdict:
    place = int(np.argmax(judged.chances))
    side: RateCode = SIDES[place]  # type: ignore[assignment]
    sure, least = judged.chances[place], verdict_model().least
    low, middle, high = judged.between
    horizon = "" if record.facts.steps else f", for a run of {4 * record.step:,} steps"
    told = sure >= least[place]
    spread = f"{_multiple(low)} to {_multiple(high)} times the one in use"
    telling = [name for name in judged.telling if name not in CIRCUMSTANCES][:_TELLING]
    evidence = "; ".join(signal_text(name, signals[name]) for name in telling)
    factor = None
    if not told:
        text = _inconclusive(judged, float(least[3]))
    elif side == "fine":
        text = f"Another learning rate would hardly end better ({sure:.0%} sure{horizon})"
    else:
        factor = float(np.clip(max(middle, 1.5) if side == "too low" else min(middle, 1 / 1.5), *_SUGGESTED))
        direction, off = ("higher", factor) if side == "too low" else ("lower", 1 / factor)
        size = number_text(round(off, 1))
        text = f"A learning rate about {size}× {direction} would end better ({sure:.0%} sure{horizon})"
    reason = f"{text}. The best learning rate is probably {spread}. Main evidence: {evidence}."
    code = side if told else "inconclusive"
    return RateVerdict(code, sure, side, factor, reason, (low, high), judged.chances, signals)


def _inconclusive(judged: Judgment, least: float) -> str:
    low, fine, high = judged.chances
    each = f"{low:.0%} too low, {fine:.0%} fine, {high:.0%} too high"
    if 1 - high >= least and high <= low:
        return f"Not too high ({1 - high:.0%} sure), but whether it is too low is not clear yet: {each}"
    if 1 - low >= least and low <= high:
        return f"Not too low ({1 - low:.0%} sure), but whether it is too high is not clear yet: {each}"
    likeliest = max(judged.chances)
    side = SIDES[judged.chances.index(likeliest)]
    return (
        f"Probably {side}, but this is not clear yet: {each}" if likeliest >= 0.5 else f"No side is clear yet: {each}"
    )


def _multiple(value: float) -> str:
    return number_text(round(value, 2 if value < 1 else 1))
