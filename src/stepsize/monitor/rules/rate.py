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


TOO_HIGH = Rule(
    code="too-high",
    title="The rate is too high",
    severity="warning",
    meaning=(
        "Several independent signals of how steps end agree, beyond their noise, that a lower rate ends at a "
        "lower loss: "
        "steps climb the far wall, gradients turn against each other, weights move by too much of their length."
    ),
    signals=("slope_now", "slope_then", "cosine", "update_ratio"),
    reference="Schneider et al., Cockpit, 2021; Wu et al., Understanding short-horizon bias, 2018",
    would_change="A fork at half the rate, cooled down on the same batches, that is no better.",
    look=_high,
)

TOO_LOW = Rule(
    code="too-low",
    title="The rate could be higher",
    severity="warning",
    meaning=(
        "Step after step ends far before the lowest point of the loss along it, gradients keep pointing the "
        "same way, and "
        "weights hardly move: the training crawls. It never rests on one step's greed: signs are averaged over many."
    ),
    signals=("slope_now", "slope_then", "cosine", "update_ratio"),
    reference="Schneider et al., Cockpit, 2021; Wu et al., Understanding short-horizon bias, 2018",
    would_change="A fork at twice the rate, cooled down on the same batches, that is no better.",
    look=_low,
)
