"""The gradient noise scale: the batch size above which more examples per update bring little."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 1_000
_LEVELS = (0.05, 0.95)
_FEWEST = 4  # pieces from which a spread can be told
Array = NDArray[np.float64]


@dataclass(frozen=True)
class NoiseScale:
    """How noisy the gradient of one example is, against the gradient of the whole training set.

    Attributes:
        examples: B_simple = tr(Sigma) / |G|^2, in examples; infinite if no common gradient is visible in the noise.
        interval: Where it falls in 90% of resamplings of the pieces; the upper end may be infinite.
        trace: tr(Sigma), the summed variance of the gradient of one example.
        norm2: |G|^2, the squared norm of the mean gradient, corrected for noise; the estimate may be below 0.
        pieces: Number of disjoint pieces of data that were compared.
        piece_size: Their mean size, in examples.
    """

    examples: float
    interval: tuple[float, float]
    trace: float
    norm2: float
    pieces: int
    piece_size: float


def noise_scale(gram: Array, sizes: Array, *, population: int | None = None, seed: int = 0) -> NoiseScale | None:
    """Return the gradient noise scale from <g_i, g_j> of pieces of b_i examples; None of fewer than 4 pieces.

    With pieces drawn without replacement from a ``population`` of N (None: infinitely many) the mean of |g_i|^2 is
    |G|^2 + tr(Sigma) (mean(1 / b_i) - 1 / N), and that of <g_i, g_j> is |G|^2 - tr(Sigma) / N. So both are estimated
    without bias by ``tr(Sigma) = (mean |g_i|^2 - mean <g_i, g_j>) / mean(1 / b_i)`` and ``|G|^2 = mean <g_i, g_j> +
    tr(Sigma) / N``: the estimator of two batch sizes of McCandlish et al. (arXiv 1812.06162, 2018, appendix A), with
    all pairs of pieces for the large one.
    """
    count = len(sizes)
    if count < _FEWEST or not np.trace(gram) > 0:
        return None
    one = np.ones((1, count))
    trace, norm2 = (float(each[0]) for each in _estimates(gram, sizes, one, population))
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    traces, norms = _estimates(gram, sizes, drawn.astype(np.float64), population)
    low, high = (float(level) for level in np.quantile(_ratio(traces, norms), _LEVELS, method="higher"))
    value = float(_ratio(np.asarray([trace]), np.asarray([norm2]))[0])
    return NoiseScale(value, (min(low, value), max(high, value)), trace, norm2, count, float(np.mean(sizes)))


def growth(noise: float, batch: float, to: float, *, exponent: float) -> float:
    """Return the factor of the best rate when the batch size goes from ``batch`` to ``to``.

    eta(B) = eta_max / (1 + B_noise / B)^a: a = 1 for SGD (McCandlish et al., arXiv 1812.06162, 2018), roughly 1/2 for
    Adam-type optimizers (Malladi et al., arXiv 2205.10287, 2022).
    """
    ratio = to / batch if math.isinf(noise) else (1 + noise / batch) / (1 + noise / to)
    return float(ratio**exponent)


def _estimates(gram: Array, sizes: Array, weights: Array, population: int | None) -> tuple[Array, Array]:
    """Return tr(Sigma) and |G|^2 for each row of ``weights``, shape ``(r, n)``; no piece is paired with itself."""
    diagonal = np.diag(gram)
    total = weights.sum(1)
    squares = weights @ diagonal / total
    inverse = weights @ (1 / sizes) / total
    pairs = total**2 - (weights**2).sum(1)
    products = ((weights @ gram) * weights).sum(1) - weights**2 @ diagonal
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_product = np.where(pairs > 0, products / pairs, np.nan)
    trace = (squares - mean_product) / inverse
    return trace, mean_product + (trace / population if population else 0.0)


def _ratio(traces: Array, norms: Array) -> Array:
    """tr(Sigma) / |G|^2, infinite where no gradient stands out of the noise, and 0 where there is no noise."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(norms > 0, np.maximum(traces, 0.0) / norms, np.inf)
    return np.where(np.isnan(ratio), np.inf, ratio)
