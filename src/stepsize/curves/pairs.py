"""Which of two settings is better, from runs that share their seeds."""

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

__all__ = ["Noise", "PairedComparison", "TwoWay", "compare_pairs", "pooled_noise", "two_way"]

Array = NDArray[np.float64]
Whole: TypeAlias = NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class TwoWay:
    """Values taken apart into the level of their setting, the effect of their seed, and what is left.

    Attributes:
        levels: Of each setting, in ascending order of their numbers, as if each had been trained with every seed,
            shape ``(settings,)``; plain means where seeds do not connect all settings, so that nobody can say.
        effects: Of each seed, in ascending order, with mean 0, shape ``(seeds,)``.
        residuals: Value less level less effect, shape ``(n,)``.
        freedom: Degrees of freedom left: how many residuals are free to vary.
        sd: The standard deviation of one run about level and effect; 0 without freedom.
        seed_sd: That of the effects of seeds; 0 where no setting was trained on two seeds.
    """

    levels: Array
    effects: Array
    residuals: Array
    freedom: int
    sd: float
    seed_sd: float


def two_way(settings: Whole, seeds: Whole, values: Array) -> TwoWay:
    """Fit value = level of its setting + effect of its seed by least squares; the effects have mean 0.

    Args:
        settings: The setting of each run, as a whole number, shape ``(n,)``.
        seeds: The seed of each run, shape ``(n,)``.
        values: What each reached, finite, shape ``(n,)``.

    Returns:
        The parts.

    Example:
        >>> fit = two_way(np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]), np.array([1.0, 2.0, 3.0, 4.0]))
        >>> fit.levels.tolist(), fit.freedom, round(fit.sd, 12), round(fit.seed_sd, 3)
        ([1.5, 3.5], 1, 0.0, 0.707)
    """
    settings, seeds = (np.unique(column, return_inverse=True)[1] for column in (settings, seeds))
    runs = np.zeros((int(settings.max()) + 1, int(seeds.max()) + 1))
    np.add.at(runs, (settings, seeds), 1.0)
    count = runs.sum(axis=1)
    means = np.bincount(settings, values) / count
    # The settings taken out, what is left to explain by seeds is as small a system as there are seeds.
    system = np.diag(runs.sum(axis=0)) - runs.T @ (runs / count[:, None])
    effects = np.linalg.pinv(system, hermitian=True) @ (np.bincount(seeds, values) - runs.T @ means)
    effects -= effects.mean()
    rank = int(np.linalg.matrix_rank(system, tol=1e-9 * max(1.0, float(np.abs(system).max())), hermitian=True))
    corrected = means - runs @ effects / count
    residuals = values - corrected[settings] - effects[seeds]
    freedom = len(values) - len(means) - rank
    sd = math.sqrt(float(residuals @ residuals) / freedom) if freedom > 0 else 0.0
    seed_sd = float(np.std(effects, ddof=1)) if rank else 0.0
    return TwoWay(corrected if rank == len(effects) - 1 else means, effects, residuals, freedom, sd, seed_sd)


@dataclass(frozen=True)
class Noise:
    """How much runs of one setting differ beyond what their seeds do to every setting alike.

    Attributes:
        sd: Of one run, in the unit of the values.
        freedom: Degrees of freedom that it was estimated from; 0 where nothing is known.
    """

    sd: float
    freedom: int


def pooled_noise(settings: Sequence[Mapping[int, float]]) -> Noise:
    """Pool the noise of several settings, each trained on some of the same seeds.

    Runs that diverged or are not known are left out.

    Args:
        settings: For each setting, what each seed reached.

    Returns:
        The pooled noise.

    Example:
        >>> noise = pooled_noise([{0: 1.0, 1: 1.5}, {0: 2.0, 1: 2.3}, {0: 3.0, 1: 3.4}])
        >>> noise.freedom, round(noise.sd, 3)
        (2, 0.071)
    """
    rows = [
        (number, seed, value)
        for number, setting in enumerate(settings)
        for seed, value in setting.items()
        if math.isfinite(value)
    ]
    if not rows:
        return Noise(0.0, 0)
    numbers, seeds, values = zip(*rows, strict=True)
    fit = two_way(np.asarray(numbers), np.asarray(seeds), np.asarray(values, dtype=np.float64))
    return Noise(fit.sd, fit.freedom)


@dataclass(frozen=True)
class PairedComparison:
    """Setting a against setting b on the seeds that both were trained with; lower is better.

    Attributes:
        seeds: How many seeds they share.
        diverged: On how many of these a, and b, diverged.
        difference: The mean of a - b over seeds on which neither diverged; negative where a is better, NaN without one.
        standard_error: Of the difference; NaN where nothing tells the noise.
        freedom: Degrees of freedom behind the standard error.
        interval: Of the difference, at ``level``; infinite where nothing tells the noise.
        level: Of the interval and the verdict.
        p_value: The chance of a difference at least so large if there were none; NaN where nothing tells the noise.
        distinguishable: Whether one of the two is better beyond the noise at ``level``.
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
        """The smallest difference that as many seeds with this noise could have shown."""
        return (self.interval[1] - self.interval[0]) / 2

    @property
    def seeds_needed(self) -> int | None:
        """About how many shared seeds would show the difference seen, if it is real; None where nobody can say."""
        if not (self.standard_error > 0 and self.difference != 0):
            return None
        one = self.standard_error * math.sqrt(self.seeds - max(self.diverged)) / abs(self.difference)
        for count in range(2, 1001):
            if special.stdtrit(max(count - 1, self.freedom), (1 + self.level) / 2) * one <= math.sqrt(count):
                return count
        return None

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return self.told_of("the first", "the second")

    def told_of(self, first: str, second: str) -> str:
        """Return the verdict in words with names for the two settings."""
        on = f"on {self.seeds} shared seed{'s' * (self.seeds != 1)}"
        if self.seeds == 0:
            return f"{_capital(first)} and {second} share no seed, so they cannot be compared in pairs."
        if self.diverged != (0, 0):
            return self._lost(first, second, on)
        gap = number_text(abs(self.difference))
        if math.isnan(self.standard_error):
            why = "a single seed does not tell noise from difference"
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

    def _lost(self, first: str, second: str, on: str) -> str:
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
    """Compare two settings on the seeds that both were trained with.

    With d_s = a_s - b_s on the n shared seeds, the mean difference has the standard error v / sqrt(n),

        v² = (sum (d_s - mean)² + ν 2 σ²) / (n - 1 + ν),

    σ and ν being the noise of other settings and its degrees of freedom, 0 where ``noise`` is not given. The
    difference is held against Student's t with n - 1 + ν degrees of freedom. Noise is borrowed only where the
    differences seen are not themselves noisier (F test at 5 %): an unstable setting must not look calm because others
    are. Where one diverged on more seeds than the other, that decides.

    Args:
        a: What the first reached, by seed; lower is better, infinite if it diverged, NaN where it is not known.
        b: The same of the second.
        level: Of the interval and of the verdict, in (0, 1).
        noise: That of other settings of the same task (:func:`pooled_noise`).

    Returns:
        The comparison.

    Raises:
        InputError: If the level is not inside (0, 1).

    Example:
        >>> compare_pairs({0: 0.31, 1: 0.35, 2: 0.30}, {0: 0.33, 1: 0.372, 2: 0.318}).sentence
        'The first is better than the second by 0.02 ± 0.005 at 95% on 3 shared seeds.'

    Reference:
        Smyth, "Linear models and empirical Bayes methods", Statistical Applications in Genetics 3 (2004), for a
        variance moderated by that of others; the F test before it is ours.
    """
    if not 0 < level < 1:
        raise InputError("level", level, "must lie in (0, 1)")
    shared = [s for s in a if s in b and not (math.isnan(a[s]) or math.isnan(b[s]))]
    lost = (sum(math.isinf(a[s]) for s in shared), sum(math.isinf(b[s]) for s in shared))
    gaps = np.array([a[s] - b[s] for s in shared if math.isfinite(a[s]) and math.isfinite(b[s])])
    difference = float(gaps.mean()) if len(gaps) else math.nan
    error, freedom = _standard_error(gaps, noise)
    half, p_value = math.inf, math.nan
    if freedom:
        half = float(special.stdtrit(freedom, (1 + level) / 2)) * error
        ratio = abs(difference) / error if error > 0 else (math.inf if difference else 0.0)
        p_value = 2 * float(special.stdtr(freedom, -ratio))
    told = lost[0] != lost[1] if lost != (0, 0) else p_value < 1 - level
    interval = (difference - half, difference + half) if len(gaps) else (-math.inf, math.inf)
    return PairedComparison(len(shared), lost, difference, error, freedom, interval, level, p_value, told)


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
