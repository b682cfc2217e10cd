"""The learning rate is too high, or could be higher: the verdict as findings."""

from __future__ import annotations

from functools import partial
from typing import Literal

from stepsize.monitor.finding import Rule, Seen, advice
from stepsize.monitor.record import Record
from stepsize.monitor.verdict import rate_verdict


def _check(code: Literal["too high", "too low"], record: Record) -> Seen | None:
    verdict = rate_verdict(record)
    if verdict.code != code or verdict.factor is None:
        return None
    evidence: dict[str, float | str] = {**verdict.signals, "confidence": verdict.confidence, "lr": record.peak_lr}
    message = f"The learning rate is {code}. {verdict.reason.partition(' Compared by:')[0]}"  # the rest is evidence
    return Seen(message, evidence, f"{advice(verdict.factor)}.", verdict.factor)


_SIGNALS = ("straightness", "distance", "loss", "val_loss")
_REFERENCE = "Wu et al., Understanding short-horizon bias in stochastic meta-optimization, 2018"
_FORK = "the learning rate, decayed to zero on the same batches, is no better."

TOO_HIGH = Rule(
    code="too-high",
    title="The learning rate is too high",
    severity="warning",
    meaning=(
        "Nearly all similar reference runs, compared at a quarter of their steps, ended better at a lower learning "
        "rate: the weights moved far without a consistent direction, and the loss fell by little more than its noise."
    ),
    signals=_SIGNALS,
    reference=_REFERENCE,
    how_to_check=f"Ruled out if a fork at half {_FORK}",
    check=partial(_check, "too high"),
    twice=True,
)

TOO_LOW = Rule(
    code="too-low",
    title="The learning rate could be higher",
    severity="warning",
    meaning=(
        "Nearly all similar reference runs, compared at a quarter of their steps, ended better at a higher learning "
        "rate: the weights moved straight but not far, and much of the loss decrease came late. The best learning rate "
        "for a single step is not considered."
    ),
    signals=_SIGNALS,
    reference=_REFERENCE,
    how_to_check=f"Ruled out if a fork at twice {_FORK}",
    check=partial(_check, "too low"),
    twice=True,
)
