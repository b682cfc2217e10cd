"""The model behind every answer: final loss against learning rate, learned from runs of any length and seed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.lr_prior import Prior, shipped_prior
from stepsize.errors import InputError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP = 0.05  # decades between the tabulated rates
_REACH = 2.0  # decades beyond the runs and the usual rate where an optimum is still considered
_MOST = 96  # points that are fitted; the time grows with the third power of their number
_PARTICLES = 1000
_KEPT = 0.5  # of the particles that still count after a step of the tempering
_MOVES = 4  # of each particle after such a step
_HALVINGS = 30  # of such a step at most
_JITTER = 0.15  # decades of a move of the shift
_DRAWS = 400
_SHALLOWEST = 0.03  # log ratio of untrained to best loss below which the noise is measured against this
# Beyond a run that is clearly worse than the best one of its length, the record has another minimum in less than 1% of
# the cases. Clearly is so many standard deviations of a run, and at least so much of the depth.
_CLEARLY = 4.0
_WORSE = 0.02
_WORSE_SHORT = 0.1  # for runs of another length than is asked about
_LOWER = 0.45  # decades by which the best rate of such runs may lie higher
_OWN_LEVEL = 3  # runs of a seed from which they are compared with its own best one …
_OWN_NEAR = 0.5  # … if that is at most so many decades from the best of all
_WORST = 3.0  # excess beyond which one bad rate is as bad as another


@dataclass(frozen=True)
class Point:
    """One run as the model sees it.

    Attributes:
        lr: Peak learning rate, absolute.
        value: Objective value at the end, lower is better; infinite or NaN if there is none.
        share: Length of the run as a fraction of the full horizon, in (0, 1].
        seed: Random seed of the run; runs of one seed and length share a level.
        diverged: Whether the run diverged; it then counts as no better than the model at initialization.
    """

    lr: float
    value: float
    share: float = 1.0
    seed: int = 0
    diverged: bool = False


@dataclass(frozen=True, eq=False)
class LrModel:
    """The posterior of the loss-against-rate curve at one length of training, as equally likely draws.

    Attributes:
        x: log10 of the tabulated rates, ascending, shape ``(g,)``.
        draws: Heights of the drawn curves there, in units of ``depth``, shape ``(draws, g)``; each up to a constant.
        levels: The constant that puts each draw through the points of its length, shape ``(draws,)``.
        depth: Log ratio of the value at initialization to the best value; their difference if values can be negative.
        noise: Standard deviation of the value of a single run near the optimum over seeds, relative to the best value.
        untrained: Value at initialization.
        relative: Whether all values are positive, so that an excess is relative to the best value; otherwise it is
            relative to the improvement over the value at initialization.
        worse: log10 of the nearest rates below and above the best one that are clearly worse; infinite if none is.
        points: The runs that it was fitted to.
    """

    x: Array
    draws: Array
    levels: Array
    depth: float
    noise: float
    untrained: float
    relative: bool
    worse: tuple[float, float]
    points: tuple[Point, ...]

    @cached_property
    def excess(self) -> Array:
        """The excess of each rate over the best one in each draw, shape ``(draws, g)``; capped at 3."""
        height = self.draws - self.draws.min(axis=1, keepdims=True)
        if self.relative:  # capped before it could overflow
            height = np.expm1(np.minimum(self.depth * height, math.log1p(_WORST)))
        return np.asarray(np.minimum(height, _WORST))

    @cached_property
    def expected(self) -> Array:
        """The expected excess of each rate, shape ``(g,)``."""
        return np.asarray(self.excess.mean(axis=0))

    @cached_property
    def optima(self) -> Array:
        """log10 of the best rate in each draw, shape ``(draws,)``."""
        return np.asarray(self.x[self.draws.argmin(axis=1)])

    def chance(self, tolerance: float) -> Array:
        """Return the probability that the excess of each rate is at most ``tolerance``, shape ``(g,)``."""
        return np.asarray((self.excess <= tolerance).mean(axis=0))

    def loss(self, quantile: float = 0.5) -> Array:
        """Return a quantile of the expected value at each rate, in the unit of the objective, shape ``(g,)``."""
        height = np.minimum(self.draws + self.levels[:, None], 0.0)
        value = self.untrained * np.exp(self.depth * height) if self.relative else self.untrained + self.depth * height
        return np.asarray(np.quantile(value, quantile, axis=0))

    def to_json(self) -> dict[str, Any]:
        """Return the curve at about 80 rates as plain values for ``json.dumps``."""
        shown = slice(None, None, max(1, len(self.x) // 80))
        return {
            "lr": (10 ** self.x[shown]).tolist(),
            "loss": self.loss()[shown].tolist(),
            "low": self.loss(0.1)[shown].tolist(),
            "high": self.loss(0.9)[shown].tolist(),
            "expected_excess": self.expected[shown].tolist(),
        }


def fit_lr_model(
    points: Sequence[Point],
    *,
    usual: float,
    untrained: float,
    family: str = "",
    size: tuple[float, float] | None = None,
    share: float = 1.0,
    prior: Prior | None = None,
    seed: int = 0,
) -> LrModel:
    """Return what ``points`` say about the loss at every rate, for runs of length ``share``.

    A run at x = log10 lr, of length r and seed j, reaches the height

        log(value / untrained) / depth = f_r(x) + l_r + s_rj(x) + e,    f_r(x) = c g_r(x - log10 usual - d) + q_r(x),

    where g is a recorded curve of another run (:class:`~stepsize.curves.lr_prior.Prior`), shifted by d decades
    and scaled by c; q a Gaussian process in x and log2 r for what no recorded curve has; l the level of the
    length; s what a seed does to all rates, and to neighboring rates alike; and e noise that grows with the height
    above the best run, because a run far above only says that its rate is bad. A diverged run has height 0. The
    factor c is integrated over; curve, shift and noise are drawn from their posterior, and so are the curves, which
    only rise beyond a run that is clearly worse than the best one.

    Args:
        points: The runs; may be empty, which returns the prior.
        usual: The rate that people start from with this optimizer, absolute.
        untrained: Value of the untrained model.
        family: Optimizer family, whose recorded curves count more; "" treats all alike.
        size: Steps of a full run and number of parameters of the model, by which recorded curves are shifted. Default
            None shifts nothing.
        share: Length of training that is asked about, as a fraction of the full horizon.
        prior: What is known before any run; default the shipped record.
        seed: Random seed of the draws.

    Returns:
        The model.

    Raises:
        InputError: If ``usual`` is not positive or ``untrained`` not finite.

    Example:
        >>> runs = [Point(10**x, 0.1 + (x + 2) ** 2 / 4) for x in (-3.0, -2.5, -2.0, -1.5, -1.0)]
        >>> model = fit_lr_model(runs, usual=1e-3, untrained=2.0)
        >>> bool(-2.3 < model.x[model.expected.argmin()] < -1.7)
        True

    Reference:
        Wang et al., "Pre-trained Gaussian processes for Bayesian optimization", JMLR 2024, for priors from recorded
        runs; the mixture of shifted curves with a residual process is ours.
    """
    if not 0 < usual < math.inf:
        raise InputError("usual", usual, "must be a positive learning rate")
    if not math.isfinite(untrained):
        raise InputError("untrained", untrained, "must be finite")
    known = _Data.of(_thinned(points), untrained)
    with _blas().limit(limits=1):  # matrices so small are slower on several threads, and much slower on a busy machine
        mixture = _Mixture(known, math.log10(usual), prior or shipped_prior(), family, size, seed)
        return mixture.model(share, untrained, tuple(points))


@cache
def _blas() -> Any:
    """Return what limits the threads of the linear algebra; looking for its libraries once is enough."""
    from scipy import linalg  # noqa: F401  its library must be loaded to be found
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@dataclass(frozen=True, eq=False)
class _Data:
    """The points as arrays: place, log2 of the length, seed, height, and height above the best of its length."""

    x: Array
    k: Array
    seed: Ints
    height: Array
    above: Array
    depth: float
    relative: bool

    @classmethod
    def of(cls, points: Sequence[Point], untrained: float) -> _Data:
        x = np.array([math.log10(point.lr) for point in points])
        k = np.array([math.log2(point.share) for point in points])
        seed = np.array([point.seed for point in points], dtype=np.int64)
        value = np.array([_capped(point, untrained) for point in points])
        relative = untrained > 0 and not (value <= 0).any()
        raw = np.log(value / untrained) if relative else value - untrained
        longest = raw[k == k.max()] if len(points) else raw
        gained = -float(longest.min(initial=0.0)) or -float(raw.min(initial=0.0))
        depth = max(gained, _SHALLOWEST if relative else 1e-12)
        height = raw / depth
        above = np.zeros(len(points))
        for length in np.unique(k):
            inside = k == length
            above[inside] = height[inside] - height[inside].min()
            best = x[inside][height[inside].argmin()]
            for one in np.unique(seed[inside]):
                own = inside & (seed == one)
                near = abs(x[own][height[own].argmin()] - best) <= _OWN_NEAR
                if near and own.sum() >= _OWN_LEVEL:  # an unlucky seed is no worse rate
                    above[own] = height[own] - height[own].min()
        return cls(x, k, seed, height, above, depth, relative)

    @property
    def same_length(self) -> NDArray[np.bool_]:
        return np.asarray(self.k[:, None] == self.k[None, :])

    @property
    def same_seed(self) -> NDArray[np.bool_]:
        return np.asarray(self.same_length & (self.seed[:, None] == self.seed[None, :]))


def _capped(point: Point, untrained: float) -> float:
    """Return the value, at most that of the untrained model, which also stands for a diverged run."""
    if point.diverged or not math.isfinite(point.value):
        return untrained
    return min(point.value, untrained)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Return at most _MOST points: the longest and best ones."""
    if len(points) <= _MOST:
        return list(points)
    ranked = sorted(range(len(points)), key=lambda at: (-points[at].share, _capped(points[at], math.inf), at))
    return [points[at] for at in sorted(ranked[:_MOST])]


@dataclass(frozen=True)
class _Kind:
    """One kind of deviation from the recorded curves: size and length of the process, and the noise of a run.

    Of the variance of that noise, all rates of a seed share the fraction ``shared``, and neighboring rates ``curve``.
    """

    amplitude: float
    length: float
    noise: float
    shared: float
    curve: float


class _Particles(NamedTuple):
    """Curves, shifts beyond what the size of the training explains, and kinds of deviations, an entry each."""

    curve: Ints
    shift: Array
    kind: Ints

    def only(self, which: Ints) -> _Particles:
        return _Particles(self.curve[which], self.shift[which], self.kind[which])


class _Mixture:
    """Particles: a recorded curve, its shift, and the kind of its deviations; the factor on it is integrated over.

    They are drawn from the prior, and drawn again by a part of the likelihood that grows in steps to the whole, after
    each of which they are moved (Metropolis): so they are many different ones however many runs there are.

    Reference:
        Del Moral, Doucet and Jasra, "Sequential Monte Carlo samplers", 2006.
    """

    def __init__(
        self, data: _Data, usual: float, prior: Prior, family: str, size: tuple[float, float] | None, seed: int
    ) -> None:
        self._data, self._usual, self._prior = data, usual, prior
        self._random = np.random.default_rng(seed)
        sigma = prior.noise + prior.noise_floor / data.depth * data.relative
        self._kinds = [
            _Kind(amplitude, length, factor * sigma, *split)
            for amplitude, length in prior.deviations
            for factor in prior.noise_factors
            for split in prior.seed_splits
        ]
        self._noises = len(prior.noise_factors) * len(prior.seed_splits)
        self._free = len(prior.deviations) - 1  # the deviation of what follows no recorded curve
        close = (1 - prior.free_fraction) * np.asarray(prior.deviation_weights)
        self._deviation_weights = np.append(close, prior.free_fraction)
        self._curve_weights = prior.weights(family)
        self._moved = prior.moved(np.arange(len(self._curve_weights)), size)
        self._factor = {number: _factor(self._covariance(kind)) for number, kind in enumerate(self._kinds)}
        self._particles = self._drawn()
        self._log, self._scale, self._spread = self._fit(self._particles)
        if len(data.x):
            self._temper()

    def _drawn(self) -> _Particles:
        """Draw particles from the prior."""
        prior, draw, n = self._prior, self._random, _PARTICLES
        curve = draw.choice(len(self._curve_weights), n, p=self._curve_weights)
        wide = draw.random(n) < prior.wide_fraction
        shift = draw.normal(0.0, np.where(wide, prior.wide_shift, prior.shift))
        deviation = draw.choice(len(self._deviation_weights), n, p=self._deviation_weights)
        return _Particles(curve, shift, deviation * self._noises + draw.integers(0, self._noises, n))

    def _temper(self) -> None:
        """Draw again by a part of the likelihood that grows to the whole, moving the particles after each step.

        By the whole at once, few of the first particles would be left, and now and then only wrong ones.
        """
        part = 0.0
        while part < 1.0:
            growth = self._growth(1.0 - part)
            weight = np.exp(growth * (self._log - self._log.max()))
            self._keep(self._random.choice(_PARTICLES, _PARTICLES, p=weight / weight.sum()))
            part = min(1.0, part + growth)
            for _ in range(_MOVES):
                self._move(part)

    def _growth(self, most: float) -> float:
        """Return by how much the part of the likelihood may grow for a fraction of the particles to keep their say."""
        growth = most
        for _ in range(_HALVINGS):
            weight = np.exp(growth * (self._log - self._log.max()))
            if weight.sum() ** 2 >= _KEPT * _PARTICLES * (weight**2).sum():
                break
            growth /= 2
        return growth

    def _keep(self, which: Ints) -> None:
        self._particles = self._particles.only(which)
        self._log, self._scale, self._spread = self._log[which], self._scale[which], self._spread[which]

    def _move(self, power: float) -> None:
        """Propose another shift, curve and shift, or kind for each particle; accept what keeps them a posterior sample.

        ``power`` is the part of the log likelihood that counts.
        """
        now, fresh, draw, n = self._particles, self._drawn(), self._random, _PARTICLES
        part = draw.integers(0, 3, n)
        near = draw.normal(0.0, np.where(draw.random(n) < 0.5, _JITTER, _JITTER / 4))
        shift = np.where(part < 2, now.shift + near, now.shift)
        kind = np.where(part == 2, fresh.kind, now.kind)
        proposed = _Particles(np.where(part == 1, fresh.curve, now.curve), shift, kind)
        log, scale, spread = self._fit(proposed)
        gain = power * (log - self._log) + self._log_density(shift) - self._log_density(now.shift)
        better = np.log(draw.random(n)) < gain
        self._particles = _Particles(*(np.where(better, *pair) for pair in zip(proposed, now, strict=True)))
        self._log = np.where(better, log, self._log)
        self._scale, self._spread = np.where(better, scale, self._scale), np.where(better, spread, self._spread)

    def _log_density(self, shift: Array) -> Array:
        """Return the log density of shifts under the prior."""
        prior, wide = self._prior, self._prior.wide_fraction
        return np.asarray(np.log((1 - wide) * _gauss(shift, prior.shift) + wide * _gauss(shift, prior.wide_shift)))

    def _members(self, particles: _Particles) -> Iterator[tuple[int, _Kind, Ints]]:
        for number, kind in enumerate(self._kinds):
            members = np.nonzero(particles.kind == number)[0]
            if len(members):
                yield number, kind, members

    def _covariance(self, kind: _Kind) -> Array:
        data, prior = self._data, self._prior
        process = kind.amplitude**2 * _matern(data.x[:, None] - data.x[None, :], kind.length)
        process *= np.exp(-np.abs(data.k[:, None] - data.k[None, :]) / prior.length_memory)
        near = _matern(data.x[:, None] - data.x[None, :], prior.seed_length)
        shared = (kind.shared + kind.curve * near) * kind.noise**2
        levels = prior.level**2 * data.same_length + shared * data.same_seed
        own = (1 - kind.shared - kind.curve) * kind.noise**2 + (prior.doubt_above * data.above) ** 2
        return np.asarray(process + levels + np.diag(own + 1e-9))

    def _fit(self, particles: _Particles) -> tuple[Array, Array, Array]:
        """Return of each particle the log likelihood, and mean and standard deviation of the factor on its curve."""
        data = self._data
        scale = np.where(particles.kind // self._noises == self._free, 0.0, 1.0)
        spread = scale * self._prior.scale
        log = np.zeros(len(particles.shift))
        if not len(data.x):
            return log, scale, spread
        power = min(1.0, self._prior.believed_points / len(data.x))
        every = self._shapes(particles, data.x, data.k)
        for number, _, members in self._members(particles):
            factor = self._factor[number]
            shapes = every[members]
            u, z = _solve(factor, shapes.T), _solve(factor, (data.height - shapes).T)
            variance = spread[members] ** 2
            told = 1 + variance * (u**2).sum(axis=0)
            rest, pull = variance / told, (u * z).sum(axis=0)
            misfit = (z**2).sum(axis=0) - rest * pull**2
            log[members] = power * (-0.5 * misfit - np.log(np.diag(factor)).sum() - 0.5 * np.log(told))
            scale[members] += rest * pull
            spread[members] = np.sqrt(rest)
        return log, scale, spread

    def _shapes(self, particles: _Particles, x: Array, k: Array) -> Array:
        """Return the shifted curve of each particle at each point, (particles, points); 0 for those without one."""
        moved = self._moved[particles.curve] + particles.shift
        known = particles.kind // self._noises != self._free
        heights = self._prior.heights_at(particles.curve, x[None, :] - self._usual - moved[:, None], k)
        return np.asarray(known[:, None] * heights)

    def model(self, share: float, untrained: float, points: tuple[Point, ...]) -> LrModel:
        """Draw curves for runs of length ``share``."""
        data, prior = self._data, self._prior
        k = math.log2(share)
        ends = np.append(data.x, self._usual)
        x = np.arange(ends.min() - _REACH, ends.max() + _REACH + 1e-9, _STEP)
        self._keep(self._random.choice(_PARTICLES, _DRAWS, replace=False))
        draws, levels, noise = np.zeros((_DRAWS, len(x))), np.zeros(_DRAWS), np.zeros(_DRAWS)
        normal = self._random.normal(size=(_DRAWS, len(x)))
        scale = (self._scale + self._spread * self._random.normal(size=_DRAWS))[:, None]
        near = data.k == data.k[np.argmin(np.abs(data.k - k))] if len(data.k) else np.zeros(0, bool)
        for number, kind, rows in self._members(self._particles):
            picked = self._particles.only(rows)
            mean = scale[rows] * self._shapes(picked, x, np.full(len(x), k))
            cover = kind.amplitude**2 * _matern(x[:, None] - x[None, :], kind.length)
            if len(data.x):
                cross = kind.amplitude**2 * _matern(x[:, None] - data.x[None, :], kind.length)
                cross *= np.exp(-np.abs(k - data.k)[None, :] / prior.length_memory)
                half = _solve(self._factor[number], cross.T)
                rest = data.height - scale[rows] * self._shapes(picked, data.x, data.k)
                mean = mean + (half.T @ _solve(self._factor[number], rest.T)).T
                cover = cover - half.T @ half
            root = _factor(cover + 1e-6 * kind.amplitude**2 * np.eye(len(x)))
            draws[rows] = self._rising(x, mean + normal[rows] @ root.T, near, kind.noise)
            noise[rows] = kind.noise
        if near.any():
            trust = 1 / (0.02**2 + (prior.doubt_above * data.above[near]) ** 2)
            at = np.array([np.interp(data.x[near], x, drawn) for drawn in draws])
            levels = ((data.height[near] - at) * trust).sum(axis=1) / trust.sum()
        typical = float(np.median(noise))
        single = typical * data.depth if data.relative else typical
        worse = self._worse(near, typical)
        return LrModel(x, draws, levels, data.depth, single, untrained, data.relative, worse, points)

    def _rising(self, x: Array, draws: Array, near: NDArray[np.bool_], noise: float) -> Array:
        """Return the draws without another minimum beyond runs that are clearly worse than the best of their length."""
        lowest, highest = self._worse(near, noise)
        low, high = np.searchsorted(x, lowest - 1e-9), np.searchsorted(x, highest + 1e-9) - 1
        if low <= high:
            down, up = draws[:, low::-1], draws[:, high:]
            down[:] = np.maximum.accumulate(down, axis=1)
            up[:] = np.maximum.accumulate(up, axis=1)
        return draws

    def _worse(self, near: NDArray[np.bool_], noise: float) -> tuple[float, float]:
        """Return log10 of the nearest rates below and above the best of their length that are clearly worse."""
        data, lowest, highest = self._data, -math.inf, math.inf
        for length in np.unique(data.k):
            inside = data.k == length
            place, above, same = data.x[inside], data.above[inside], bool(near[inside].all())
            best = place[data.height[inside].argmin()]
            worse = above > max(_CLEARLY * noise, _WORSE if same else _WORSE_SHORT)
            below = place[worse & (place < best - (0.0 if same else _LOWER))]
            lowest = max(lowest, float(below.max(initial=-math.inf)))
            highest = min(highest, float(place[worse & (place > best)].min(initial=math.inf)))
        return lowest, highest


def _gauss(distance: Array, width: float) -> Array:
    return np.asarray(np.exp(-0.5 * (distance / width) ** 2) / (width * math.sqrt(2 * math.pi)))


def _factor(covariance: Array) -> Array:
    """Return the lower Cholesky factor; scipy.linalg is loaded here, since loading it takes a while."""
    from scipy import linalg

    return np.asarray(linalg.cholesky(covariance, lower=True))


def _solve(factor: Array, right: Array) -> Array:
    """Return the solution of a lower triangular system, without the checks of scipy's function: it is called often."""
    from scipy.linalg import lapack

    if factor.flags.f_contiguous:
        return np.asarray(lapack.dtrtrs(factor, right, lower=1)[0])
    return np.asarray(lapack.dtrtrs(factor.T, right, lower=0, trans=1)[0])


def _matern(distance: Array, length: float) -> Array:
    """Return the Matérn-5/2 correlation."""
    r = math.sqrt(5) * np.abs(distance) / length
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))
