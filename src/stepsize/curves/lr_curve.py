"""The lr curve: final loss against learning rate, fitted over several horizons and carried to the full one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError

__all__ = ["LrCurve", "Observation", "Prior", "expected_drift", "fit_lr_curve", "lost", "rise"]

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

_GRID = 0.05  # decades between candidate optima; all that is read off is interpolated
_MARGIN = 1.5  # decades beyond the observed rates where the optimum is still looked for
_DRIFTS = np.linspace(0.0, 0.32, 9)  # decades that the best rate falls with the last doubling; it does not rise
_WIDTHS = np.array([0.25, 0.5, 1.0])  # decades
_STEEPER = np.array([1.0, 3.0, 8.0])  # how much steeper the curve is above the optimum than below
_STILL = 0.05  # decades where optimization is the limit
_TOP = math.log10(2)  # … where data are: rate times steps stays fixed
_HALF_GAP = 0.5  # log ratio of unseen to training loss at which a training is half way to being limited by its data
_CURVED = 0.2  # by how much faster it moves for each doubling that the horizon is shorter
_DOUBT = 0.12  # decades by which a real optimum strays from the model's, times sqrt(1 + doublings still to go)
_ASIDE = 0.05  # decades by which the interval is wider than the posterior on either side, times one more than to_go
_TOGETHER = 1.0  # how strongly the amplitudes of the rungs are held together, in units of squared shape
_MISFIT = 0.15  # of the spread of the heights: what a real curve differs from the model's shape by
_SIGMA = (0.004, 0.05)  # relative error that is never gone below, or above
_SIGMA_DOF = 4.0
_HOPELESS = 0.5  # share of the way to the untrained loss beyond which a run only says "bad"
_NOTHING = 0.3  # share of what the best run of as few updates learned, below which a higher rate has learned nothing
_LEARNED = 0.05  # share of the untrained value by which a run must be better for that
_SWINGS = 0.1  # weight of the training loss beside the unseen one: an end state may be lucky, an average is not
_CLIFF = (0.7, 0.15)  # decades from the optimum up to where nothing is learned, and the spread of that
_RETREAT = 0.2  # decades that the end of what works falls for each doubling of the horizon, at most
_WORST = (2.0, 4.0)  # relative excess beyond which one bad rate is as bad as another: at least, at most


@dataclass(frozen=True)
class Observation:
    """One run seen from outside.

    Attributes:
        steps: Its horizon, in updates.
        lr: Its rate.
        value: What it reached, lower is better; may be infinite or NaN.
        diverged: Whether it was given up: it then counts as a bound on the rate, not as a value.
        train_loss: Its loss on training data at the end; NaN where unknown.
        val_loss: Its loss on unseen data at the end; NaN where unknown.
        seed: Runs of one horizon are compared within a seed: each seed has a level of its own.
    """

    steps: int
    lr: float
    value: float
    diverged: bool = False
    train_loss: float = math.nan
    val_loss: float = math.nan
    seed: int = 0


@dataclass(frozen=True)
class Prior:
    """What is believed of a curve before any run.

    Attributes:
        center: The log10 of the rate that a range test suggests; None where nothing is known.
        spread: Decades of doubt about it, one standard deviation.
        drift: Decades that the best rate falls with the last doubling of the horizon, about (see :func:`rise`). The
            mean of what was seen on small networks of several kinds, where T/16 to T moved it by -0.4 ... 1.2 decades.
        drift_spread: One standard deviation of that.
    """

    center: float | None = None
    spread: float = 0.7
    drift: float = 0.08
    drift_spread: float = 0.05


def rise(doublings: float) -> float:
    """Return how far the optimum of a horizon that must be doubled so often lies above that of the full one, in drifts.

    r(k) = k (1 + k / 5): the shorter the horizon, the faster the best rate moves.

    Example:
        >>> rise(0.0), round(rise(2.0), 6), round(rise(4.0), 6)
        (0.0, 2.8, 7.2)
    """
    return doublings * (1 + _CURVED * doublings)


def expected_drift(observations: Sequence[Observation]) -> float:
    """Return how fast the best rate is expected to fall with the horizon, from the gap to unseen data.

    Where a training is limited by optimization, the best rate sits below the edge of stability, which does not move
    with the horizon. Where it is limited by what the data hold, the best rate is the one that learns just
    so much in all, so rate times steps stays fixed: log10(2) = 0.30 decades a doubling. With the gap
    r = log(best loss on unseen data / best loss on training data) on the longest horizon seen, the drift is taken as

        d = 0.05 + 0.25 r / (r + 1/2) decades, for r > 0,

    between a drift that is barely there and the 0.30 of a fixed product.

    Args:
        observations: The runs so far, with both losses where they are known.

    Returns:
        Decades that the best rate falls with the last doubling, about (see :func:`rise`); 0.08 where the losses do not
        tell (not positive, or not both known).

    Example:
        >>> expected_drift([Observation(50, 0.1, 0.5, train_loss=0.5, val_loss=0.5)])
        0.05
        >>> round(expected_drift([Observation(50, 0.1, 0.5, train_loss=0.01, val_loss=0.5)]), 2)
        0.27
    """
    known = [seen for seen in observations if seen.train_loss > 0 and 0 < seen.val_loss < math.inf]
    if not known:
        return Prior.drift
    longest = max(seen.steps for seen in known)
    rung = [seen for seen in known if seen.steps == longest]
    gap = math.log(min(seen.val_loss for seen in rung) / min(seen.train_loss for seen in rung))
    gap = max(0.0, gap)
    return _STILL + (_TOP - _STILL) * gap / (gap + _HALF_GAP)


@dataclass(frozen=True, eq=False)
class LrCurve:
    """A fitted lr curve at the full horizon, with what remains uncertain about it.

    Attributes:
        optima: Candidate log10 rates of the optimum at the full horizon, shape ``(m,)``, ascending.
        weights: Their posterior probability, shape ``(m,)``.
        rates: log10 rates at which the curve is tabulated, shape ``(k,)``.
        regret: The expected relative excess over the best loss there, shape ``(k,)``.
        regret_low: Its 10 % quantile.
        regret_high: Its 90 % quantile.
        drift: The posterior mean drift: see :func:`rise`.
        to_go: How often the longest horizon seen must be doubled to reach the full one.
    """

    optima: Array
    weights: Array
    rates: Array
    regret: Array
    regret_low: Array
    regret_high: Array
    drift: float
    to_go: float

    def quantile(self, share: float) -> float:
        """Return the rate below which the optimum lies with probability ``share``."""
        return float(10 ** np.interp(share, np.cumsum(self.weights) - 0.5 * self.weights, self.optima))

    def best(self, *, at_most: float = math.inf) -> float:
        """Return the rate of least expected regret: on the low side of the likely optima, as the high side is steep."""
        allowed = self.rates <= math.log10(at_most) + 1e-9 if math.isfinite(at_most) else np.ones(len(self.rates), bool)
        if not allowed.any():
            return at_most
        return float(10 ** self.rates[allowed][np.argmin(self.regret[allowed])])

    def expected_regret(self, lr: float) -> float:
        """Return the expected relative excess over the best loss at ``lr``."""
        return float(np.interp(math.log10(lr), self.rates, self.regret))

    def interval(self) -> tuple[float, float]:
        """Return where the optimum lies with 80 % probability, at least every rate of the lowest regret.

        It is the central 80 % of the posterior and 0.05 decade on either side, times one more than the doublings still
        to go: with that, it held the best rate in 80 % of the answers on the tasks that the fit was designed on.
        """
        aside = _ASIDE * (1 + self.to_go)
        low, high = math.log10(self.quantile(0.1)) - aside, math.log10(self.quantile(0.9)) + aside
        fine = self.within(0.0)
        return min(10**low, fine[0]), max(10**high, fine[1])

    def within(self, tolerance: float) -> tuple[float, float]:
        """Return the lowest and the highest rate that is expected to lose at most ``tolerance`` beyond the best."""
        fine = self.rates[self.regret <= np.min(self.regret) + tolerance]
        return float(10 ** fine[0]), float(10 ** fine[-1])


def fit_lr_curve(
    observations: Sequence[Observation], *, horizon: int, untrained: float, prior: Prior | None = None
) -> LrCurve:
    """Fit final loss against log rate over several horizons, and carry the curve to the full one.

    With theta = log10 lr, a run over n updates reaches

        log loss = a_n + A_n g((theta - mu_n) / w),   g(z) = (sqrt(1 + z^2) - 1) * (rho if z > 0 else 1),
        mu_n = mu + d k (1 + k / 5),  k = log2(T / n),

    quadratic about its optimum and straight far from it, rho times as steep above as below; a shorter horizon n has
    its optimum higher by the drift d. Every (mu, d, w, rho) of a grid is weighed by its likelihood times the prior,
    with a_n and A_n at their least-squares values (the amplitudes pulled towards a shared one) and the noise integrated
    out (a Student t); a run that diverged, or that learned nothing above one that did, bounds the optimum of its
    horizon from above. What comes out is spread by as much as real optima stray from the model's, and falls off a
    cliff to what an untrained model loses: 0.7 decade above the optimum, or beyond the rates that were seen to learn.
    Where values are not all positive, (value - best) relative to the untrained value stands for the logarithm.

    Args:
        observations: The runs, at least one.
        horizon: T, the full number of updates.
        untrained: The value before training: where a rate does nothing.
        prior: What is believed before; default a weak drift to lower rates.

    Returns:
        The curve at the horizon T.

    Raises:
        InputError: If there is no observation.

    Example:
        >>> runs = [Observation(100, 10**x, math.exp((x + 2) ** 2)) for x in (-3.0, -2.5, -2.0, -1.5, -1.0)]
        >>> curve = fit_lr_curve(runs, horizon=100, untrained=10.0)
        >>> 0.003 < curve.best() < 0.02
        True
    """
    if not observations:
        raise InputError("observations", observations, "must hold at least one run")
    prior = prior or Prior()
    x = np.array([math.log10(run.lr) for run in observations])
    doublings = np.array([math.log2(horizon / run.steps) for run in observations])
    moved = np.array([rise(doubling) for doubling in doublings])
    y, usable = _heights(observations, untrained)
    mu = np.arange(x.min() - _MARGIN, x.max() + _MARGIN, _GRID)
    grid = _Grid.over(mu)
    log_weight = grid.log_prior(prior)
    for position, shift, gone in zip(x, moved, lost(observations, untrained), strict=True):
        if gone:
            # Soft, since the edge is as noisy as everything else: 0.1 decade below the diverged rate.
            excess = grid.mu + grid.drift * shift - (position - 0.1)
            log_weight = log_weight - 0.5 * (np.clip(excess, 0, None) / 0.05) ** 2
    amplitude = np.full(len(grid.mu), 0.1)
    if usable.sum() >= 2:
        levels = _levels(observations)
        likelihood, amplitude = grid.log_likelihood(x[usable], y[usable], moved[usable], levels[usable])
        log_weight = log_weight + likelihood
    weight = np.exp(log_weight - log_weight.max())
    alive = [run.value for run in observations if math.isfinite(run.value)]
    worst = _worst(min(alive, default=math.nan), untrained)
    seen = _works(observations, untrained, horizon)
    return _tabulated(grid, weight / weight.sum(), amplitude, mu, float(doublings.min()), worst, seen)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Every combination of optimum, drift, width and steepness, flat, shape ``(g,)``."""

    mu: Array
    drift: Array
    width: Array
    steeper: Array

    @classmethod
    def over(cls, mu: Array) -> _Grid:
        axes = np.meshgrid(mu, _DRIFTS, _WIDTHS, _STEEPER, indexing="ij")
        return cls(*(axis.ravel() for axis in axes))

    def log_prior(self, prior: Prior) -> Array:
        log = -0.5 * ((self.drift - prior.drift) / prior.drift_spread) ** 2
        if prior.center is not None:
            log = log - 0.5 * ((self.mu - prior.center) / prior.spread) ** 2
        return np.asarray(log)

    def shape(self, x: Array, moved: Array) -> Array:
        """Return g for each combination and point, shape ``(g, n)``."""
        z = (x[None, :] - self.mu[:, None] - self.drift[:, None] * moved[None, :]) / self.width[:, None]
        return np.asarray((np.sqrt(1 + z**2) - 1) * np.where(z > 0, self.steeper[:, None], 1.0))

    def log_likelihood(self, x: Array, y: Array, moved: Array, levels: Labels) -> tuple[Array, Array]:
        """Return the log likelihood of each combination and its amplitude on the longest rung, shape ``(g,)``."""
        shape = self.shape(x, moved)
        rungs = np.unique(levels)
        y = y.copy()
        for rung in rungs:  # taking the means of a rung out is fitting its own level a_n
            inside = levels == rung
            y[inside] -= y[inside].mean()
            shape[:, inside] -= shape[:, inside].mean(axis=1, keepdims=True)
        power, product = shape**2, shape * y[None, :]
        # A weak pull to a small positive amplitude keeps two equal losses from meaning an infinite basin.
        shared = np.clip((product.sum(axis=1) + 0.01) / (power.sum(axis=1) + 0.1), 1e-3, None)
        amplitude, rest = shared, np.zeros(len(shared))
        for rung in rungs:  # the longest last: its amplitude is the one that is carried on
            inside = levels == rung
            own = product[:, inside].sum(axis=1) + _TOGETHER * shared
            amplitude = np.clip(own / (power[:, inside].sum(axis=1) + _TOGETHER), 1e-3, None)
            error = y[None, inside] - amplitude[:, None] * shape[:, inside]
            rest = rest + np.sum(error**2, axis=1) + _TOGETHER * (amplitude - shared) ** 2
        freedom = max(1, len(y) - len(rungs))
        sigma = float(np.clip(_MISFIT * np.sqrt(np.mean(y**2)), *_SIGMA))
        return -0.5 * (freedom + _SIGMA_DOF) * np.log(_SIGMA_DOF * sigma**2 + rest), amplitude


def _levels(observations: Sequence[Observation]) -> Labels:
    """Return a label for each run: those of one horizon and seed have one, and longer horizons have higher ones."""
    kinds = sorted({(run.steps, run.seed) for run in observations})
    return np.array([kinds.index((run.steps, run.seed)) for run in observations], dtype=np.int64)


def lost(observations: Sequence[Observation], untrained: float) -> list[bool]:
    """Return which runs say that their rate is too high.

    Those are the ones that diverged, and the ones that learned nothing at a rate above one at which a training of no
    more updates did learn.
    """
    return [run.diverged or _learned_nothing(run, observations, untrained) for run in observations]


def _learned_nothing(run: Observation, observations: Sequence[Observation], untrained: float) -> bool:
    below = [seen.value for seen in observations if seen.lr < run.lr and seen.steps <= run.steps and not seen.diverged]
    best = min((value for value in below if math.isfinite(value)), default=math.inf)
    learned = untrained - best
    return learned > _LEARNED * abs(untrained) and not untrained - run.value >= _NOTHING * learned


def _steadied(run: Observation) -> float:
    """Return the value of a run, with a part of the training loss where that is of its kind."""
    comparable = run.value == run.val_loss and run.value >= 0 and math.isfinite(run.train_loss)
    return run.value + _SWINGS * run.train_loss if comparable else run.value


def _heights(observations: Sequence[Observation], untrained: float) -> tuple[Array, NDArray[np.bool_]]:
    """Return each run's height on a relative scale, and which heights say more than "bad"."""
    values = np.array([_steadied(run) for run in observations])
    finite = np.isfinite(values) & ~np.array(lost(observations, untrained))
    if not finite.any():
        return values, finite
    best = float(values[finite].min())
    if best > 0 and untrained > 0:
        heights = np.log(np.where(finite, np.maximum(values, 1e-300), 1.0))
        top, bottom = math.log(untrained), math.log(best)
    else:
        gap = max(untrained - best, 1e-12)
        heights = np.where(finite, (values - best) / gap, 0.0)
        top, bottom = 1.0, 0.0
    usable = finite.copy()
    levels = _levels(observations)
    for rung in np.unique(levels):
        inside = finite & (levels == rung)
        if inside.any():
            lowest = heights[inside].min()
            usable[inside] = heights[inside] <= lowest + max(_HOPELESS * (top - lowest), 0.2 * (top - bottom), 0.1)
    return heights, usable


def _works(observations: Sequence[Observation], untrained: float, horizon: int) -> float:
    """Return the log10 rate up to which trainings of the full horizon surely learn; -inf where none did."""
    gone = lost(observations, untrained)
    alive = [run for run, hopeless in zip(observations, gone, strict=True) if not hopeless and math.isfinite(run.value)]
    best = {run.steps: min(other.value for other in alive if other.steps == run.steps) for run in alive}
    return max(
        (
            math.log10(run.lr) - _RETREAT * math.log2(horizon / run.steps)
            for run in alive
            if untrained - run.value >= 0.5 * (untrained - best[run.steps]) > 0
        ),
        default=-math.inf,
    )


def _worst(best: float, untrained: float) -> float:
    """Return the relative excess of a training that learns nothing."""
    return float(np.clip(untrained / best - 1, *_WORST)) if best > 0 and untrained > best else _WORST[0]


def _tabulated(
    grid: _Grid, weight: Array, amplitude: Array, mu: Array, to_go: float, worst: float, seen: float
) -> LrCurve:
    keep = weight > 1e-4 * weight.max()  # the rest together weighs nothing and costs most of the time
    kept = _Grid(grid.mu[keep], grid.drift[keep], grid.width[keep], grid.steeper[keep])
    weight, amplitude = weight[keep] / weight[keep].sum(), amplitude[keep]
    # Relative excess, bounded: beyond that one bad rate is as bad as another.
    excess = np.expm1(np.minimum(amplitude[:, None] * kept.shape(mu, np.zeros(len(mu))), math.log1p(worst)))
    over = (mu[None, :] - np.maximum(kept.mu[:, None] + _CLIFF[0], seen)) / _CLIFF[1]
    fallen = 1 / (1 + np.exp(np.clip(-1.7 * over, -50, 50)))  # 1.7: a logistic curve close to the normal one
    excess += (worst - excess) * fallen
    order = np.argsort(excess, axis=0)
    cumulative = np.cumsum(weight[order], axis=0)
    columns = np.arange(len(mu))
    low, high = (excess[order[np.argmax(cumulative >= share, axis=0), columns], columns] for share in (0.1, 0.9))
    index = np.rint((kept.mu - mu[0]) / _GRID).astype(int)
    optima = np.asarray(np.bincount(index, weights=weight, minlength=len(mu)), dtype=np.float64)
    blur = _blur(len(mu), _DOUBT * math.sqrt(1 + to_go))
    return LrCurve(
        optima=mu,
        weights=optima @ blur / (optima @ blur).sum(),
        rates=mu,
        regret=blur @ (weight @ excess),
        regret_low=blur @ low,
        regret_high=blur @ high,
        drift=float(weight @ kept.drift),
        to_go=to_go,
    )


def _blur(size: int, doubt: float) -> Array:
    """Return the row-stochastic matrix that spreads a table over the candidate optima by ``doubt`` decades."""
    distance = _GRID * (np.arange(size)[:, None] - np.arange(size)[None, :])
    kernel = np.exp(-0.5 * (distance / doubt) ** 2)
    return np.asarray(kernel / kernel.sum(axis=1, keepdims=True))
