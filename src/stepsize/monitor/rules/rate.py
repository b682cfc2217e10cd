"""The rate is too high, or could be higher: the verdict as findings."""

from __future__ import annotations

from stepsize.monitor.finding import Rule, Seen, times_text
from stepsize.monitor.record import Record
from stepsize.monitor.verdict import judge_rate

__all__ = ["TOO_HIGH", "TOO_LOW"]


def _high(record: Record) -> Seen | None:
    return _seen(record, "too high")


def _low(record: Record) -> Seen | None:
    return _seen(record, "too low")


def _seen(record: Record, code: str) -> Seen | None:
    verdict = judge_rate(record)
    if verdict.code != code or verdict.factor is None:
        return None
    evidence: dict[str, float | str] = {**verdict.signals, "confidence": verdict.confidence, "lr": record.peak_lr}
    return Seen(verdict.reason, evidence, f"{times_text(verdict.factor)}.", verdict.factor)


_SIGNALS = ("straightness", "distance", "loss", "val_loss")
_REFERENCE = "Wu et al., Understanding short-horizon bias in stochastic meta-optimization, 2018"

TOO_HIGH = Rule(
    code="too-high",
    title="The rate is too high",
    severity="warning",
    meaning=(
        "Nearly all trainings on record that looked like this one at a quarter of their steps ended better at a lower "
        "rate: their weights wandered far instead of going on, and little of the gain came late."
    ),
    signals=_SIGNALS,
    reference=_REFERENCE,
    would_change="A fork at half the rate, cooled down on the same batches, that is no better.",
    look=_high,
)

TOO_LOW = Rule(
    code="too-low",
    title="The rate could be higher",
    severity="warning",
    meaning=(
        "Nearly all trainings on record that looked like this one at a quarter of their steps ended better at a higher "
        "rate: their weights went straight on and not far, and much of the gain came late. What a single step would "
        "like best plays no part in it."
    ),
    signals=_SIGNALS,
    reference=_REFERENCE,
    would_change="A fork at twice the rate, cooled down on the same batches, that is no better.",
    look=_low,
)
