"""The sharpness is as high as the learning rate allows: normal."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.readings import alpha, slope_of, window
from stepsize.monitor.record import Record

_BAND = (0.6, 3.0)


def _check(record: Record) -> Seen | None:
    headroom = record.median("headroom", 5)
    if not _BAND[0] <= headroom <= _BAND[1] or len(record.recent("headroom")) < 3:
        return None
    slope = slope_of(record.recent("loss", 2 * window(record)))
    if slope is None or slope.rises or record.diverged is not None:
        return None
    message = f"At the edge of stability: a step {number_text(headroom)}× as large would raise the loss of its batch."
    return Seen(message, {"headroom": headroom, "alpha": alpha(record).mean, "lr": record.lr})


RULE = Rule(
    code="edge-of-stability",
    title="At the edge of stability",
    severity="info",
    meaning=(
        "The critical learning rate along the update is about the one in use, and the loss still falls over time. "
        "Curvature grows until the learning rate only just allows it: good runs look like this; no action is needed."
    ),
    signals=("headroom", "loss"),
    reference="Cohen et al., 2021; Kalra et al., A scalable measure of loss landscape curvature, 2026",
    how_to_check="Ruled out if the loss rises over a window: then the run is beyond the edge.",
    check=_check,
)
