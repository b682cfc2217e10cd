"""Steps bounce between the walls of a valley."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, advice
from stepsize.monitor.readings import mean_of, window
from stepsize.monitor.record import Record

_AGAINST = -0.2


def _check(record: Record) -> Seen | None:
    cosine = mean_of(record.recent("cosine", window(record)))
    if cosine.count < 16 or not cosine.below(_AGAINST):
        return None
    evidence = {"cosine": cosine.mean, "error": cosine.error, "steps": float(cosine.count), "lr": record.lr}
    message = (
        f"Oscillating: successive gradients point in opposite directions (mean cosine {number_text(cosine.mean)} "
        f"over {cosine.count} steps)."
    )
    return Seen(message, evidence, f"{advice(0.5)}, or let it decay.", 0.5)


RULE = Rule(
    code="oscillating",
    title="Oscillating",
    severity="warning",
    meaning=(
        "Each step undoes part of the last one: successive gradients point in opposite directions, far beyond what the "
        "noise of the batches explains (independent noise gives a cosine of 0, never less)."
    ),
    signals=("cosine",),
    reference="Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
    how_to_check="Ruled out if the mean cosine is within two standard errors of zero.",
    check=_check,
    twice=True,
    holds=True,
)
