"""One loss far above its neighbours."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_WIDTHS = 10.0
_WINDOW = 128
_LEAST = 32


def _look(record: Record) -> Seen | None:
    nearest = record.recent("loss", 8).values
    if nearest.size and nearest[-1] < nearest.max():
        return None  # most steps need no more than this look
    points = record.recent("loss", _WINDOW)
    if len(points) < _LEAST or record.lost is not None:
        return None
    values = points.values
    before, last = values[:-1][np.isfinite(values[:-1])], float(values[-1])
    if before.size < _LEAST - 1:
        return None
    level = float(np.median(before[-_LEAST:]))
    spread = 1.4826 * float(np.median(np.abs(before[-_LEAST:] - level)))
    high = float(np.max(before))
    if np.isfinite(last) and last <= max(level + _WIDTHS * spread, high + 0.5 * (high - level)):
        return None
    norms = record.recent("grad_norm", _WINDOW).finite().values
    before_it = float(norms[-2] / np.median(norms)) if norms.size > _LEAST else float("nan")
    evidence = {
        "loss": last,
        "level": level,
        "widths": (last - level) / spread if spread > 0 else float("inf"),
        "gradient_before": before_it,
        "lr": record.lr,
    }
    early = before_it > 3
    told = f"The loss jumped to {number_text(last)} from {number_text(level)}."
    why = (
        "The gradient had grown on the batch before: more likely the rate than the data."
        if early
        else "Nothing announced it: it may be this batch. Replay it at half the rate to know, as guard does."
    )
    return Seen(told, evidence, why)


RULE = Rule(
    code="spike",
    title="Spike",
    severity="warning",
    meaning=(
        "One loss lies ten widths of the noise above the last ones. It may be the rate or the batch: a spike "
        "that comes "
        "again on other batches, or that gradients announce, speaks for the rate."
    ),
    signals=("loss",),
    reference="Chowdhery et al., PaLM, 2022; OLMo 2, 2024",
    would_change="Replaying the same batches at half the rate: if it comes again, it is the data.",
    look=_look,
)
