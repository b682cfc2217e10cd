"""The training ends before it has learned what it could."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.readings import slope_of
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_FROM = 0.6
_LEFT = 0.15  # of all that was gained so far, still being gained in the last quarter of the steps made


def _look(record: Record) -> Seen | None:
    if not record.progress >= _FROM or record.lost is not None:
        return None
    blocks = record.history("loss").finite()
    late = blocks.since(int(0.75 * record.step))
    slope = slope_of(late)
    if slope is None or not slope.falls:
        return None
    gained = record.start - record.median("loss", 16)
    gain = -slope.slope * slope.span
    gap = record.last("val_loss") - record.median("loss")
    if gained <= 0 or gain < _LEFT * gained or (gap == gap and gap > gain):
        return None
    evidence = {"gained": gained, "gained_lately": gain, "gap": gap}
    told = (
        f"The training loss still falls steeply near the end: {gain / gained:.0%} of the whole gain, "
        f"{number_text(gain)}, came in the last quarter of the steps."
    )
    return Seen(told, evidence, "Train longer, or raise the rate if it was found too low.")


RULE = Rule(
    code="underfitting",
    title="Underfitting",
    severity="warning",
    meaning=(
        "Late in the training, the training loss falls as if it had just begun, and unseen data do about as well: the "
        "steps are too few, or too short."
    ),
    signals=("loss", "steps"),
    reference="Godbole et al., Deep learning tuning playbook, 2023",
    would_change="The last decay of the schedule doing this alone: some gain at the very end is what decays are for.",
    look=_look,
)
