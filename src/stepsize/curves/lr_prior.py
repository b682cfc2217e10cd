"""What is known of loss-against-rate curves before any run: recorded curves, and how new ones differ from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_FILE = "lr_prior.npz"


@dataclass(frozen=True, eq=False)
class Prior:
    """Recorded curves of other training runs, and the numbers that say how new curves differ from them.

    The curves, their movement and the noise are learned by ``python -m benchmarks lr-prior`` on the record in
    ``benchmarks/lr_record``; the other numbers were chosen by regret on the design set and on the record itself, with
    the data set of each task left out (``docs/benchmarks.md``).
    """

    x: Array  # log10(lr / usual rate) of the tabulated heights, evenly spaced
    k: Array  # log2 of the lengths of training, as fractions of the full one, ascending
    heights: Array  # log(loss / untrained loss) over its size at the best rate, at most 0, (curves, lengths, rates)
    families: NDArray[np.str_]  # optimizer family of each curve
    steps: Array  # log10 of the number of steps of each training
    parameters: Array  # log10 of the number of parameters of each model
    per_steps: float = -0.27  # decades that the best rate moves for ten times the steps
    per_parameters: float = -0.18  # … for ten times the parameters
    other_families: float = 0.2  # weight of a curve of another family
    # A new curve is shifted against a recorded one, by a standard deviation in decades; a fraction lies anywhere.
    shift: float = 0.38
    wide_shift: float = 1.2
    wide_fraction: float = 0.2
    scale: float = 0.3  # standard deviation of the factor on a recorded curve, whose mean is 1
    free_fraction: float = 0.1  # of curves that follow no recorded one
    # (size, length in decades) of the deviation from a recorded curve, in units of the depth, and the probability of
    # each; the last is that of a curve that follows none.
    deviations: tuple[tuple[float, float], ...] = ((0.05, 0.74), (0.15, 0.74), (0.4, 0.74))
    deviation_weights: tuple[float, ...] = (0.75, 0.25)
    length_memory: float = 2.9  # doublings of the length over which a deviation is remembered
    level: float = 1.5  # standard deviation of the level of a length of training, in units of the depth
    # Standard deviation of a single run over seeds: in units of the depth, at least in log loss, and equally likely
    # factors on both.
    noise: float = 0.04
    noise_floor: float = 0.004
    noise_factors: tuple[float, ...] = (0.2, 0.5, 1.1, 2.5, 5.5)
    # Equally likely fractions of that variance that all rates of a seed share, and that neighboring ones share within
    # so many decades; the rest is each run's own.
    seed_splits: tuple[tuple[float, float], ...] = ((0.1, 0.6), (0.7, 0.27))
    seed_length: float = 0.45
    # Standard deviation of a run, as a fraction of its height above the best of its length, or of its seed if that has
    # at least three runs.
    doubt_above: float = 0.3
    believed_points: float = 20.0  # runs from which the evidence for one curve over another is not multiplied any more

    def weights(self, family: str) -> Array:
        """Return the probability of each recorded curve for an optimizer of ``family``; "" treats all alike."""
        alike = self.families == family
        weight = np.where(alike | (not alike.any()), 1.0, self.other_families)
        return np.asarray(weight / weight.sum())

    def moved(self, curves: NDArray[np.int64], size: tuple[float, float] | None) -> Array:
        """Return by how many decades the best rate of a training of ``size`` should lie above those of ``curves``.

        The size is (steps, parameters); None for no difference.
        """
        if size is None:
            return np.zeros(len(curves))
        steps, parameters = (np.log10(max(1.0, number)) for number in size)
        longer, larger = steps - self.steps[curves], parameters - self.parameters[curves]
        return np.asarray(self.per_steps * longer + self.per_parameters * larger)

    def heights_at(self, curves: NDArray[np.int64], place: Array, k: Array) -> Array:
        """Return the heights of recorded curves, linear between tabulated rates and lengths.

        Args:
            curves: Which curves, shape ``(n,)``.
            place: log10(lr / usual rate) for each curve and point, shape ``(n, points)``.
            k: log2 of the length of each point, shape ``(points,)``.
        """
        column = np.clip((place - self.x[0]) / (self.x[1] - self.x[0]), 0, len(self.x) - 1.001)
        left = column.astype(np.int64)
        lengths, which = np.unique(k, return_inverse=True)  # few
        table = _flat_heights(self, tuple(lengths.tolist()))
        at = (which[None, :] * len(self.heights) + curves[:, None]) * len(self.x) + left
        lower = table.take(at)
        return np.asarray(lower + (column - left) * (table.take(at + 1) - lower))


@lru_cache(maxsize=16)
def _flat_heights(prior: Prior, lengths: tuple[float, ...]) -> Array:
    """Return the recorded heights at some log2 of the length, flat: by length, then curve, then rate."""
    rows = np.interp(lengths, prior.k, np.arange(len(prior.k)))
    below = rows.astype(np.int64)
    above = np.minimum(below + 1, len(prior.k) - 1)
    part = (rows - below)[:, None]
    heights = (1 - part) * prior.heights[:, below] + part * prior.heights[:, above]
    return np.ascontiguousarray(heights.swapaxes(0, 1)).ravel()


@cache
def shipped_prior() -> Prior:
    """Return the prior that the package ships."""
    with resources.files("stepsize.curves").joinpath(_FILE).open("rb") as file, np.load(file) as kept:
        return prior_of({name: kept[name] for name in kept.files})


def prior_of(kept: dict[str, Any]) -> Prior:
    """Return the prior from the arrays of its file: each curve has its own evenly spaced rates there."""
    given = {name: value.astype(float) if value.dtype.kind == "f" else value for name, value in kept.items()}
    given |= {name: value.item() for name, value in kept.items() if value.ndim == 0}
    if "noise_factors" in given:
        given["noise_factors"] = tuple(given["noise_factors"].tolist())
    first, spacing = given.pop("first"), given.pop("spacing")
    given["heights"] = tabulated(given["heights"], first, spacing, given["x"])
    return Prior(**given)


def tabulated(heights: Array, first: Array, spacing: float, x: Array) -> Array:
    """Return heights of shape ``(curves, lengths, rates)`` at ``x``, linear between rates and level beyond them.

    Args:
        heights: At each curve's own rates, shape ``(curves, lengths, own rates)``.
        first: The lowest rate of each curve, log10(lr / usual rate).
        spacing: Decades between its rates.
        x: Where the heights are wanted, log10(lr / usual rate).
    """
    column = np.clip((x - first[:, None]) / spacing, 0, heights.shape[2] - 1 - 1e-9)[:, None, :]
    left = column.astype(np.int64)
    lower, upper = (np.take_along_axis(heights, at, axis=2) for at in (left, left + 1))
    return np.asarray(lower + (column - left) * (upper - lower))
