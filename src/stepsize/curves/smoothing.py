"""Smoothing without lag: robust local lines over log learning rate, and the noise about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BISQUARE = 6.0  # medians of residuals beyond which a point is ignored (Cleveland 1979)
_ROUNDS = 3
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Smooth:
    """A smoothed curve at m places."""

    x: Array
    y: Array
    error: Array  # standard error of y
    noise: Array  # standard deviation of a single point about the curve there: losses are noisier where they are high
    outliers: int  # points that were ignored as spikes
    weights: Array  # y = weights @ points, shape (m, n)


def smooth(x: Array, y: Array, *, at: Array, half_width: float) -> Smooth:
    """Return the robust local-linear smooth of the points (``x``, ``y``).

    At each x0 of ``at`` a line is fitted by least squares with weights K((x - x0) / h) * r, where K is the
    tricube kernel, h = ``half_width`` (more where fewer than five points lie within) and r are the bisquare weights of
    the residuals of the round before, relative to the residuals of the neighbours. A line through points on both sides
    has no lag, unlike a running average (Cleveland, "Robust locally weighted regression and smoothing scatterplots",
    1979).
    """
    robust = np.ones_like(y)
    at_points = _kernel(x, x, half_width)
    # The floor keeps curves that are exact but for a few spikes from weighing rounding errors.
    spread, size = float(np.median(np.abs(y - np.median(y)))), float(np.max(np.abs(y)))
    floor = max(1e-6 * spread, 16 * np.finfo(np.float64).eps * size, 1e-300)
    residuals = y
    for _ in range(_ROUNDS):
        residuals = y - _lines(x, x, at_points * robust) @ y
        scale = np.maximum(_local_median(np.abs(residuals)), floor)
        robust = np.clip(1 - (residuals / (_BISQUARE * scale)) ** 2, 0, None) ** 2
    weights = _lines(x, at, _kernel(x, at, half_width) * robust)
    # A line through k effective points takes two degrees of freedom from its residuals.
    effective = float(np.median(np.sum(at_points, axis=1) ** 2 / np.sum(at_points**2, axis=1)))
    noise = 1.4826 * _local_median(np.abs(residuals)) / np.sqrt(max(0.2, 1 - 2 / effective))
    error = np.sqrt(weights**2 @ noise**2)
    return Smooth(at, weights @ y, error, np.interp(at, x, noise), int(np.sum(robust == 0)), weights)


def _local_median(values: Array) -> Array:
    """Return the median of each value and its neighbours: a tenth of all, at least eleven."""
    reach = max(11, len(values) // 10) // 2
    padded = np.pad(values, reach, mode="reflect" if len(values) > reach else "edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1), axis=1))


def _kernel(x: Array, at: Array, half_width: float) -> Array:
    distance = np.abs(x[None, :] - at[:, None])
    fifth = np.sort(distance, axis=1)[:, min(4, len(x) - 1)]
    width = np.maximum(half_width, 1.001 * fifth)[:, None] + 1e-12
    return np.clip(1 - (distance / width) ** 3, 0, None) ** 3


def _lines(x: Array, at: Array, kernel: Array) -> Array:
    """Return the matrix that maps values at ``x`` to the local lines' values at ``at``."""
    kernel = kernel + 1e-12 * kernel.max()
    offset = x[None, :] - at[:, None]
    s0, s1, s2 = (np.sum(kernel * offset**power, axis=1)[:, None] for power in (0, 1, 2))
    determinant = s0 * s2 - s1**2
    level = determinant <= 1e-12 * s0 * s2  # all points at one x: a level instead of a line
    lines = kernel * (s2 - s1 * offset) / np.where(level, 1.0, determinant)
    return np.asarray(np.where(level, kernel / s0, lines))
