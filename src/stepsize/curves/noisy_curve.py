"""The lr curve of one horizon, fitted through its noise: many rates, some seeds, diverged runs as a bound."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special
from threadpoolctl import threadpool_limits

from stepsize.curves.lr_curve import LrCurve
from stepsize.curves.pairs import TwoWay, Whole, two_way
from stepsize.curves.sensitivity import excess_unit
from stepsize.errors import InputError

__all__ = ["NoisyCurve", "fit_noisy_curve"]

Array = NDArray[np.float64]

_STEP = 0.05  # decades between tabulated rates; all that is read off is interpolated
_MOST = 201  # tabulated rates at most: over a very wide range they lie further apart
_MOST_RATES = 120  # that are told apart; more are averaged with their neighbours
_MARGIN = 0.5  # decades beyond the trained rates where the optimum is still looked for
_LENGTHS = (0.3, 0.6, 1.2)  # decades over which a real curve bends
_AMPLITUDES = (0.15, 0.5, 1.5)  # of the bends that no parabola follows, in units of the spread of the heights
_SLOPE, _BEND = 1.0, 0.5  # prior standard deviation of the parabola's terms, in spreads a decade (squared)
_LEVEL = 3.0  # and of its level
_SEED_LENGTH = 0.5  # decades over which the luck of one seed lasts as the rate changes
_SEED_SHARES = (0.0, 0.5, 0.8)  # how much of the noise of a seed is such luck
_UNSEEN_NOISE = (0.03, 0.1, 0.2, 0.4)  # of the spread of the heights, where no rate was trained twice
_NOISE_FACTORS = (0.4, 0.63, 1.0, 1.6, 2.5)  # about what the seeds show
_NOISE_FREEDOM = 4.0  # degrees of freedom with which the noise at one rate is held to that of the others
_NOISE_REACH = 0.5  # decades from which the noise at a rate is pooled
_EDGE_WIDTHS = (0.01, 0.04, 0.12)  # decades over which the chance of divergence rises
_LAPSE = 0.01  # chance that a run diverges at a rate that has nothing to do with it
_DRAWS = 2000
_NEGLIGIBLE = 1e-3  # combinations of less weight than this, beside the best one, are not drawn from


@dataclass(frozen=True, eq=False)
class NoisyCurve:
    """Final loss against rate at one horizon, the mean over seeds, with what the noise leaves open.

    Attributes:
        lrs: Rates at which it is tabulated, ascending, shape ``(k,)``; they reach half a decade beyond the trained.
        loss: The posterior median of the mean loss there, in the unit of the values, shape ``(k,)``.
        low: Its 10 % quantile, shape ``(k,)``.
        high: Its 90 % quantile, shape ``(k,)``.
        noise: The fitted standard deviation of a single run there, beyond what its seed does at every rate, in the
            unit of the values, shape ``(k,)``.
        posterior: Where the optimum lies, and the expected relative excess of each rate over the best loss.
        trained: The lowest and the highest rate of which a run survived.
    """

    lrs: Array
    loss: Array
    low: Array
    high: Array
    noise: Array
    posterior: LrCurve
    trained: tuple[float, float]

    @property
    def best(self) -> float:
        """The rate of least expected regret among those between the trained ones."""
        inside = (self.lrs >= self.trained[0] * (1 - 1e-9)) & (self.lrs <= self.trained[1] * (1 + 1e-9))
        if not inside.any():
            return self.trained[0]
        return float(self.lrs[inside][np.argmin(self.posterior.regret[inside])])

    def interval(self, level: float = 0.8) -> tuple[float, float]:
        """Return the central interval that holds the best rate with probability ``level``."""
        if not 0 < level < 1:
            raise InputError("level", level, "must lie in (0, 1)")
        return self.posterior.quantile((1 - level) / 2), self.posterior.quantile((1 + level) / 2)

    def expected_regret(self, lr: float) -> float:
        """Return the expected excess of the loss at ``lr`` over that at the best rate, relative to the latter.

        Where the values are not all positive it is relative to the way from the untrained value to the best one. It
        never exceeds that of a run that is lost, which is put at 2 (at 1 where values are not all positive).
        """
        return self.posterior.expected_regret(lr)

    def loss_at(self, lr: float) -> float:
        """Return the fitted mean loss at ``lr``."""
        return float(np.interp(math.log10(lr), np.log10(self.lrs), self.loss))

    def outside(self) -> tuple[float, float]:
        """Return the probability that the best rate lies below, and above, all rates that were trained."""
        x = self.posterior.optima
        below = x < math.log10(self.trained[0]) - 1e-9
        above = x > math.log10(self.trained[1]) + 1e-9
        return float(self.posterior.weights[below].sum()), float(self.posterior.weights[above].sum())


def fit_noisy_curve(
    lrs: Sequence[float],
    values: Sequence[float],
    seeds: Sequence[int] | None = None,
    *,
    untrained: float | None = None,
    seed: int = 0,
) -> NoisyCurve:
    """Fit final loss against log10 lr at one horizon from runs with shared seeds.

    With x = log10 lr, a run i with seed j reaches

        u(value) = f(x_i) + s_j + q_j(x_i) + e_i,

    u the height above the best value on a logarithmic scale that leaves the bottom of the basin as it is and flattens
    what rises far above it, so that a cliff does not bend its surroundings; f a parabola plus a Gaussian process
    (Matérn 5/2); s_j what a seed does at every rate; q_j what it does to neighbouring rates alike; e_i noise that may
    differ along x, pooled over the rates nearby. Length scale, amplitude and noise are not chosen but summed over,
    each combination by its marginal likelihood, and the optimum is that of curves drawn from the posterior. Runs that
    diverged say nothing of the height of f: they bound the rate. A rate at which a share p of runs is expected
    to diverge (a logistic edge, fitted alike) counts as p times as bad as the worst run.

    Args:
        lrs: The rate of each run, positive.
        values: What each reached, lower is better; infinite if it diverged, NaN where it is not known.
        seeds: The seed of each run; the same seeds at all rates make seed effects cancel. Default one seed for all.
        untrained: The value before training; only needed as the unit of regret where values are not all positive.
        seed: Of the draws from the posterior.

    Returns:
        The fitted curve.

    Raises:
        InputError: If the lengths differ, a rate is not positive, or fewer than three rates have a finite value.

    Example:
        >>> lrs = [1e-4, 1e-3, 1e-2, 1e-1]
        >>> curve = fit_noisy_curve(lrs * 2, [0.8, 0.4, 0.3, 0.5, 0.82, 0.41, 0.31, 0.52], [0] * 4 + [1] * 4)
        >>> low, high = curve.interval()
        >>> 1e-3 < low < 1e-2 < high < 1e-1
        True

    Reference:
        Rasmussen & Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, chapters 2 and 5.
    """
    # Matrices of a hundred rows: on two threads that wait for each other the fit was measured as 14 times slower.
    with threadpool_limits(1, user_api="blas"):
        return _fitted(_Runs.checked(lrs, values, seeds), untrained, seed)


def _fitted(runs: _Runs, untrained: float | None, seed: int) -> NoisyCurve:
    alive = runs.alive()
    scale = _Scale.of(alive, untrained)
    u = scale.flattened(alive)
    noise = _Noise.of(alive, u, int(np.count_nonzero(scale.luck)))
    x = np.unique(alive.x)
    grid = _grid(x, runs.x)
    rng = np.random.default_rng(seed)
    posterior = _Posterior.of(x, grid, list(_evidence(alive, u, noise, x)), _spread(alive, u))
    u_paths = u.mean() + posterior.draws(rng)
    deviation = posterior.noise_factor * noise.unscaled(grid, _spread(alive, u))
    return _read(grid, u_paths, _edge_draws(runs, grid, rng), deviation, scale, (x[0], x[-1]))


@dataclass(frozen=True, eq=False)
class _Runs:
    """Runs as columns, shape ``(n,)`` each: log10 rate, value, seed."""

    x: Array
    value: Array
    seed: NDArray[np.int64]

    @classmethod
    def checked(cls, lrs: Sequence[float], values: Sequence[float], seeds: Sequence[int] | None) -> _Runs:
        lr = np.asarray(lrs, dtype=np.float64)
        value = np.asarray(values, dtype=np.float64)
        seed = np.zeros(len(lr), np.int64) if seeds is None else np.asarray(seeds, dtype=np.int64)
        for name, column in (("values", value), ("seeds", seed)):
            if column.shape != lr.shape:
                raise InputError(name, len(column), f"must be as many as lrs, {len(lr)}")
        if not (np.isfinite(lr) & (lr > 0)).all():
            raise InputError("lrs", lrs, "must all be positive and finite")
        known = ~np.isnan(value)
        runs = cls(np.log10(lr[known]), value[known], np.unique(seed[known], return_inverse=True)[1])
        rates = len(np.unique(runs.x[np.isfinite(runs.value)]))
        if rates < 3:
            raise InputError("values", rates, "must be finite at three rates or more", "Train at more rates.")
        return runs

    def alive(self) -> _Runs:
        """Return the runs that did not diverge; of very many rates, neighbours are averaged seed by seed."""
        finite = np.isfinite(self.value)
        runs = _Runs(self.x[finite], self.value[finite], self.seed[finite])
        if len(np.unique(runs.x)) <= _MOST_RATES:
            return runs
        place = np.rint((runs.x - runs.x.min()) / np.ptp(runs.x) * (_MOST_RATES - 1)).astype(int)
        x = np.bincount(place, runs.x)[place] / np.bincount(place)[place]
        _, index = np.unique(np.column_stack([place, runs.seed]), axis=0, return_inverse=True)
        count = np.bincount(index)
        first = np.unique(index, return_index=True)[1]
        return _Runs(x[first], np.bincount(index, runs.value) / count, runs.seed[first])


@dataclass(frozen=True)
class _Scale:
    """Values to heights and back: relative to the best one, then flattened above a knee.

    ``unit`` is None where heights are logarithms of ratios to ``best``; ``bad`` is the height of a run that is lost.
    ``luck`` is what each seed adds to the heights of the better rates: it is taken away before anything is
    flattened, which would turn it into something else at every height.
    """

    best: float
    unit: float | None
    knee: float
    bad: float
    luck: Array

    @classmethod
    def of(cls, runs: _Runs, untrained: float | None) -> _Scale:
        best = float(runs.value.min())
        above = runs.value - best
        if best > 0 and (untrained is None or untrained > 0):
            unit, heights = None, np.log(runs.value / best)
            floor = math.log(untrained / best) if untrained is not None else 0.0
        else:
            unit = max(excess_unit(best, untrained), float(np.median(above)))
            heights, floor = above / unit, 1.0
        index = np.unique(runs.x, return_inverse=True)[1]
        level = np.bincount(index, heights) / np.bincount(index)
        low = (level <= np.median(level))[index]
        fit = two_way(index[low], runs.seed[low], heights[low])
        luck = _luck(fit, index[low], runs.seed[low], int(runs.seed.max()) + 1)
        above = np.sort(np.bincount(index, heights - luck[runs.seed]) / np.bincount(index))
        knee = float(above[max(1, len(above) // 4)] - above[0])
        knee = max(knee, 3 * fit.sd, 1e-3 * float(heights.max()), 1e-12)
        return cls(best, unit, knee, max(floor, float(heights.max()), 10 * fit.sd), luck)

    def flattened(self, runs: _Runs) -> Array:
        ratio = np.log(runs.value / self.best) if self.unit is None else (runs.value - self.best) / self.unit
        height = ratio - self.luck[runs.seed]
        return np.where(height > 0, self.knee * np.log1p(np.maximum(height, 0) / self.knee), height)

    def unwarped(self, u: Array) -> Array:
        """Return relative heights from flattened ones; below the best one there is no knee."""
        high = np.clip(u / self.knee, 0, 50)
        return np.asarray(np.where(u > 0, np.minimum(self.knee * np.expm1(high), self.bad + 1), u))

    def values(self, heights: Array) -> Array:
        if self.unit is None:
            return np.asarray(self.best * np.exp(np.minimum(heights, 600.0)))
        return np.asarray(self.best + self.unit * heights)

    def slope(self, heights: Array) -> Array:
        """Return by how much the value changes for each unit of flattened height."""
        steepness = 1 + np.maximum(heights, 0) / self.knee
        return np.asarray(steepness * (self.values(heights) if self.unit is None else self.unit))

    @property
    def lost(self) -> float:
        """The relative excess of a run that is lost: one bad rate is as bad as another."""
        return 2.0 if self.unit is None else 1.0

    def excess(self, heights: Array) -> Array:
        """Return relative excess from differences of heights, never above that of a lost run."""
        excess = np.expm1(np.minimum(heights, 5.0)) if self.unit is None else heights
        return np.asarray(np.minimum(excess, self.lost))


def _luck(fit: TwoWay, rates: Whole, seeds: Whole, count: int) -> Array:
    """Return the effects of the seeds that several rates share; of others an effect cannot be told from noise."""
    luck = np.zeros(count)
    if fit.freedom > 0:
        present = np.unique(seeds)
        shared = np.array([len(np.unique(rates[seeds == seed])) > 1 for seed in present])
        luck[present[shared]] = fit.effects[shared] - fit.effects[shared].mean()
    return luck


@dataclass(frozen=True, eq=False)
class _Noise:
    """The standard deviation of a run about its seed and rate, along x; a single number where seeds do not show it.

    ``shared`` is the standard deviation of what seeds still do at every rate, ``freedom`` the degrees of freedom.
    """

    x: Array
    squares: Array
    freedom: Array
    pooled: float
    shared: float

    @classmethod
    def of(cls, runs: _Runs, u: Array, lucks: int) -> _Noise:
        """Estimate it from heights that ``lucks`` effects of seeds have been taken away from."""
        x, index = np.unique(runs.x, return_inverse=True)
        count = np.bincount(index)
        level = np.bincount(index, u) / count
        squares = np.asarray(np.bincount(index, (u - level[index]) ** 2), dtype=np.float64)
        freedom = np.asarray(count - 1, dtype=np.float64)
        low = level <= np.median(level)
        # These effects were fitted to the low half, whose residuals have become smaller by it.
        repeats = float(freedom[low].sum())
        freedom[low] *= max(0.0, 1 - max(0, lucks - 1) / max(repeats, 1.0))
        total = float(freedom[low].sum())
        pooled = math.sqrt(float(squares[low].sum()) / total) if total > 0 else 0.0
        return cls(x, squares, freedom, pooled, two_way(index, runs.seed, u).seed_sd)

    def seen(self, spread: float) -> bool:
        """Return whether seeds show any noise."""
        return self.pooled > 1e-6 * spread

    def unscaled(self, x: Array, spread: float) -> Array:
        """Return the standard deviation at ``x`` up to a factor: ``spread`` where seeds do not show it.

        Squares are pooled over the rates nearby and held to those of the low half.
        """
        if not self.seen(spread):
            return np.full(len(x), spread)
        near = np.exp(-0.5 * ((x[:, None] - self.x[None, :]) / _NOISE_REACH) ** 2)
        held = _NOISE_FREEDOM * self.pooled**2
        return np.sqrt((near @ self.squares + held) / (near @ self.freedom + _NOISE_FREEDOM))


@dataclass(frozen=True, eq=False)
class _Evidence:
    """What the runs say of f at their rates under one noise: exp(b'f - f'Pf / 2 + constant)."""

    factor: float
    precision: Array
    pull: Array
    constant: float


def _spread(runs: _Runs, u: Array) -> float:
    """Return how far the flattened heights of the rates lie apart: the unit of the prior."""
    _, index = np.unique(runs.x, return_inverse=True)
    return max(float(np.std(np.bincount(index, u) / np.bincount(index))), 1e-12)


def _evidence(runs: _Runs, u: Array, noise: _Noise, x: Array) -> Iterator[_Evidence]:
    """Yield what the runs say of f for every noise that is thought of."""
    index = np.searchsorted(x, runs.x)
    at = np.eye(len(x))[index]
    same_seed = runs.seed[:, None] == runs.seed[None, :]
    luck = np.where(same_seed, _matern(runs.x[:, None] - runs.x[None, :], _SEED_LENGTH), 0.0)
    spread = _spread(runs, u)
    shape = noise.unscaled(runs.x, spread)
    centred = u - u.mean()
    for factor in _NOISE_FACTORS if noise.seen(spread) else _UNSEEN_NOISE:
        deviation = np.maximum(factor * shape, 1e-3 * spread)
        for share in _SEED_SHARES:
            covariance = share * deviation[:, None] * luck * deviation[None, :] + noise.shared**2 * same_seed
            covariance[np.diag_indices_from(covariance)] += (1 - share) * deviation**2
            root = linalg.cholesky(covariance, lower=True)
            half = linalg.solve_triangular(root, np.column_stack([at, centred]), lower=True)
            rate, value = half[:, :-1], half[:, -1]
            constant = -0.5 * float(value @ value) - float(np.log(np.diag(root)).sum())
            yield _Evidence(factor, rate.T @ rate, rate.T @ value, constant)


def _matern(distance: Array, length: float) -> Array:
    z = math.sqrt(5) * np.abs(distance) / length
    return np.asarray((1 + z + z**2 / 3) * np.exp(-z))


@dataclass(frozen=True, eq=False)
class _Prior:
    """Covariances of f: at the trained rates, between the grid and them, and on the grid."""

    here: Array
    across: Array
    there: Array

    @classmethod
    def of(cls, x: Array, grid: Array, length: float, amplitude: float, spread: float) -> _Prior:
        centre = float(x.mean())

        def covariance(left: Array, right: Array) -> Array:
            a, b = left[:, None] - centre, right[None, :] - centre
            parabola = _LEVEL**2 + _SLOPE**2 * a * b + _BEND**2 * (a * b) ** 2
            return np.asarray(spread**2 * (parabola + amplitude**2 * _matern(a - b, length)))

        return cls(covariance(x, x), covariance(grid, x), covariance(grid, grid))


def _solve(prior: Array, seen: _Evidence) -> tuple[float, Array, Array]:
    """Return the log marginal likelihood, and what turns the prior's covariances into the posterior's.

    With K the prior and P the precision of the evidence, the latter are (I + P K)^-1 b and (I + P K)^-1 P; neither
    K nor P need be invertible.
    """
    root = linalg.cholesky(prior + 1e-10 * np.trace(prior) / len(prior) * np.eye(len(prior)), lower=True)
    inner = linalg.cholesky(np.eye(len(prior)) + root.T @ seen.precision @ root, lower=True)
    pull = linalg.solve_triangular(inner, root.T @ seen.pull, lower=True)
    spread = linalg.solve_triangular(inner, root.T @ seen.precision, lower=True)
    log = seen.constant + 0.5 * float(pull @ pull) - float(np.log(np.diag(inner)).sum())
    return log, seen.pull - spread.T @ pull, seen.precision - spread.T @ spread


def _root(covariance: Array, spread: float) -> Array:
    """Return a square root of a covariance that rounding may have made slightly indefinite."""
    jitter = 1e-9 * spread**2 * np.eye(len(covariance))
    try:
        return np.asarray(linalg.cholesky(covariance + jitter, lower=True))
    except linalg.LinAlgError:
        values, vectors = linalg.eigh(covariance)
        return np.asarray(vectors * np.sqrt(np.clip(values, 0, None)))


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Every combination of prior and noise that weighs anything: its weight, mean on the grid, root of covariance."""

    weights: Array
    factors: Array
    means: list[Array]
    roots: list[Array]

    @classmethod
    def of(cls, x: Array, grid: Array, evidence: list[_Evidence], spread: float) -> _Posterior:
        priors = [_Prior.of(x, grid, length, bends, spread) for length in _LENGTHS for bends in _AMPLITUDES]
        pairs = [(prior, seen) for prior in priors for seen in evidence]
        solved = [_solve(prior.here, seen) for prior, seen in pairs]
        log = np.array([weight for weight, _, _ in solved])
        weight = np.exp(log - log.max())
        kept = np.nonzero(weight > _NEGLIGIBLE)[0]
        means, roots = [], []
        for k in kept:
            prior, (_, pull, inner) = pairs[k][0], solved[k]
            means.append(prior.across @ pull)
            roots.append(_root(prior.there - prior.across @ inner @ prior.across.T, spread))
        factors = np.array([pairs[k][1].factor for k in kept])
        return cls(weight[kept] / weight[kept].sum(), factors, means, roots)

    @property
    def noise_factor(self) -> float:
        return float(self.weights @ self.factors)

    def draws(self, rng: np.random.Generator) -> Array:
        """Return curves, shape ``(draws, k)``."""
        counts = rng.multinomial(_DRAWS, self.weights)
        paths = [
            mean + rng.standard_normal((count, len(mean))) @ root.T
            for mean, root, count in zip(self.means, self.roots, counts, strict=True)
        ]
        return np.concatenate(paths)


def _grid(alive: Array, tried: Array) -> Array:
    """Return the log10 rates that are tabulated: past those that survived, and past those that did not by less."""
    low, high = alive[0] - _MARGIN, alive[-1] + _MARGIN
    if tried.max() > alive[-1]:
        high = min(high, float(tried[tried > alive[-1]].min()))
    count = min(_MOST, math.ceil((high - low) / _STEP) + 1)
    return np.linspace(low, high, count)


def _edge_draws(runs: _Runs, grid: Array, rng: np.random.Generator) -> Array:
    """Return the chance of divergence on the grid for draws of the edge, shape ``(draws, k)``; zeros without any."""
    lost = ~np.isfinite(runs.value)
    if not lost.any():
        return np.zeros((1, len(grid)))
    edges = np.arange(runs.x.min() - _MARGIN, runs.x.max() + _MARGIN, 0.01)
    edge, width = (axis.ravel() for axis in np.meshgrid(edges, _EDGE_WIDTHS))
    chance = _LAPSE + (1 - 2 * _LAPSE) * special.expit((runs.x[None, :] - edge[:, None]) / width[:, None])
    log = np.where(lost, np.log(chance), np.log1p(-chance)).sum(axis=1)
    weight = np.exp(log - log.max())
    drawn = rng.choice(len(edge), size=_DRAWS, p=weight / weight.sum())
    return np.asarray(special.expit((grid[None, :] - edge[drawn, None]) / width[drawn, None]))


def _read(
    grid: Array, u: Array, chance: Array, deviation: Array, scale: _Scale, trained: tuple[float, float]
) -> NoisyCurve:
    """Tabulate drawn curves with drawn chances of divergence."""
    heights = scale.unwarped(u)
    safe = np.where(chance < 0.5, heights, math.inf).min(axis=1, keepdims=True)
    safe = np.where(np.isfinite(safe), safe, heights.min(axis=1, keepdims=True))
    expected = (1 - chance) * scale.excess(heights - safe) + chance * scale.lost
    excess = expected - expected.min(axis=1, keepdims=True)
    optima = np.bincount(expected.argmin(axis=1), minlength=len(grid)) / len(expected)
    low, high = np.quantile(excess, (0.1, 0.9), axis=0)
    posterior = LrCurve(grid, optima, grid, excess.mean(axis=0), low, high, drift=0.0, to_go=0.0)
    middle, bottom, top = np.quantile(heights, (0.5, 0.1, 0.9), axis=0)
    noise = deviation * scale.slope(middle)
    loss = scale.values(middle)
    lrs = float(10 ** trained[0]), float(10 ** trained[1])
    return NoisyCurve(10**grid, loss, scale.values(bottom), scale.values(top), noise, posterior, lrs)
