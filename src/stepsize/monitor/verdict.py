"""Is the learning rate too high, too low or fine: a vote of similar reference runs, which can be inconclusive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.record import Record
from stepsize.monitor.reference_runs import DISTANCES, NeighborVote, features_of, vote

RateCode: TypeAlias = Literal["too low", "fine", "too high", "diverged", "inconclusive"]
_SIDES: tuple[RateCode, ...] = ("too low", "fine", "too high")

# Least shares of the vote, set on the reference runs themselves with each task left out in turn.
_SURE: Mapping[str, float] = {"too low": 0.85, "fine": 0.7, "too high": 0.75}
_SIMILAR = 1.5  # widths of the reference runs: no run is similar to what is further away from all of them
_DIVERGED_CUT = 1 / 3
_SUGGESTED = (0.05, 20.0)  # factors: more than that is too much for one change
_FROM = 0.2  # of the horizon: before, the steps of good runs look too short
_UNTIL = 0.35  # the reference runs are compared at a quarter
_FROM_STEPS = 100
_DECAYED = 0.5  # of the peak


@dataclass(frozen=True)
class RateVerdict:
    """What the signals so far say about the learning rate.

    Attributes:
        code: ``"too low"``, ``"fine"``, ``"too high"``, ``"diverged"`` or ``"inconclusive"``.
        confidence: Share of the vote, 0 … 1; that of the strongest side if inconclusive.
        leaning: Strongest side, whatever its share.
        factor: Suggested multiplier of the present learning rate, at most 20 either way; None if the rate should not
            change or the factor is unknown.
        reason: Explanation with the numbers.
        between: Multiples of the learning rate in use between which the best one was, for four out of five similar
            reference runs; None if nothing was compared.
        signals: Values by which runs were compared.
        how_to_check: What would confirm the verdict or rule it out.
    """

    code: RateCode
    confidence: float
    leaning: RateCode
    factor: float | None
    reason: str
    between: tuple[float, float] | None = None
    signals: Mapping[str, float] = field(default_factory=dict)
    how_to_check: str = (
        "Fork the run at half and twice the learning rate on the same batches, decay both to zero, and compare."
    )

    @classmethod
    def unknown(cls, reason: str, signals: Mapping[str, float] | None = None) -> RateVerdict:
        """Return an inconclusive verdict without a vote."""
        return cls("inconclusive", 0.0, "inconclusive", None, reason, signals=signals or {})

    def __str__(self) -> str:
        return f"{self.code.capitalize()}. {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {**asdict(self), "between": None if self.between is None else list(self.between)}


def rate_verdict(record: Record) -> RateVerdict:
    """Return whether the learning rate of a run is too high, too low or fine, as far as its signals show.

    The run is compared with some 750 reference runs with known outcome, at learning rates from far too low to far too
    high. Those that were similar at a quarter of their steps vote. Compared are the straightness of the weight
    trajectory, the distance from initialization, and how much of the loss decrease came late. The best learning rate
    for a single step is not considered.

    Args:
        record: Signals of a run.

    Returns:
        The verdict; ``"inconclusive"`` before 20% and after 35% of the steps, or if similar runs do not agree.

    Reference:
        Wu et al., "Understanding short-horizon bias in stochastic meta-optimization", 2018, on why not by steps.
    """
    if record.diverged is not None:
        step, why = record.diverged
        return RateVerdict("diverged", 1.0, "diverged", _DIVERGED_CUT, f"The run diverged at step {step:,}: {why}.")
    if why := _out_of_time(record):
        return RateVerdict.unknown(why)
    features = features_of(record)
    found = None if features is None else vote(features)
    if features is None or found is None:
        known = "straightness" in record
        return RateVerdict.unknown("Too few steps." if known else "No weight trajectory: a log does not contain it.")
    if found.distance > _SIMILAR:
        return RateVerdict.unknown(f"No reference run is similar to this one. {_compared_by(features)}", features)
    return _verdict(found, features, record)


def _out_of_time(record: Record) -> str:
    """Return why there is no verdict at this moment; empty if there can be one."""
    if record.facts.steps and record.progress < _FROM:
        return f"Too early: the learning rate is evaluated after {_FROM:.0%} of the steps."
    if record.facts.steps and record.progress > _UNTIL:
        return f"Too late: the learning rate is evaluated until {_UNTIL:.0%} of the steps."
    if not record.facts.steps and record.step < _FROM_STEPS:
        return f"Too early: without a horizon, the learning rate is evaluated after {_FROM_STEPS} steps."
    if record.lr < _DECAYED * record.peak_lr:
        return "The learning rate has decayed below half its peak, so the peak can no longer be evaluated."
    return ""


def _verdict(found: NeighborVote, features: Mapping[str, float], record: Record) -> RateVerdict:
    place = int(np.argmax(found.shares))
    side: RateCode = _SIDES[place]
    share = found.shares[place]
    horizon = "" if record.facts.steps else f", for a run of {4 * record.step:,} steps"
    least, most = (number_text(round(one, 2 if one < 1 else 1)) for one in found.between)
    best = f"For four out of five of them the best learning rate was {least} to {most} times the one used."
    evidence = f"{best} {_compared_by(features)}"
    if share < _SURE[side]:
        shares = ", ".join(f"{one:.0%} {name}" for one, name in zip(found.shares, _SIDES, strict=True))
        reason = f"The vote of similar reference runs is not clear: {shares}{horizon}. {evidence}"
        return RateVerdict("inconclusive", share, side, None, reason, found.between, features)
    if side == "fine":
        factor, claim = None, "did best at about this learning rate"
    else:
        factor = float(np.clip(found.factor, *_SUGGESTED))
        off = number_text(round(max(found.factor, 1 / found.factor), 1))
        direction = "higher" if side == "too low" else "lower"
        claim = f"ended better at a {direction} learning rate, by a median factor of {off}"
    reason = f"Similar reference runs {claim} ({share:.0%} of their vote{horizon}). {evidence}"
    return RateVerdict(side, share, side, factor, reason, found.between, features)


def _compared_by(features: Mapping[str, float]) -> str:
    """Return in words by what runs were compared."""
    distance = 10 ** features["log10 distance"]
    edge = "less than " if distance <= DISTANCES[0] else "more than " if distance >= DISTANCES[1] else ""
    return (
        f"Compared by: straightness of the weight trajectory {number_text(round(features['straightness'], 2))} (1 = "
        f"straight line, 0 = no common direction), largest relative distance of a tensor from its initialization "
        f"{edge}{number_text(distance)}, {round(features['late decrease'], 2) + 0.0:.0%} of the loss decrease in the "
        "second half of the steps so far."
    )
