"""Ramps: the rate raised step by step from the same state, until it diverges."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LOST_NOISE = 8.0  # standard deviations above the best level at which a ramp that learned nothing has diverged


@dataclass(frozen=True, eq=False)
class RateRamp:
    """One ramp: rates and raw losses, shape ``(n,)``, and whether it ended in divergence."""

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    diverged: bool


def run_ramp(
    update: Callable[[float], float],
    lrs: NDArray[np.float64],
    on_progress: Callable[[float, float], None] | None = None,
) -> RateRamp:
    """Make one update at each of ``lrs`` in turn, and stop when all progress is undone.

    A ramp has diverged if a loss is not finite, or the running median of five losses has risen from its
    best by as much as it had fallen since the start (or by 8 standard deviations of the noise, if it had fallen less).
    """
    losses: list[float] = []
    recent: deque[float] = deque(maxlen=5)
    start, best = math.nan, math.inf
    for lr in lrs:
        loss = update(float(lr))
        losses.append(loss)
        if on_progress is not None:
            on_progress(float(lr), loss)
        if not math.isfinite(loss):
            return RateRamp(lrs[: len(losses)], np.asarray(losses), True)
        recent.append(loss)
        if len(losses) < 10:
            continue
        level = sorted(recent)[2]
        if math.isnan(start):
            start = float(np.median(losses))
        best = min(best, level)
        noise = 1.05 * float(np.median(np.abs(np.diff(losses))))
        if level - best > max(start - best, _LOST_NOISE * noise):
            return RateRamp(lrs[: len(losses)], np.asarray(losses), True)
    return RateRamp(lrs[: len(losses)], np.asarray(losses), False)
