"""Unseen data get worse while the training goes on."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.readings import slope_of
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_FEWEST = 4


def _look(record: Record) -> Seen | None:
    seen = record.history("val_loss").finite()
    if len(seen) < _FEWEST:
        return None
    place = int(np.argmin(seen.values))
    after = seen.values[place:]
    if len(after) < _FEWEST - 1:
        return None
    best, last = float(after[0]), float(np.median(after[-2:]))
    first = float(seen.values[0])
    losses = record.history("loss").since(int(seen.steps[place]))
    trend = slope_of(losses)
    rise = last - best
    noise = float(np.median(np.abs(np.diff(seen.values[max(0, place - 2) :]))))
    if trend is None or trend.rises or rise <= max(0.05 * abs(best), 0.02 * abs(first - best), noise):
        return None
    gap = last - record.median("loss")
    step = int(seen.steps[place])
    evidence = {"best_val_loss": best, "best_step": float(step), "val_loss": last, "gap": gap, "lr": record.lr}
    told = (
        f"The loss on unseen data rose from {number_text(best)} at step {step:,} to {number_text(last)}, while "
        f"the training "
        "loss did not."
    )
    remedy = (
        f"Keep the weights of step {step:,}; train for about as many steps with a full decay, or regularise. A "
        f"lower rate "
        "delays this, as rate times steps is what overfits; it does not cure it."
    )
    return Seen(told, evidence, remedy)


RULE = Rule(
    code="overfitting",
    title="Overfitting",
    severity="warning",
    meaning=(
        "The loss on unseen data has turned and risen while the training loss kept falling. The part of the "
        "rate: how far "
        "the training has come is rate times steps, so a higher rate gets there earlier."
    ),
    signals=("val_loss", "loss"),
    reference="Prechelt, Early stopping, but when?, 1998",
    would_change="A new minimum of the loss on unseen data.",
    look=_look,
)
