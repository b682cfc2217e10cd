"""One loss far above its neighbors."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_WIDTHS = 10.0  # standard deviations
_WINDOW = 128
_LEAST = 32
_RATES = 4  # last learning rates within which …
_RAISED = 2.0  # … a raise by this factor explains a spike


def _check(record: Record) -> Seen | None:
    nearest = record.recent("loss", 8).values
    if nearest.size and np.isfinite(nearest[-1]) and not np.isfinite(nearest).all():
        return _one_batch(record)
    if nearest.size and nearest[-1] < nearest.max():
        return None  # most steps need no more than this
    points = record.recent("loss", _WINDOW)
    if len(points) < _LEAST or record.diverged is not None:
        return None
    values = points.values
    before, last = values[:-1][np.isfinite(values[:-1])], float(values[-1])
    if before.size < _LEAST - 1:
        return None
    level = float(np.median(before[-_LEAST:]))
    spread = 1.4826 * float(np.median(np.abs(before[-_LEAST:] - level)))
    high = float(np.max(before))
    if not np.isfinite(last) or last <= max(level + _WIDTHS * spread, high + 0.5 * (high - level)):
        return None
    norms = record.recent("grad_norm", _WINDOW).finite().values
    before_it = float(norms[-2] / np.median(norms)) if norms.size > _LEAST else float("nan")
    evidence = {
        "loss": last,
        "level": level,
        "standard_deviations": (last - level) / spread if spread > 0 else float("inf"),
        "gradient_before": before_it,
        "lr": record.lr,
    }
    return Seen(f"The loss jumped to {number_text(last)} from {number_text(level)}.", evidence, _why(record, before_it))


def _one_batch(record: Record) -> Seen | None:
    """Return what losses that are not finite say if finite ones follow: the weights are as they were."""
    points = record.recent("loss", 8)
    if record.diverged is not None:
        return None
    bad = points.steps[~np.isfinite(points.values)]
    last = float(points.values[-1])
    message = f"The loss of step {bad[0]:,} was not finite, and later ones are: {number_text(last)} at the last step."
    remedy = (
        "The batch is the cause, not the learning rate: look for labels that are all ignored, values that are not "
        "finite, or an overflow. Leave such batches out, as guard does."
    )
    return Seen(message, {"step": float(bad[0]), "loss": last, "lr": record.lr}, remedy)


def _why(record: Record, before_it: float) -> str:
    rates = record.recent(record.rates()[0], _RATES).values if record.rates() else np.empty(0)
    if rates.size > 1 and rates[-1] >= _RAISED * np.min(rates):
        low, high = number_text(float(np.min(rates))), number_text(float(rates[-1]))
        return f"The learning rate had just been raised from {low} to {high}: it is the likely cause. Raise it slowly."
    if before_it > 3:
        return "The gradient norm had grown on the batch before: more likely the learning rate than the data."
    return (
        "No warning sign before it, so this batch may be the cause. Replay it at half the learning rate to find "
        "out, as guard does."
    )


RULE = Rule(
    code="spike",
    title="Spike",
    severity="warning",
    meaning=(
        "One loss is more than ten robust standard deviations above the recent median, or not finite while later ones "
        "are. The cause may be the learning rate or the batch: a spike that recurs on other batches, or follows "
        "growing gradients, points to the learning rate; a loss that is not finite once points to the batch."
    ),
    signals=("loss",),
    reference="Chowdhery et al., PaLM, 2022; OLMo 2, 2024",
    how_to_check="Replay the same batches at half the learning rate: if the spike recurs, the data is the cause.",
    check=_check,
    urgent=True,
)
