"""The schedule ends too early, or never decays."""

from __future__ import annotations

import numpy as np

from stepsize.monitor.finding import Finding, Rule, Seen
from stepsize.monitor.record import Record

_OVER = 1e-3
_EARLY = 0.85
_UNDECAYED = 0.5


def _check(record: Record) -> Seen | None:
    steps = record.facts.steps
    if not steps or not record.rates() or record.facts.learning_rate_free or record.diverged is not None:
        return None
    factors = np.asarray(record.facts.schedule)
    if factors.size > 1 and factors.max() > 0:
        relative = factors / factors.max()
        over = np.nonzero(relative > _OVER)[0]
        end = (int(over[-1]) + 1) / factors.size if over.size else 0.0
        if end < _EARLY:
            return _early(end, steps)
        undecayed = relative[-1] > _UNDECAYED and relative[-1] >= relative[factors.size // 2]
        return _never("will end", float(relative[-1])) if undecayed else None
    rates = record.history(record.rates()[0]).finite().values
    if not rates.size or rates.max() <= 0:
        return None
    if rates[-1] <= _OVER * rates.max() and record.step < _EARLY * steps:
        return _early(record.step / steps, steps)
    falling = rates[-1] < rates[int(0.9 * rates.size)]  # a short cooldown that has not ended yet
    if record.progress >= (0.999 if falling else 0.95) and rates[-1] > _UNDECAYED * rates.max():
        return _never("ends", float(rates[-1] / rates.max()))
    return None


def _early(end: float, steps: int) -> Seen:
    message = f"The learning rate is zero after {end:.0%} of the {steps:,} steps; the rest changes no weights."
    return Seen(
        message, {"end": end, "steps": float(steps)}, f"Stretch the schedule over all {steps:,} steps, or stop there."
    )


def _never(verb: str, level: float) -> Seen:
    message = f"The schedule never decays: the learning rate {verb} at {level:.0%} of its peak."
    remedy = "Decay it to zero over the last 20% or more of the steps."
    return Seen(message, {"last_over_peak": level}, remedy, severity="info")


def _refuted(record: Record, _found: Finding) -> bool:
    """Return whether the schedule, or the number of steps, was changed."""
    return record.diverged is None and _check(record) is None


RULE = Rule(
    code="schedule-end",
    title="The schedule ends too early, or never decays",
    severity="warning",
    meaning=(
        "Steps at a learning rate of zero are wasted, and a run that ends at a high learning rate leaves the noise of "
        "its last steps in the weights. Both happen if the schedule was made for a different number of steps."
    ),
    signals=("lr",),
    reference="Hägele et al., Scaling laws and compute-optimal training beyond fixed training durations, 2024",
    how_to_check="Ruled out if the run has a different number of steps than was reported.",
    check=_check,
    holds=True,
    refuted=_refuted,
)
