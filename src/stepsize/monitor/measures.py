"""From the numbers of an update to signals."""

from __future__ import annotations

import math

import numpy as np

from stepsize.monitor.layout import Layout
from stepsize.monitor.meter import Measured
from stepsize.monitor.record import Record

__all__ = ["write_down"]

_LAYERS = 8  # steps between two looks at the layers one by one


def write_down(record: Record, measured: Measured, layout: Layout, offset: int) -> None:
    """Add the signals of one update to a record, beside its loss.

    Args:
        record: What they are added to.
        measured: The numbers; what tells of the last update, they tell at the step after it.
        layout: The layer groups that the products belong to.
        offset: How many groups the optimizers before this one have.
    """
    step = measured.step
    for number, rate in enumerate(measured.rates):
        record.add(f"lr/{offset + number}", step, rate)
    if measured.products is None:
        return
    with np.errstate(all="ignore"):
        gradient, across, now, then, moved, weights = measured.products.sum(axis=0).tolist()
    main = offset == 0  # several optimizers each have directions of their own; the first one's are judged
    if main:
        record.add("grad_norm", step, _root(gradient))
        record.add("clipped", step, measured.clipped)
        if not math.isnan(measured.noise):
            record.add("noise", step, measured.noise)
    if measured.first:
        return
    if main:
        record.add("cosine", step, _ratio(across, math.sqrt(max(0.0, gradient * measured.gradient_before))))
        record.add("slope_now", step, now)
        record.add("slope_then", step, then)
        record.add("update_ratio", step, math.sqrt(_ratio(moved, weights)) if weights > 0 else math.nan)
    if step % _LAYERS > 1:
        return
    with np.errstate(all="ignore"):
        ratios = np.sqrt(measured.products[:, 4] / measured.products[:, 5])
    for label, ratio in zip(layout.labels, ratios.tolist(), strict=True):
        record.add(f"update_ratio/{label}", step, ratio)


def _root(square: float) -> float:
    return math.sqrt(square) if square >= 0 else math.nan


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else math.nan
