"""Which of two configurations is better, from runs that share their seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError

Array = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one run beyond what its seed does to every configuration, and its degrees of freedom."""

    sd: float
    freedom: int


def two_way(settings: Whole, seeds: Whole, values: Array) -> tuple[Array, Noise]:
    """Fit value = level of its configuration + effect of its seed by least squares; the effects have mean 0.

    Returns:
        The level of each configuration, as if each had been trained with every seed (plain means if the seeds do not
        connect all of them), and the noise around level and effect.
    """
    settings, seeds = (np.unique(column, return_inverse=True)[1] for column in (settings, seeds))
    runs = np.zeros((int(settings.max()) + 1, int(seeds.max()) + 1))
    np.add.at(runs, (settings, seeds), 1.0)
    count = runs.sum(axis=1)
    means = np.bincount(settings, values) / count
    # Without the configurations, the system has one unknown per seed.
    system = np.diag(runs.sum(axis=0)) - runs.T @ (runs / count[:, None])
    effects = np.linalg.pinv(system, hermitian=True) @ (np.bincount(seeds, values) - runs.T @ means)
    effects -= effects.mean()
    rank = int(np.linalg.matrix_rank(system, tol=1e-9 * max(1.0, float(np.abs(system).max())), hermitian=True))
    levels = means - runs @ effects / count
    residuals = values - levels[settings] - effects[seeds]
    freedom = len(values) - len(means) - rank
    sd = math.sqrt(float(residuals @ residuals) / freedom) if freedom > 0 else 0.0
    return levels if rank == len(effects) - 1 else means, Noise(sd, freedom)


def pooled_noise(settings: Sequence[Mapping[int, float]]) -> Noise:
    """Return the noise of configurations that were trained on some of the same seeds, without diverged runs."""
    rows = [
        (number, seed, value)
        for number, setting in enumerate(settings)
        for seed, value in setting.items()
        if math.isfinite(value)
    ]
    if not rows:
        return Noise(0.0, 0)
    numbers, seeds, values = zip(*rows, strict=True)
    return two_way(np.asarray(numbers), np.asarray(seeds), np.asarray(values, dtype=np.float64))[1]


@dataclass(frozen=True)
class PairedComparison:
    """Configuration a against configuration b on the seeds that both were trained with; lower is better.

    Attributes:
        seeds: Number of shared seeds.
        diverged: Number of these on which a, and b, diverged.
        difference: Mean of a - b over seeds on which neither diverged; negative if a is better, NaN without one.
        standard_error: Standard error of the difference; NaN if the noise is unknown.
        freedom: Degrees of freedom of the standard error.
        interval: Interval of the difference at ``level``; infinite if the noise is unknown.
        level: Level of the interval and the verdict.
        p_value: Two-sided p-value of no difference; NaN if the noise is unknown.
        distinguishable: Whether one of the two is better by more than the noise at ``level``.
    """

    seeds: int
    diverged: tuple[int, int]
    difference: float
    standard_error: float
    freedom: int
    interval: tuple[float, float]
    level: float
    p_value: float
    distinguishable: bool

    @property
    def detectable(self) -> float:
        """The smallest difference that this many seeds could have shown."""
        return (self.interval[1] - self.interval[0]) / 2

    @property
    def seeds_needed(self) -> int | None:
        """Approximate number of shared seeds that would show this difference, if it is real; None if unknown."""
        if not (self.standard_error > 0 and self.difference != 0):
            return None
        one = self.standard_error * math.sqrt(self.seeds - max(self.diverged)) / abs(self.difference)
        for count in range(2, 1001):
            if special.stdtrit(max(count - 1, self.freedom), (1 + self.level) / 2) * one <= math.sqrt(count):
                return count
        return None

    @property
    def sentence(self) -> str:
        """The verdict as a sentence."""
        return self.told_of("the first", "the second")

    def told_of(self, first: str, second: str) -> str:
        """Return the verdict as a sentence with names for the two configurations."""
        on = f"on {self.seeds} shared seed{'s' * (self.seeds != 1)}"
        if self.seeds == 0:
            return f"{_capital(first)} and {second} share no seed, so they cannot be compared in pairs."
        if self.diverged != (0, 0):
            return self._diverged(first, second, on)
        gap = number_text(abs(self.difference))
        if math.isnan(self.standard_error):
            why = "with a single seed, noise and difference cannot be separated"
            return f"{_capital(first)} and {second} differ by {gap} {on}: {why}."
        margin = f"{number_text(self.detectable, 2)} at {self.level:.0%}"
        if self.distinguishable:
            better, worse = (first, second) if self.difference < 0 else (second, first)
            return f"{_capital(better)} is better than {worse} by {gap} ± {margin} {on}."
        few = "With so few seeds" if self.seeds <= 3 else "With this noise"
        needed = self.seeds_needed
        more = "" if needed is None or needed <= self.seeds else f"; about {needed} seeds would show this one"
        return (
            f"{_capital(first)} and {second} are not distinguishable {on}: they differ by {gap}. {few}, differences "
            f"below {margin} do not show{more}."
        )

    def _diverged(self, first: str, second: str, on: str) -> str:
        if not self.distinguishable:
            times = f"{self.diverged[0]} time{'s' * (self.diverged[0] != 1)}"
            return f"{_capital(first)} and {second} both diverged {times} {on}: neither is better."
        one, other = self.diverged
        better, worse = (first, second) if one < other else (second, first)
        return (
            f"{_capital(better)} is better {on}: {worse} diverged on {max(one, other)}, {better} on {min(one, other)}."
        )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def compare_pairs(
    a: Mapping[int, float], b: Mapping[int, float], *, level: float = 0.95, noise: Noise | None = None
) -> PairedComparison:
    """Compare the values by seed of two configurations, infinite if a run diverged and NaN if unknown.

    With d_s = a_s - b_s on the n shared seeds, the mean difference has the standard error v / sqrt(n),

        v² = (sum (d_s - mean)² + ν 2 σ²) / (n - 1 + ν),

    where σ and ν are the noise of other configurations and its degrees of freedom, 0 without ``noise``. The difference
    is compared with Student's t with n - 1 + ν degrees of freedom. Noise is borrowed only if the differences are not
    noisier themselves (F test at 5%), so that an unstable configuration does not look calm because others are. If one
    diverged on more seeds than the other, that decides.

    Reference:
        Smyth, "Linear models and empirical Bayes methods", Statistical Applications in Genetics 3 (2004), for a
        variance moderated by that of others; the F test before it is ours.
    """
    if not 0 < level < 1:
        raise InputError("level", level, "must lie in (0, 1)")
    shared = [s for s in a if s in b and not (math.isnan(a[s]) or math.isnan(b[s]))]
    diverged = (sum(math.isinf(a[s]) for s in shared), sum(math.isinf(b[s]) for s in shared))
    gaps = np.array([a[s] - b[s] for s in shared if math.isfinite(a[s]) and math.isfinite(b[s])])
    difference = float(gaps.mean()) if len(gaps) else math.nan
    error, freedom = _standard_error(gaps, noise)
    half, p_value = math.inf, math.nan
    if freedom:
        half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
        ratio = abs(difference) / error if error > 0 else (math.inf if difference else 0.0)
        p_value = 2 * float(special.stdtr(freedom, -ratio))
    distinct = diverged[0] != diverged[1] if diverged != (0, 0) else p_value < 1 - level
    interval = (difference - half, difference + half) if len(gaps) else (-math.inf, math.inf)
    return PairedComparison(len(shared), diverged, difference, error, freedom, interval, level, p_value, distinct)


def _standard_error(gaps: Array, noise: Noise | None) -> tuple[float, int]:
    """Return the standard error of the mean of ``gaps`` and its degrees of freedom; NaN and 0 where unknown."""
    own = max(0, len(gaps) - 1)
    squares = float(np.sum((gaps - gaps.mean()) ** 2)) if own else 0.0
    borrowed, variance = (0, 0.0) if noise is None else (noise.freedom, 2 * noise.sd**2)
    if own and borrowed and squares / own > variance * float(special.fdtri(own, borrowed, 0.95)):
        borrowed = 0
    freedom = own + borrowed
    if not len(gaps) or not freedom:
        return math.nan, 0
    return math.sqrt((squares + borrowed * variance) / freedom / len(gaps)), freedom
