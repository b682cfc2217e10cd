"""Trainings on record that looked like this one at a quarter of their way, and how their rate turned out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepsize.monitor.readings import loss_noise
from stepsize.monitor.record import Record

__all__ = ["PRECEDENTS_FILE", "REACH", "SIDES", "SIGNALS", "UNSEEN", "Precedent", "compare", "signals_of"]

Array = NDArray[np.float64]

PRECEDENTS_FILE = Path(__file__).parent / "precedents.json"
"""Written by ``python -m benchmarks precedents``."""

SIDES = ("too low", "fine", "too high")
SIGNALS = ("straightness", "log10 distance", "loss gain", "log10 noise")
"""What trainings are compared by; more signals of single steps (alpha, cosines, lengths) made the vote no better."""

UNSEEN = "unseen fall"
"""What is compared besides, where there are losses on unseen data."""

REACH = (1e-3, 30.0)
"""Distances that the record spans: what lies beyond looks like its end."""

_NEAREST = 30  # trainings within the width of the vote
_LOOKS = 4  # at unseen data
_QUARTERS = ((0.25, 0.5), (0.75, 1.0))  # of the steps so far
_FEWEST = 8  # finite losses in each of them
_MEDIAN = 1.25  # standard error of a median over that of a mean
_CLEAR = 3.0  # errors that a gain must exceed
_NOISE = (1e-4, 10.0)


@dataclass(frozen=True)
class Precedent:
    """What became of trainings that looked alike.

    Attributes:
        shares: Of the vote, for too low, fine and too high; they add up to one.
        factor: By what the strongest side's own rates would have had to be multiplied, the median of the vote.
        between: Between which multiples of their rate the best one lay for four in five of the whole vote.
        alike: How far the nearest one is, in widths of the whole record: beyond one, none looked like this.
    """

    shares: tuple[float, float, float]
    factor: float
    between: tuple[float, float]
    alike: float


def signals_of(record: Record) -> dict[str, float] | None:
    """Return the signals that trainings are compared by; none has a unit, so trainings of all kinds can be.

    straightness and distance are those of :meth:`~stepsize.monitor.way.Way.reading`; with L2 and L4 the medians of the
    training losses over the second and the last quarter of the steps so far, and L0 that at the start, loss gain is
    (L2 - L4) / (L0 - L4), the part of the gain that came late, or 1 where there is no gain beyond its noise. noise is
    the spread of single losses over L4; unseen fall is log(V(3/4) / V(1)), V the loss on unseen data.

    Returns:
        By name, unseen fall only where it can be had; None with too few losses or no reading of the weights' way.
    """
    losses = record.history("loss").finite()
    second, last = (losses.since(int(a * record.step)).until(int(b * record.step)).values for a, b in _QUARTERS)
    straight, distance = record.last("straightness"), record.last("distance")
    if min(len(second), len(last)) < _FEWEST or math.isnan(straight) or math.isnan(distance):
        return None
    noise, level = loss_noise(record.recent("loss")), float(np.median(last))  # of single losses: history holds means
    error = _MEDIAN * noise * math.sqrt(2 / (record.step / 4))
    signals = {
        "straightness": straight,
        "log10 distance": math.log10(float(np.clip(distance, *REACH))),
        "loss gain": _gain(record.start, float(np.median(second)), level, error),
        "log10 noise": math.log10(float(np.clip(noise / max(abs(level), 1e-300), *_NOISE))),
    }
    fall = _unseen_fall(record)
    return signals if math.isnan(fall) else {**signals, UNSEEN: fall}


def compare(signals: Mapping[str, float], *, without: str = "") -> Precedent | None:
    """Return how trainings on record that looked alike turned out.

    Each votes with exp(-2 d² / d30²), d its distance in signals over their spread, d30 that of the thirtieth nearest.

    Args:
        signals: Those of :func:`signals_of`.
        without: A task whose trainings are left out: to judge the record by itself.

    Returns:
        The outcome of the vote; None of a record too small for one.
    """
    names = (*SIGNALS, UNSEEN) if UNSEEN in signals else SIGNALS
    record = _record(names)
    keep = np.array([not without or task.split()[0] != without for task in record.tasks], dtype=bool)
    if int(keep.sum()) < _NEAREST:
        return None
    place = (np.array([signals[name] for name in names]) - record.middle) / record.spread
    distances = np.sum((record.places[keep] - place) ** 2, axis=1)
    width = float(np.partition(distances, _NEAREST - 1)[_NEAREST - 1])
    weights = np.exp(-2 * distances / max(width, 1e-12))
    sides, times = record.sides[keep], record.times[keep]
    shares = np.array([weights[sides == side].sum() for side in range(len(SIDES))])
    shares /= shares.sum()
    winner = sides == int(shares.argmax())
    factor = _quantile(1 / times[winner], weights[winner], 0.5)
    between = (_quantile(1 / times, weights, 0.1), _quantile(1 / times, weights, 0.9))
    low, fine, high = shares.tolist()
    return Precedent((low, fine, high), factor, between, math.sqrt(float(distances.min())))


@dataclass(frozen=True, eq=False)
class _Known:
    tasks: tuple[str, ...]
    sides: NDArray[np.int64]
    times: Array
    places: Array
    middle: Array
    spread: Array


@cache
def _record(names: tuple[str, ...]) -> _Known:
    told = json.loads(PRECEDENTS_FILE.read_text(encoding="utf-8"))
    rows = [dict(zip(told["columns"], row, strict=True)) for row in told["rows"]]
    values = np.array([[row[name] for name in names] for row in rows], dtype=np.float64).reshape(-1, len(names))
    middle, spread = (values.mean(axis=0), values.std(axis=0)) if rows else (np.zeros(1), np.ones(1))
    return _Known(
        tuple(row["task"] for row in rows),
        np.array([SIDES.index(row["ended"]) for row in rows]),
        np.array([row["times"] for row in rows], dtype=np.float64),
        (values - middle) / spread,
        middle,
        spread,
    )


def _unseen_fall(record: Record) -> float:
    unseen = record.history("val_loss").finite()
    if len(unseen) < _LOOKS:
        return math.nan
    before = float(unseen.values[int(np.argmin(np.abs(unseen.steps - 0.75 * record.step)))])
    now = float(unseen.values[-1])
    return float(np.clip(math.log(before / now), -1, 1)) if before > 0 and now > 0 else math.nan


def _gain(start: float, before: float, now: float, error: float) -> float:
    """Return the part of the gain that came late; all of it where there is none yet beyond its error."""
    whole = start - now
    return float(np.clip((before - now) / whole, -1, 2)) if whole > _CLEAR * error else 1.0


def _quantile(values: Array, weights: Array, share: float) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(cumulated, share * cumulated[-1]))])
