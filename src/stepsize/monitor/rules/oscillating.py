"""Steps bounce between the walls of a valley."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, times_text
from stepsize.monitor.readings import mean_of, window
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_AGAINST = -0.2


def _look(record: Record) -> Seen | None:
    cosine = mean_of(record.recent("cosine", window(record)))
    if cosine.count < 16 or not cosine.below(_AGAINST):
        return None
    evidence = {"cosine": cosine.mean, "error": cosine.error, "steps": float(cosine.count), "lr": record.lr}
    told = (
        f"Successive gradients point against each other: mean cosine {number_text(cosine.mean)} over "
        f"{cosine.count} steps."
    )
    return Seen(told, evidence, f"{times_text(0.5)}, or let it decay.", 0.5)


RULE = Rule(
    code="oscillating",
    title="Oscillating",
    severity="warning",
    meaning=(
        "Each step undoes part of the last: gradients of neighbouring steps point against each other far beyond what "
        "the noise of the batches explains (independent noise gives 0, never less)."
    ),
    signals=("cosine",),
    reference="Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
    would_change="A mean cosine within two of its errors of zero.",
    look=_look,
)
