"""Which rates of a recorded task are too low, fine and too high, by their final losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FINE", "sides_of"]

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
FINE = 0.10  # regret


def sides_of(val: Array) -> tuple[Whole, int]:
    """Return the side of each rate by final losses, (rate, seed), and the place of the best one."""
    means, rates = _smoothed(val.mean(axis=1)), np.arange(len(val))
    best = int(np.argmin(means))
    return np.where(means <= (1 + FINE) * means[best], 1, np.where(rates < best, 0, 2)), best


def _smoothed(means: Array) -> Array:
    """Return the averages; a rate that diverged has no part in those of its neighbors."""
    logs = np.log(np.maximum(means, 1e-12))
    padded = np.concatenate([[np.inf], logs, [np.inf]])
    near = np.stack([padded[:-2], padded[1:-1], padded[2:]])
    weights = np.where(np.isfinite(near), np.array([[1.0], [2.0], [1.0]]), 0.0)
    total = np.where(np.isfinite(near), near, 0.0) * weights
    averaged = total.sum(axis=0) / np.maximum(weights.sum(axis=0), 1e-12)
    return np.where(np.isfinite(logs), np.exp(averaged), np.inf)
