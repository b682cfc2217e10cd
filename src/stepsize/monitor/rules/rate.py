"""The learning rate is too high, or could be higher: the verdict as findings."""

from __future__ import annotations

from functools import partial
from typing import Literal

from stepsize.monitor.finding import Rule, Seen, advice
from stepsize.monitor.record import Record
from stepsize.monitor.verdict import verdicts_at_looks

# Chosen on the design runs of benchmarks/verdicts.py: their looks accuse 1 of 90 fine ones, 3 with any verdict.
_SURE = 0.86


def _check(code: Literal["too high", "too low"], record: Record) -> Seen | None:
    verdicts = verdicts_at_looks(record)[-2:]
    # One look alone is not enough to accuse a run.
    if len(verdicts) < 2 or any(one.code != code or one.confidence < _SURE for one in verdicts):
        return None
    verdict = verdicts[-1]
    if verdict.factor is None:
        return None
    evidence: dict[str, float | str] = {**verdict.signals, "confidence": verdict.confidence, "lr": record.peak_lr}
    return Seen(
        f"The learning rate is {code}. {verdict.reason}", evidence, f"{advice(verdict.factor)}.", verdict.factor
    )


_SIGNALS = ("lr", "loss", "slope_then", "straightness", "distance", "update_ratio", "val_loss")
_REFERENCE = "Wu et al., Understanding short-horizon bias in stochastic meta-optimization, 2018"
_FORK = "the learning rate, decayed to zero on the same batches, is no better."

TOO_HIGH = Rule(
    code="too-high",
    title="The learning rate is too high",
    severity="warning",
    meaning=(
        "Nearly all recorded runs with such signals ended better at a lower learning rate: the weights moved far "
        "without a consistent direction, and the loss fell by little more than its noise. Two looks in a row agree."
    ),
    signals=_SIGNALS,
    reference=_REFERENCE,
    how_to_check=f"Ruled out if a fork at half {_FORK}",
    check=partial(_check, "too high"),
)

TOO_LOW = Rule(
    code="too-low",
    title="The learning rate could be higher",
    severity="warning",
    meaning=(
        "Nearly all recorded runs with such signals ended better at a higher learning rate: the weights moved straight "
        "but not far, and much of the loss decrease came late. Two looks in a row agree. The best learning rate for a "
        "single step is not considered."
    ),
    signals=_SIGNALS,
    reference=_REFERENCE,
    how_to_check=f"Ruled out if a fork at twice {_FORK}",
    check=partial(_check, "too low"),
)
