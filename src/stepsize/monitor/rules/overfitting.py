"""The validation loss rises while the run continues."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Finding, Rule, Seen
from stepsize.monitor.readings import slope_of
from stepsize.monitor.record import Record

_FEWEST = 5
_AFTER = 3  # values after the lowest one
_LASTING = 2.0  # standard deviations of a value that the rise must exceed: less is often followed by a new minimum
# By 64 recorded trainings: after a rise before half of the steps, or right after the minimum, one in three found a new
# minimum later; after one that meets all three, one in twenty.
_FROM = 0.5  # of the steps, if their number is known
_BEHIND = 0.4  # of the values, after the minimum …
_UNKNOWN_BEHIND = 0.6  # … if the number of steps is unknown
_STAYED = 1.0  # standard deviations by which all values of the later half of these stay above the minimum


def _check(record: Record) -> Seen | None:
    seen = record.history("val_loss").finite()
    if len(seen) < _FEWEST:
        return None
    place = int(np.argmin(seen.values))
    after = seen.values[place + 1 :]
    behind = _BEHIND if record.facts.steps else _UNKNOWN_BEHIND
    if len(after) < max(_AFTER, behind * len(seen)) or record.progress < _FROM:
        return None
    first, best, last = float(seen.values[0]), float(seen.values[place]), float(np.median(after[-2:]))
    trend = slope_of(record.history("loss").since(int(seen.steps[place])))
    noise = _noise(seen.values)
    least = max(0.05 * abs(best), 0.02 * abs(first - best), _LASTING * noise)
    if trend is None or trend.rises or last - best <= least:
        return None
    if float(after[len(after) // 2 :].min()) - best <= _STAYED * noise:
        return None
    gap = last - record.median("loss")
    step = int(seen.steps[place])
    evidence = {"best_val_loss": best, "best_step": float(step), "val_loss": last, "gap": gap, "lr": record.lr}
    message = (
        f"The validation loss rose from {number_text(best)} at step {step:,} to {number_text(last)}, while the "
        "training loss did not rise."
    )
    remedy = (
        f"Use the weights from step {step:,}. Train for about that many steps with a full decay, or regularize. A "
        "lower learning rate only delays overfitting, which depends on learning rate × steps."
    )
    return Seen(message, evidence, remedy)


def _noise(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of one value around a line through its neighbors, without the early decrease."""
    bends = np.diff(values[len(values) // 3 :], n=2)
    return float(np.sqrt(np.mean(bends**2) / 6))  # the variance of a − 2b + c is six times that of each


def _refuted(record: Record, found: Finding) -> bool:
    """Return whether the validation loss reached a new minimum."""
    seen = record.history("val_loss").finite().values
    return bool(seen.size) and float(seen.min()) < float(found.evidence["best_val_loss"])


RULE = Rule(
    code="overfitting",
    title="Overfitting",
    severity="warning",
    meaning=(
        "The validation loss has turned and risen while the training loss kept falling. How far a run gets depends on "
        "learning rate × steps, so a higher learning rate reaches this point earlier."
    ),
    signals=("val_loss", "loss"),
    reference="Prechelt, Early stopping, but when?, 1998",
    how_to_check="Ruled out if the validation loss reaches a new minimum.",
    check=_check,
    holds=True,
    refuted=_refuted,
)
