"""Is the rate too high, too low or fine: a vote over independent signals, which may end without an answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.readings import alpha, mean_of, window
from stepsize.monitor.record import Record

__all__ = ["RateCode", "RateVerdict", "judge_rate"]

Array = NDArray[np.float64]
RateCode: TypeAlias = Literal["too low", "fine", "too high", "diverged", "cannot tell"]

_FEWEST = 24  # updates that a vote needs
# Shares of the vote from which on a side is told, set on the design tasks: where no good run was accused.
_SURE: Mapping[str, float] = {"too low": 0.9, "fine": 0.5, "too high": 0.8}
_DIVERGED_CUT = 1 / 3
_FROM = 0.2  # of the horizon: before, the steps of good trainings look too short
_FROM_STEPS = 100
_DECAYED = 0.5  # of the peak


@dataclass(frozen=True, eq=False)
class _Ballot:
    """A multinomial vote: log-odds of (too low, fine, too high) are linear in the standardised signals."""

    signals: tuple[str, ...]
    middle: Array
    spread: Array
    weights: Array
    base: Array


# Fitted by `python -m benchmarks verdicts --fit` to the first quarter of trainings at 13 rates, 0.003 to 30 times the
# best, of
# the six design tasks with two optimizers each; judged on the other six in docs/benchmarks.md.
_STEPS = _Ballot(
    ("alpha", "climbing", "log10 update/weight", "cosine"),
    np.array([-0.223, 0.369, -2.777, 0.271]),
    np.array([0.466, 0.314, 0.826, 0.233]),
    np.array([[-0.576, -0.15, -0.405, 0.791], [0.31, -0.04, -0.268, 0.109], [0.266, 0.19, 0.673, -0.9]]),
    np.array([0.553, 0.504, -1.057]),
)
_PROBED = _Ballot(
    (*_STEPS.signals, "log2 headroom"),
    np.array([-0.223, 0.369, -2.777, 0.271, 4.984]),
    np.array([0.466, 0.314, 0.826, 0.233, 2.783]),
    np.array(
        [
            [-0.505, -0.096, -0.334, 0.831, 0.248],
            [0.344, -0.008, -0.229, 0.147, 0.144],
            [0.161, 0.104, 0.563, -0.978, -0.392],
        ]
    ),
    np.array([0.595, 0.546, -1.141]),
)


@dataclass(frozen=True)
class RateVerdict:
    """What the signals say of the rate by now.

    Attributes:
        code: ``"too low"``, ``"fine"``, ``"too high"``, ``"diverged"`` or ``"cannot tell"``.
        confidence: The share of the vote, 0 … 1; of ``"cannot tell"`` that of the strongest side.
        leaning: The strongest side, whatever its share.
        factor: By about what to multiply the rate; None where it should stay or nobody knows.
        reason: A sentence with the numbers.
        signals: The signals that voted.
        would_change: What would change its mind.
    """

    code: RateCode
    confidence: float
    leaning: RateCode
    factor: float | None
    reason: str
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
            "signals": dict(self.signals),
            "would_change": self.would_change,
        }


def judge_rate(record: Record) -> RateVerdict:
    """Return whether the rate of a training is too high, too low or fine, as far as its signals tell.

    The vote is a multinomial logistic one over alpha (where steps end on the parabola of the loss along them), the
    share
    of steps behind which the loss climbs, the length of steps against the weights, the cosine of successive gradients
    and, where it was measured, the critical rate over the rate in use. Each is an average over many steps.

    Args:
        record: The signals of a training.

    Returns:
        The verdict; ``"cannot tell"`` under 24 updates, or where no side has enough of the vote.

    Reference:
        alpha after Schneider et al., "Cockpit: a practical debugging tool for the training of deep neural networks",
        2021.
    """
    if record.lost is not None:
        step, why = record.lost
        reason = f"The training diverged at step {step:,}: {why}."
        return RateVerdict("diverged", 1.0, "diverged", _DIVERGED_CUT, reason)
    if early := _too_early(record):
        return RateVerdict("cannot tell", 0.0, "cannot tell", None, early)
    signals = _signals(record)
    if signals is None:
        seen = len(record.recent("slope_now"))
        reason = f"Too few updates were measured: {seen}, at least {_FEWEST} are needed."
        return RateVerdict("cannot tell", 0.0, "cannot tell", None, reason)
    ballot = _PROBED if "log2 headroom" in signals else _STEPS
    values = np.array([signals[name] for name in ballot.signals])
    votes = ballot.weights @ ((values - ballot.middle) / ballot.spread) + ballot.base
    shares = np.exp(votes - votes.max())
    shares /= shares.sum()
    return _told(shares, signals)


def _too_early(record: Record) -> str:
    """Return why nothing can be told yet, or any more; empty where it can."""
    if record.facts.steps and record.progress < _FROM:
        return f"It is too early: rates are judged from {_FROM:.0%} of the steps on."
    if not record.facts.steps and record.step < _FROM_STEPS:
        return f"It is too early: without a horizon, rates are judged from {_FROM_STEPS} steps on."
    if record.lr < _DECAYED * record.peak_lr:
        return "The rate is far below its peak: nothing can be told of the peak any more."
    return ""


def _signals(record: Record) -> dict[str, float] | None:
    most = window(record)
    now = record.recent("slope_now", most).finite().values
    if now.size < _FEWEST:
        return None
    ratio = record.median("update_ratio", most)
    signals = {
        "alpha": _bounded(alpha(record, most).mean, -1.0, 1.0, 1.0),
        "climbing": float(np.mean(now > 0)),
        "log10 update/weight": math.log10(_bounded(ratio, 1e-5, 0.3, 0.3)),
        "cosine": _bounded(mean_of(record.recent("cosine", most)).mean, -1.0, 1.0, -1.0),
    }
    headroom = record.recent("headroom", 4).values
    if len(headroom) >= 2:
        signals["log2 headroom"] = math.log2(float(np.clip(np.median(headroom), 0.5, 512.0)))
    return signals


def _told(shares: Array, signals: dict[str, float]) -> RateVerdict:
    sides: tuple[RateCode, ...] = ("too low", "fine", "too high")
    place = int(shares.argmax())
    side, share = sides[place], float(shares[place])
    told = (
        f"alpha {number_text(signals['alpha'])} (-1: steps end where they began on the parabola, 0: at its "
        f"lowest point), "
        f"the loss climbs behind {signals['climbing']:.0%} of the steps, which are "
        f"{number_text(10 ** signals['log10 update/weight'])} of the weights long; successive gradients have a "
        f"cosine of "
        f"{number_text(signals['cosine'])}"
    )
    if "log2 headroom" in signals:
        told += f"; the loss of a batch rises at {number_text(2 ** signals['log2 headroom'])}× the step made"
    if share < _SURE[side]:
        reason = f"The signals do not agree: {told}. The vote leans to '{side}' with {share:.0%}."
        return RateVerdict("cannot tell", share, side, None, reason, signals)
    return RateVerdict(side, share, side, _factor(side, signals), f"{told[0].upper()}{told[1:]}.", signals)


def _factor(side: RateCode, signals: Mapping[str, float]) -> float | None:
    """Return about how far the rate is off: while curvature stays, 1 + alpha is proportional to the rate."""
    if side == "fine":
        return None
    if side == "too high":
        return 1 / 3
    return float(np.clip(0.8 / max(0.08, 1 + signals["alpha"]), 2.0, 10.0))


def _bounded(value: float, low: float, high: float, unknown: float) -> float:
    return float(np.clip(value, low, high)) if math.isfinite(value) else unknown
