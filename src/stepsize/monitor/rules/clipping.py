"""Clipping hides a high rate."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, times_text
from stepsize.monitor.readings import alpha, window
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_MOST = 0.5


def _look(record: Record) -> Seen | None:
    ratios = record.recent("clipped", window(record)).finite().values
    if ratios.size < 20:
        return None
    share = float(np.mean(ratios < 0.999))
    if share <= _MOST:
        return None
    typical = float(np.median(ratios[ratios < 0.999]))
    place = alpha(record)
    evidence = {"share": share, "shortened_to": typical, "alpha": place.mean, "lr": record.lr}
    told = (
        f"{share:.0%} of the last {ratios.size} updates were clipped, to {number_text(typical)} of their "
        f"length as a rule."
    )
    if place.above(0.0):
        return Seen(told, evidence, f"The steps still overshoot. {times_text(0.5)}, rather than clip.", 0.5)
    return Seen(
        told,
        evidence,
        "The clip sets the length of the steps, not the rate: raise the limit to the 90th percentile of the gradient's "
        "length and find the rate anew.",
    )


RULE = Rule(
    code="clipping",
    title="Clipping hides the rate",
    severity="warning",
    meaning=(
        "Most updates are shortened before they are made, so the length of the step is the clip's limit times "
        "the rate; "
        "a rate that is too high does not show in the loss."
    ),
    signals=("clipped",),
    reference="Godbole et al., Deep learning tuning playbook, 2023",
    would_change="Less than half of the updates being clipped.",
    look=_look,
)
