"""Clipping hides a learning rate that is too high."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, advice
from stepsize.monitor.readings import alpha, window
from stepsize.monitor.record import Record

_MOST = 0.5


def _check(record: Record) -> Seen | None:
    ratios = record.recent("clipped", window(record)).finite().values
    if ratios.size < 20:
        return None
    fraction = float(np.mean(ratios < 0.999))
    if fraction <= _MOST:
        return None
    typical = float(np.median(ratios[ratios < 0.999]))
    place = alpha(record)
    evidence = {"fraction": fraction, "clipped_to": typical, "alpha": place.mean, "lr": record.lr}
    message = (
        f"In {fraction:.0%} of the last {ratios.size} steps the gradient was clipped, typically to "
        f"{number_text(typical)} of its norm."
    )
    if place.above(0.0):
        return Seen(message, evidence, f"The steps still overshoot. {advice(0.5)} instead of clipping.", 0.5)
    remedy = (
        "The clipping threshold, not the learning rate, sets the step size: raise the threshold to the 90th "
        "percentile of the gradient norm and search for the learning rate again."
    )
    return Seen(message, evidence, remedy)


RULE = Rule(
    code="clipping",
    title="Clipping hides the learning rate",
    severity="warning",
    meaning=(
        "Most gradients are clipped, so the step size is the clipping threshold times the learning rate. A learning "
        "rate that is too high does not show in the loss."
    ),
    signals=("clipped",),
    reference="Godbole et al., Deep learning tuning playbook, 2023",
    how_to_check="Ruled out if fewer than half of the gradients are clipped.",
    check=_check,
)
