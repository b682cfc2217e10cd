"""Sharpness hovers where the rate lets it: normal."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.readings import alpha, slope_of, window
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_BAND = (0.6, 3.0)


def _look(record: Record) -> Seen | None:
    headroom = record.median("headroom", 5)
    if not _BAND[0] <= headroom <= _BAND[1] or len(record.recent("headroom")) < 3:
        return None
    slope = slope_of(record.recent("loss", 2 * window(record)))
    if slope is None or slope.rises or record.lost is not None:
        return None
    place = alpha(record)
    evidence = {"headroom": headroom, "alpha": place.mean, "lr": record.lr}
    told = f"The rate works at the edge: the loss of a batch would rise at {number_text(headroom)}× the step made."
    return Seen(told, evidence)


RULE = Rule(
    code="edge-of-stability",
    title="At the edge of stability",
    severity="info",
    meaning=(
        "The critical rate along the update is about the rate in use, and the loss still falls over time. Curvature "
        "grows until the rate just lets it: this is how good trainings look, and no reason for alarm."
    ),
    signals=("headroom", "loss"),
    reference="Cohen et al., 2021; Kalra et al., A scalable measure of loss landscape curvature, 2026",
    would_change="The loss rising over a window: then the edge is behind.",
    look=_look,
)
