"""Is the rate too high, too low or fine: a vote of trainings whose end is known, which may give no answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.precedents import REACH, Precedent, compare, signals_of
from stepsize.monitor.record import Record

__all__ = ["RateCode", "RateVerdict", "judge_rate"]

RateCode: TypeAlias = Literal["too low", "fine", "too high", "diverged", "cannot tell"]
_SIDES: tuple[RateCode, ...] = ("too low", "fine", "too high")

# Shares of the vote from which on a side is told, set on the record itself with each task left out in turn.
_SURE: Mapping[str, float] = {"too low": 0.85, "fine": 0.7, "too high": 0.75}
_ALIKE = 1.5  # widths of the record: nothing on record looks like what lies further from all of it
_DIVERGED_CUT = 1 / 3
_ADVISED = (0.05, 20.0)  # factors: farther than that nobody should go in one step
_FROM = 0.2  # of the horizon: before, the steps of good trainings look too short
_UNTIL = 0.35  # the record holds trainings at a quarter of theirs
_FROM_STEPS = 100
_DECAYED = 0.5  # of the peak


@dataclass(frozen=True)
class RateVerdict:
    """What the signals say of the rate by now.

    Attributes:
        code: ``"too low"``, ``"fine"``, ``"too high"``, ``"diverged"`` or ``"cannot tell"``.
        confidence: The share of the vote, 0 … 1; of ``"cannot tell"`` that of the strongest side.
        leaning: The strongest side, whatever its share.
        factor: By about what to multiply the rate now, at most 20 either way; None where it should stay or nobody
            knows.
        reason: A sentence with the numbers.
        between: Between which multiples of the rate in use the best one lies, for four in five of the trainings that
            looked alike; None where nothing was compared.
        signals: What trainings were compared by.
        would_change: What would change its mind.
    """

    code: RateCode
    confidence: float
    leaning: RateCode
    factor: float | None
    reason: str
    between: tuple[float, float] | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    would_change: str = "A fork at half and at twice the rate, cooled down on the same batches, that says otherwise."

    def __str__(self) -> str:
        return f"{self.code.capitalize()}. {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {
            "code": self.code,
            "confidence": self.confidence,
            "leaning": self.leaning,
            "factor": self.factor,
            "reason": self.reason,
            "between": None if self.between is None else list(self.between),
            "signals": dict(self.signals),
            "would_change": self.would_change,
        }


def judge_rate(record: Record) -> RateVerdict:
    """Return whether the rate of a training is too high, too low or fine, as far as its signals tell.

    The training is held against those on record: some 750 at rates from far too low to far too high, whose
    outcome is known. Those that looked alike at a quarter of their steps vote; what is compared is how straight the
    way of the weights was, how far it led, and how much of the gain came late. None of it is what a single step would
    like best.

    Args:
        record: The signals of a training.

    Returns:
        The verdict; ``"cannot tell"`` before a fifth of the steps and after a third, or where those that looked alike
        do not agree.

    Reference:
        Wu et al., "Understanding short-horizon bias in stochastic meta-optimization", 2018, on why not by steps.
    """
    if record.lost is not None:
        step, why = record.lost
        reason = f"The training diverged at step {step:,}: {why}."
        return RateVerdict("diverged", 1.0, "diverged", _DIVERGED_CUT, reason)
    if why := _out_of_time(record):
        return RateVerdict("cannot tell", 0.0, "cannot tell", None, why)
    signals = signals_of(record)
    found = None if signals is None else compare(signals)
    if signals is None or found is None:
        known = "straightness" in record
        reason = (
            "Too few steps were seen." if known else "The way of the weights was not seen; a log holds nothing of it."
        )
        return RateVerdict("cannot tell", 0.0, "cannot tell", None, reason)
    if found.alike > _ALIKE:
        reason = f"No training on record looks like this one: {_described(signals)}."
        return RateVerdict("cannot tell", 0.0, "cannot tell", None, reason, signals=signals)
    return _told(found, signals, record)


def _out_of_time(record: Record) -> str:
    """Return why nothing can be told yet, or any more; empty where it can."""
    if record.facts.steps and record.progress < _FROM:
        return f"It is too early: rates are judged from {_FROM:.0%} of the steps on."
    if record.facts.steps and record.progress > _UNTIL:
        return f"It is too late: rates are judged up to {_UNTIL:.0%} of the steps."
    if not record.facts.steps and record.step < _FROM_STEPS:
        return f"It is too early: without a horizon, rates are judged from {_FROM_STEPS} steps on."
    if record.lr < _DECAYED * record.peak_lr:
        return "The rate is far below its peak: nothing can be told of the peak any more."
    return ""


def _told(found: Precedent, signals: Mapping[str, float], record: Record) -> RateVerdict:
    place = int(np.argmax(found.shares))
    side: RateCode = _SIDES[place]
    share = found.shares[place]
    horizon = "" if record.facts.steps else f", for a training of {4 * record.step:,} steps"
    told = _described(signals)
    told = f"{told[0].upper()}{told[1:]}"
    least, most = (number_text(round(one, 2 if one < 1 else 1)) for one in found.between)
    best = f"for four in five the best rate was {least} to {most} × theirs"
    if share < _SURE[side]:
        shares = ", ".join(f"{one:.0%} {name}" for one, name in zip(found.shares, _SIDES, strict=True))
        reason = f"{told}. Trainings that looked alike ended {shares}{horizon}; {best}."
        return RateVerdict("cannot tell", share, side, None, reason, found.between, signals)
    factor = None if side == "fine" else float(np.clip(found.factor, *_ADVISED))
    off = max(found.factor, 1 / found.factor)
    by = "" if factor is None else f", by {number_text(round(off, 1))}× in the median"
    alike = f"Of the trainings that looked alike {share:.0%} were {side}{by}{horizon}"
    return RateVerdict(side, share, side, factor, f"{told}. {alike}; {best}.", found.between, signals)


def _described(signals: Mapping[str, float]) -> str:
    """Return in words what the trainings were compared by."""
    distance = 10 ** signals["log10 distance"]
    edge = "less than " if distance <= REACH[0] else "more than " if distance >= REACH[1] else ""
    return (
        f"the way of the weights is straight to {number_text(round(signals['straightness'], 2))} (1: straight on, 0: "
        f"wandering) and leads {edge}{number_text(distance)} × their length from the start, and "
        f"{round(signals['loss gain'], 2) + 0.0:.0%} of the gain came in the later half of the steps"
    )
