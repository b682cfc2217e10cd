"""The critical learning rate: how far the present update direction can be followed before the loss rises."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stepsize.curves.numerals import number_text

_STRIDE = 4.0  # factor between rates while the edge is not bracketed yet
_PRECISION = 1.3  # ratio of the bracket's ends at which the search ends: a bracket is all that is needed


@dataclass(frozen=True)
class Critical:
    """What the probe saw."""

    lr: float | None  # the smallest rate at which the same batch's loss rises; None where none was seen in the range
    base_loss: float  # of the batch, before the update
    trials: tuple[tuple[float, float], ...]  # rates tried and the losses after the update, in the order of trial
    reason: str


def search_critical(
    loss_at: Callable[[float], float], *, base_loss: float, start: float, low: float, high: float
) -> Critical:
    """Return the smallest rate at which one update raises the loss of its own batch.

    eta_c = min {eta : L(w + eta u) > L(w)}, u the update direction for unit rate: found by moving in strides of
    4 from ``start`` until a falling and a rising rate bracket it, then bisecting in log rate (Kalra et al., "A scalable
    measure of loss landscape curvature for analyzing the training dynamics of LLMs", arXiv 2601.16979, 2026).
    """
    if not math.isfinite(base_loss):
        return Critical(None, base_loss, (), f"The loss of the batch is {base_loss} before any update.")
    trials: list[tuple[float, float]] = []

    def rises(lr: float) -> bool:
        loss = loss_at(lr)
        trials.append((lr, loss))
        return not loss <= base_loss  # NaN rises

    lr, falling, rising = min(max(start, low), high), 0.0, math.inf
    while True:
        if rises(lr):
            rising = lr
        else:
            falling = lr
        if falling == 0.0 or rising == math.inf:  # not bracketed yet
            up = rising == math.inf
            edge = high if up else low
            if lr == edge:
                way = "does not rise at any rate up to" if up else "rises at every rate down to"
                return Critical(None, base_loss, tuple(trials), f"The loss of the batch {way} {number_text(edge)}.")
            lr = min(lr * _STRIDE, high) if up else max(lr / _STRIDE, low)
        elif rising / falling > _PRECISION:
            lr = math.sqrt(rising * falling)
        else:
            break
    reason = f"The loss of the batch falls at {number_text(falling)} and rises at {number_text(rising)}."
    return Critical(math.sqrt(falling * rising), base_loss, tuple(trials), reason)
