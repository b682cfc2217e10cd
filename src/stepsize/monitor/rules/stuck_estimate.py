"""A learning-rate-free optimizer is stuck at its initial estimate."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_ENOUGH = 100
_MOVED = 2.0


def _check(record: Record) -> Seen | None:
    estimates = record.history("estimate").finite().values
    if not record.facts.learning_rate_free or estimates.size < _ENOUGH or estimates[0] <= 0:
        return None
    first, last = float(estimates[0]), float(estimates[-1])
    grown = float(np.max(estimates) / first)
    if grown >= _MOVED:
        return None
    message = (
        f"The distance estimate has not grown: it is {number_text(last)} after {estimates.size:,} steps, "
        f"{number_text(grown)}× its initial value."
    )
    remedy = "Raise its initial value (d0) a thousandfold, and leave the learning rate at 1."
    return Seen(message, {"first": first, "last": last, "updates": float(estimates.size)}, remedy)


RULE = Rule(
    code="stuck-estimate",
    title="A learning-rate-free optimizer stuck at its initial estimate",
    severity="warning",
    meaning=(
        "The distance that D-Adaptation and similar methods estimate has not grown from its tiny initial value, so the "
        "steps stay tiny, too."
    ),
    signals=("estimate",),
    reference="Defazio and Mishchenko, Learning-rate-free learning by D-Adaptation, 2023",
    how_to_check="Ruled out if the estimate doubles.",
    check=_check,
)
