"""A method without a rate is stuck at its start value."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_ENOUGH = 100
_MOVED = 2.0


def _look(record: Record) -> Seen | None:
    estimates = record.history("estimate").finite().values
    if not record.facts.learning_rate_free or estimates.size < _ENOUGH or estimates[0] <= 0:
        return None
    grown = float(np.max(estimates) / estimates[0])
    if grown >= _MOVED:
        return None
    evidence = {"first": float(estimates[0]), "last": float(estimates[-1]), "updates": float(estimates.size)}
    return Seen(
        f"The estimate of the distance still is {number_text(float(estimates[-1]))}, {number_text(grown)}× its "
        f"start value "
        f"after {estimates.size:,} updates.",
        evidence,
        "Raise its start value (d0) a thousandfold, and leave the rate at 1.",
    )


RULE = Rule(
    code="stuck-estimate",
    title="A learning-rate-free method stuck at its start",
    severity="warning",
    meaning=(
        "The distance that D-Adaptation and its kin estimate has not grown from its tiny start: steps stay tiny too."
    ),
    signals=("estimate",),
    reference="Defazio and Mishchenko, Learning-rate-free learning by D-Adaptation, 2023",
    would_change="The estimate doubling.",
    look=_look,
)
