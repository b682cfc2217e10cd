"""The run ends before it has learned what it could."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Finding, Rule, Seen
from stepsize.monitor.readings import slope_of
from stepsize.monitor.record import Record

_FROM = 0.95  # of the steps: of recorded runs that fell so steeply at 60%, four of five no longer did at the end
_DECAY = 0.7  # of the learning rate a quarter of the steps ago
_LEFT = 0.15  # of the whole decrease so far, in the last quarter of the steps made


def _check(record: Record) -> Seen | None:
    if not record.progress >= _FROM or record.diverged is not None:
        return None
    if _decays(record):
        return None
    slope = slope_of(record.history("loss").finite().since(int(0.75 * record.step)))
    if slope is None or not slope.falls:
        return None
    whole = record.start - record.median("loss", 16)
    late = -slope.slope * slope.span
    gap = record.last("val_loss") - record.median("loss")
    if whole <= 0 or late < _LEFT * whole or (gap == gap and gap > late):
        return None
    message = (
        f"The training loss still falls steeply near the end: {late / whole:.0%} of the total decrease "
        f"({number_text(late)}) came in the last quarter of the steps."
    )
    evidence = {"decrease": whole, "late_decrease": late, "gap": gap}
    return Seen(message, evidence, "Train longer, or raise the learning rate if it was found too low.")


def _decays(record: Record) -> bool:
    """Return whether the learning rate fell over the last quarter of the steps: every decay lowers the loss."""
    if not record.rates():
        return False
    rates = record.history(record.rates()[0]).finite().since(int(0.75 * record.step)).values
    return rates.size > 1 and float(rates[-1]) < _DECAY * float(rates[0])


def _refuted(record: Record, _found: Finding) -> bool:
    """Return whether the loss no longer falls steeply."""
    return record.diverged is None and _check(record) is None


RULE = Rule(
    code="underfitting",
    title="Underfitting",
    severity="warning",
    meaning=(
        "Late in the run the training loss falls as if it had just begun, and the validation loss does about as well. "
        "The run needs more steps, or larger ones."
    ),
    signals=("loss", "steps"),
    reference="Godbole et al., Deep learning tuning playbook, 2023",
    how_to_check="Ruled out if only a decay of the learning rate does this: that is what decays are for.",
    check=_check,
    twice=True,
    holds=True,
    refuted=_refuted,
)
