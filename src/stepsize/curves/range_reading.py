"""What the losses of a range test say: the pure analysis, for our own ramps and for logged sweeps."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.answer import VerdictCode
from stepsize.curves.numerals import number_text
from stepsize.curves.smoothing import Smooth, smooth
from stepsize.errors import InputError

REFERENCE_SPEED = 32.0  # steps per decade that an answer is stated for
_HALF_WIDTH = 0.3  # decades, of the smoother's window
_GRID = 0.02  # decades
_FALLEN = 0.5  # fraction of the descent at which the loss counts as falling
_RISEN = 0.5  # fraction of the descent by which it must rise again
_SIGNIFICANT = 5.0  # standard errors that a descent must exceed
_DOUBTFUL = 0.4  # fraction of that above which a descent is not ruled out either …
_BESIDE = 0.1  # … unless it is less than this fraction of the rise after it
_RESAMPLES = 200
_FEWEST = 10  # points below which there is no answer
_ISOLATED = 0.3  # fraction of the next ten losses of a ramp below which one that is not finite is no divergence
_UNEVEN = 3.0  # ratio of the densities of rates in both halves above which a ramp is not logarithmic
_LEVEL = 1.0  # decades without a change of the loss, after which its rise is no fault of the range
_ROUNDING = 1e-9  # of a loss; smaller changes count as none
_HUGE = 1e100  # losses are clipped here; their squares must stay finite
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RangeReading:
    """What a range test says.

    All rates are absolute, of the reference group; None if the losses do not show them.

    Attributes:
        low: Lowest rate that learns visibly: a tenth of the descent has happened.
        lr: Suggested rate: the geometric mean of the rates at which the loss has fallen by half of the descent and has
            risen again by half of it.
        high: Highest rate before the loss rises clearly (by a tenth of the descent).
        diverged_at: Rate at which the loss has risen again by half of the descent, or was not finite.
        interval: Range of ``lr`` in 90% of resamplings of the noise.
        verdict: ``"open"`` if the loss was seen to fall and to rise again: the first steps at a constant rate settle no
            rate of a full run. ``"no answer"`` otherwise.
        reason: The reason as sentences.
        fit_lrs: Rates of the smoothed curve, shape ``(m,)``.
        fit_losses: The smoothed curve, shape ``(m,)``.
        start_loss: Loss level before anything is learned.
        noise: Standard deviation of one loss around the curve, at the start.
    """

    low: float | None
    lr: float | None
    high: float | None
    diverged_at: float | None
    interval: tuple[float, float] | None
    verdict: VerdictCode
    reason: str
    fit_lrs: Array
    fit_losses: Array
    start_loss: float
    noise: float

    @property
    def status(self) -> str:
        """The verdict and its reason."""
        return f"{self.verdict.capitalize()}. {self.reason}"


def suggest(lrs: Iterable[float], losses: Iterable[float], *, repeats: int = 1, seed: int = 0) -> RangeReading:
    """Read a range test: raw losses recorded while the learning rate was raised.

    The losses are smoothed over log rate by robust local lines (no lag). With L0 the starting level and D = L0 - min
    the descent, a(f) is where the curve has fallen by f D and b(f) where, past its minimum, it has risen by
    f D. The suggestion is sqrt(a(1/2) b(1/2)): both ends are crossings of steep slopes, which noise, offset, scale and
    batch order move little, whereas the steepest point or the minimum of a flat valley vary widely. A ramp that is s
    times as slow descends at a rate s times as low, since the sum of the rates counts there; a is therefore rescaled to
    the reference speed of 32 steps per decade. The rate of divergence does not shift in this way. Rates that are not
    spaced evenly in their logarithm (a linear ramp) are smoothed over steps, and a is rescaled by the sum of the rates.
    A loss that is not finite among finite ones is left out; from the rate on where they are many, nothing counts.

    Args:
        lrs: Rate of each step, positive, in any order (several ramps can be mixed).
        losses: Raw loss of each step; NaN and infinity mean divergence, unless they are isolated.
        repeats: Number of ramps over the same rates that are mixed.
        seed: Random seed of the resampling for the interval.

    Returns:
        The reading; without an answer, its reason says why.

    Raises:
        InputError: If the lengths differ or a rate is not positive.

    Example:
        >>> lrs = np.logspace(-5, 1, 200)
        >>> losses = 2.3 - 2 / (1 + (0.01 / lrs) ** 1.5) + (lrs / 1.0) ** 2  # falls at 0.01, rises at 1
        >>> found = suggest(lrs, losses)
        >>> 0.03 < found.lr < 0.3, found.verdict
        (True, 'open')

    Reference:
        Smith, "Cyclical learning rates for training neural networks", 2017, for the test; the rule is ours.
    """
    x, y = _checked(lrs, losses)
    finite = np.isfinite(y)
    edge = _edge(x, finite, repeats)
    inside = finite & (x <= edge) if edge is not None else finite
    if np.sum(inside) < _FEWEST:
        return _no_answer(x, y, edge)
    left_out = int(np.sum(~finite & (x < (math.inf if edge is None else edge))))
    x, y = x[inside], np.clip(y[inside], -_HUGE, _HUGE)
    axis = _Axis.of(x, repeats)
    place = axis.places
    first = y[: max(_FEWEST, len(y) // 10)]
    start, begin = float(np.median(first)), float(np.median(place[: len(first)]))
    ramp = _Ramp(place, _cropped(y, first, start), start, len(first), begin, edge, axis, left_out)
    curve = smooth(place, ramp.y, at=np.arange(place[0], place[-1] + 0.5 * _GRID, _GRID), half_width=_HALF_WIDTH)
    risen_at_once = curve.y[0] - start > _significant(curve, ramp)[0]
    # The first loss is the initial one: if it is clearly above the first losses, those have fallen already.
    return _reading(curve, replace(ramp, start=float(curve.y[0]), begin=place[0]) if risen_at_once else ramp, seed)


def _edge(x: Array, finite: NDArray[np.bool_], repeats: int) -> float | None:
    """Return the log10 rate of the first loss that is not finite and not isolated."""
    ahead = 10 * repeats
    for place in np.nonzero(~finite)[0]:
        if np.mean(~finite[place : place + ahead]) >= _ISOLATED / repeats:
            return float(x[place])
    return None


@dataclass(frozen=True, eq=False)
class _Axis:
    """Where the fit sees each loss: at its log10 rate, or by steps if the rates are not evenly spaced in that."""

    places: Array  # shape (n,)
    rates: Array  # log10 rates, shape (n,)
    sums: Array  # log10 rates at which a ramp of the reference speed has had the same sum of rates, shape (n,)

    @classmethod
    def of(cls, x: Array, repeats: int) -> _Axis:
        """Return the axis of sorted log10 rates, of several ramps together."""
        above = int(np.sum(x > (x[0] + x[-1]) / 2))
        if 1 / _UNEVEN < (len(x) - above) / max(above, 1) < _UNEVEN:
            speed = len(x) / repeats / max(x[-1] - x[0], _GRID)
            return cls(x, x, x + math.log10(speed / REFERENCE_SPEED))
        sums = np.log10(np.cumsum(10**x) / repeats * math.log(10) / REFERENCE_SPEED)
        return cls(np.arange(len(x)) / (repeats * REFERENCE_SPEED), x, sums)

    def rate(self, place: Array) -> Array:
        """Return the log10 rates at places."""
        return np.asarray(np.interp(place, self.places, self.rates))

    def at_reference_speed(self, place: Array) -> Array:
        """Return the log10 rates at which a ramp of the reference speed has had the same sum of rates."""
        return np.asarray(np.interp(place, self.places, self.sums))


@dataclass(frozen=True, eq=False)
class _Ramp:
    """The points that are used, in the order of their rates, and what is known before any fit."""

    x: Array  # places on the axis, shape (n,)
    y: Array  # losses up to the ceiling, shape (n,)
    start: float  # the level before anything is learned: the median of the first tenth
    firsts: int  # number of these losses
    begin: float  # the place in their middle
    edge: float | None  # log10 of the first rate from which on losses are not finite
    axis: _Axis
    left_out: int  # number of isolated losses that are not finite


@dataclass(frozen=True, eq=False)
class _Marks:
    """Crossings in log10 rate of a stack of curves, each of shape ``(k,)``; NaN if a curve has none."""

    low: Array
    fallen: Array
    high: Array
    risen: Array
    descent: Array
    lowest: NDArray[np.intp]

    @property
    def lr(self) -> Array:
        return np.asarray((self.fallen + self.risen) / 2)


def _marks(curves: Array, at: Array, ramp: _Ramp) -> _Marks:
    start, edge = ramp.start, ramp.edge
    # A low loss before the start level is measured is not a descent.
    lowest = np.argmin(np.where(at[None, :] < min(ramp.begin, at[-1]), np.inf, curves), axis=1)
    bottom = curves[np.arange(len(curves)), lowest][:, None]
    descent = start - bottom
    before = np.arange(curves.shape[1])[None, :] <= lowest[:, None]

    def down(fraction: float) -> Array:
        above = before & (curves > start - fraction * descent)
        last = curves.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1)
        return np.asarray(np.where(above.any(axis=1), at[last], at[0]))

    def up(fraction: float) -> Array:
        above = ~before & (curves > bottom + fraction * descent)
        crossing = np.where(above.any(axis=1), ramp.axis.rate(at[np.argmax(above, axis=1)]), np.nan)
        return np.asarray(crossing if edge is None else np.fmin(crossing, edge))

    risen = up(_RISEN)
    fallen = np.fmin(ramp.axis.at_reference_speed(down(_FALLEN)), np.where(np.isnan(risen), np.inf, risen))
    return _Marks(ramp.axis.rate(down(0.1)), fallen, up(0.1), risen, descent[:, 0], lowest)


def _reading(curve: Smooth, ramp: _Ramp, seed: int) -> RangeReading:
    limits = _significant(curve, ramp)
    marks = _marks(curve.y[None, :], curve.x, ramp)
    limit = float(limits[marks.lowest[0]])
    diverged_at = float(marks.risen[0]) if marks.descent[0] > limit else _first_rise(curve, ramp, limits)
    learned = float(marks.descent[0]) > limit
    answered = learned and not np.isnan(marks.risen[0])
    return RangeReading(
        low=_rate(marks.low[0]) if learned else None,
        lr=_rate(marks.lr[0]) if answered else None,
        high=_rate(marks.high[0]) if learned else None,
        diverged_at=_rate(diverged_at),
        interval=_interval(curve, ramp, seed) if answered else None,
        verdict="open" if answered else "no answer",
        reason=_reason(curve, marks, ramp, limit, diverged_at),
        fit_lrs=10 ** ramp.axis.rate(curve.x),
        fit_losses=curve.y,
        start_loss=ramp.start,
        noise=float(curve.noise[0]),
    )


def _significant(curve: Smooth, ramp: _Ramp) -> Array:
    """Return how much the curve must fall or rise at each of its positions to mean anything."""
    of_start = 1.25 * float(curve.noise[0]) / math.sqrt(ramp.firsts)  # a median varies by a quarter more than a mean
    rounding = max(_ROUNDING * abs(ramp.start), 1e-300)
    return np.asarray(np.maximum(_SIGNIFICANT * np.hypot(curve.error, of_start), rounding))


def _first_rise(curve: Smooth, ramp: _Ramp, limits: Array) -> float:
    """Return the log10 rate where a curve that never fell rises or is no longer finite; NaN if it does neither."""
    risen = curve.y > ramp.start + limits
    rise = float(ramp.axis.rate(curve.x[np.argmax(risen)])) if risen.any() else math.nan
    return rise if ramp.edge is None else float(np.fmin(rise, ramp.edge))


def _reason(curve: Smooth, marks: _Marks, ramp: _Ramp, limit: float, diverged_at: float) -> str:
    descent = float(marks.descent[0])
    notes = (
        f" {curve.outliers} {'spike was' if curve.outliers == 1 else 'spikes were'} ignored." if curve.outliers else ""
    )
    if ramp.left_out:
        notes += f" Left out, since they are isolated: {ramp.left_out} of the losses, which are not finite."
    if ramp.edge is not None:
        notes += f" The loss is not finite at {number_text(10**ramp.edge)} and above."
    if descent <= limit:
        return _without_descent(curve, descent, ramp, limit, diverged_at)
    if np.isnan(marks.risen[0]):
        at = number_text(10 ** ramp.axis.rates[-1])
        return (
            f"The loss still falls or is flat at the end of the range, {at}: the best rate may be higher. "
            f"Raise the end of the range.{notes}"
        )
    return (
        f"The loss falls by {descent:.3g} and rises again past its minimum. This is known of the first steps at a "
        f"constant rate only; the best rate of a full run can differ.{notes}"
    )


def _without_descent(curve: Smooth, descent: float, ramp: _Ramp, limit: float, diverged_at: float) -> str:
    noise = float(curve.noise[0])
    doubtful = descent > max(_DOUBTFUL * limit, _BESIDE * (float(np.max(curve.y)) - ramp.start))
    if diverged_at - ramp.axis.rates[0] >= _LEVEL and not doubtful:
        at = number_text(10**diverged_at)
        return (
            f"The loss does not fall by more than its noise before it diverges at {at}: the model may be trained "
            f"already, or it does not learn. {at} is an upper limit of the rate; for a recommendation start from the "
            "initial weights."
        )
    if not math.isnan(diverged_at) and not doubtful:
        return (
            "The loss rises before it has fallen by more than its noise: the range starts too high, or the model "
            f"does not learn. It diverges at {number_text(10**diverged_at)}. Try a lower range, or more steps."
        )
    if noise > _ROUNDING * abs(ramp.start):
        return (
            f"The loss falls by {max(descent, 0):.2g} over the range, and noise alone could explain {limit:.2g}. "
            "Take more steps, larger batches, or a higher end of the range."
        )
    return "The loss does not respond to the learning rate. Check that this optimizer trains the model."


def _interval(curve: Smooth, ramp: _Ramp, seed: int) -> tuple[float, float] | None:
    generator = np.random.default_rng(seed)
    fitted = np.interp(ramp.x, curve.x, curve.y)
    noise = np.interp(ramp.x, curve.x, curve.noise)
    residuals = np.clip(ramp.y - fitted, -4 * noise, 4 * noise)
    # Signs are redrawn, sizes stay in place: the noise of a loss depends on its level.
    resampled = fitted + residuals * generator.choice([-1.0, 1.0], size=(_RESAMPLES, len(ramp.x)))
    lrs = _marks(resampled @ curve.weights.T, curve.x, ramp).lr
    if not np.isfinite(lrs).any():
        return None
    ends = np.nanquantile(lrs, [0.05, 0.95])
    half_grid = _GRID / 2  # crossings are known to a grid cell at best
    return float(10 ** (ends[0] - half_grid)), float(10 ** (ends[1] + half_grid))


def _checked(lrs: Iterable[Any], losses: Iterable[Any]) -> tuple[Array, Array]:
    rates = np.asarray(list(lrs), dtype=np.float64).ravel()
    values = np.asarray(list(losses), dtype=np.float64).ravel()
    if len(rates) != len(values):
        raise InputError("losses", f"{len(values)} losses for {len(rates)} rates", "must be one for each rate")
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise InputError("lrs", rates[~(np.isfinite(rates) & (rates > 0))][:3].tolist(), "must be positive and finite")
    order = np.argsort(rates, kind="stable")
    return np.log10(rates[order]), values[order]


def _cropped(y: Array, first: Array, start: float) -> Array:
    """Return the losses up to a ceiling: an explosion would bend the fit before it."""
    noise = 1.4826 * float(np.median(np.abs(first - start)))
    headroom = max(8 * noise, 0.5 * (start - float(np.min(y))))
    return np.minimum(y, start + headroom) if headroom > _ROUNDING * abs(start) else y


def _no_answer(x: Array, y: Array, edge: float | None) -> RangeReading:
    if edge is None:
        reason = f"{len(x)} losses are too few; at least {_FEWEST} are needed."
    else:
        reason = (
            f"The loss is not finite at {number_text(10**edge)} and above, after {int(np.sum(x < edge))} steps: the "
            "range starts too high, or the data or the model give NaN at any rate. Try a lower range."
        )
    start = float(np.median(y[np.isfinite(y)])) if np.isfinite(y).any() else math.nan
    nothing = np.empty(0)
    above = None if edge is None else float(10**edge)
    return RangeReading(None, None, None, above, None, "no answer", reason, nothing, nothing, start, math.nan)


def _rate(mark: float) -> float | None:
    return None if np.isnan(mark) else float(10**mark)
