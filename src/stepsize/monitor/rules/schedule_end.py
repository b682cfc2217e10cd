"""The schedule ends too early, or never decays."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_OVER = 1e-3
_EARLY = 0.85
_UNDECAYED = 0.5


def _look(record: Record) -> Seen | None:
    steps = record.facts.steps
    if not steps or not record.rates() or record.facts.learning_rate_free or record.lost is not None:
        return None
    factors = np.asarray(record.facts.schedule)
    if factors.size > 1 and factors.max() > 0:
        relative = factors / factors.max()
        over = np.nonzero(relative > _OVER)[0]
        end = (int(over[-1]) + 1) / factors.size if over.size else 0.0
        if end < _EARLY:
            return _early(end, steps)
        if relative[-1] > _UNDECAYED and relative[-1] >= relative[factors.size // 2]:
            return _never(float(relative[-1]), ahead=True)
        return None
    rates = record.history(record.rates()[0]).finite().values
    if not rates.size or rates.max() <= 0:
        return None
    if rates[-1] <= _OVER * rates.max() and record.step < _EARLY * steps:
        return _early(record.step / steps, steps)
    if record.progress >= 0.95 and rates[-1] > _UNDECAYED * rates.max():
        return _never(float(rates[-1] / rates.max()), ahead=False)
    return None


def _early(end: float, steps: int) -> Seen:
    told = f"The rate is down to nothing after {end:.0%} of the {steps:,} steps: the rest changes no weight."
    return Seen(told, {"end": end, "steps": float(steps)}, f"Give the schedule all {steps:,} steps, or stop there.")


def _never(level: float, *, ahead: bool) -> Seen:
    when = "will end" if ahead else "ends"
    told = f"The rate {when} at {number_text(100 * level)} % of its peak: the schedule never decays."
    return Seen(
        told, {"last_over_peak": level}, "Let it fall to zero over the last 20 % or more of the steps.", severity="info"
    )


RULE = Rule(
    code="schedule-end",
    title="The schedule ends too early, or never decays",
    severity="warning",
    meaning=(
        "Steps at a rate of nothing are wasted, and a training that ends at a high rate leaves the noise of its "
        "last steps "
        "in the weights: both happen when the schedule was made for another number of steps."
    ),
    signals=("lr",),
    reference="Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024",
    would_change="Another horizon than the one that was told.",
    look=_look,
)
