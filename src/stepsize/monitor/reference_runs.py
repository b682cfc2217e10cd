"""Reference runs with known outcome, compared at a quarter of their steps: what similar ones say of a learning rate."""

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

Array = NDArray[np.float64]

REFERENCE_FILE = Path(__file__).parent / "reference_runs.json"
"""Written by ``python -m benchmarks reference-runs``."""

SIDES = ("too low", "fine", "too high")
FEATURES = ("straightness", "log10 distance", "late decrease", "log10 noise")
"""What runs are compared by; more signals of single steps (alpha, cosines, norms) made the vote no better."""

VALIDATION = "val_loss decrease"
"""Also compared, if there are validation losses."""

DISTANCES = (1e-3, 30.0)
"""Distances that the reference runs span; what lies beyond counts as the end."""

_NEAREST = 30  # runs within the width of the vote
_EVALUATIONS = 4
_QUARTERS = ((0.25, 0.5), (0.75, 1.0))  # of the steps so far
_FEWEST = 8  # finite losses in each of them
_MEDIAN = 1.25  # standard error of a median over that of a mean
_CLEAR = 3.0  # errors that a decrease must exceed
_NOISE = (1e-4, 10.0)


@dataclass(frozen=True)
class NeighborVote:
    """The outcome of similar reference runs, weighted by their similarity."""

    shares: tuple[float, float, float]  # vote for too low, fine and too high; the sum is one
    factor: float  # multiplier of the learning rate that the strongest side's runs needed, the median of the vote
    between: tuple[float, float]  # multiples between which the best rate was, for four out of five of the vote
    distance: float  # of the nearest run, in widths of all of them


def features_of(record: Record) -> dict[str, float] | None:
    """Return what runs are compared by; nothing of it has a unit, so runs of all kinds can be compared.

    Straightness and distance are those of :class:`~stepsize.monitor.trajectory.WeightTrajectory`. With L2 and L4 the
    median training losses over the second and the last quarter of the steps so far and L0 that at the start, the late
    decrease is (L2 - L4) / (L0 - L4), or 1 if nothing fell by more than the noise. Noise is the standard deviation of
    single losses over L4; the val_loss decrease is log(V(3/4) / V(1)), with V the validation loss.

    Returns:
        Values by name, without the val_loss decrease if it is unknown; None if losses or straightness are missing.
    """
    losses = record.history("loss").finite()
    second, last = (losses.since(int(a * record.step)).until(int(b * record.step)).values for a, b in _QUARTERS)
    straight, distance = record.last("straightness"), record.last("distance")
    if min(len(second), len(last)) < _FEWEST or math.isnan(straight) or math.isnan(distance):
        return None
    noise, level = loss_noise(record.recent("loss")), float(np.median(last))  # of single losses: history holds means
    error = _MEDIAN * noise * math.sqrt(2 / (record.step / 4))
    found = {
        "straightness": straight,
        "log10 distance": math.log10(float(np.clip(distance, *DISTANCES))),
        "late decrease": _late_decrease(record.start, float(np.median(second)), level, error),
        "log10 noise": math.log10(float(np.clip(noise / max(abs(level), 1e-300), *_NOISE))),
    }
    decrease = _validation_decrease(record)
    return found if math.isnan(decrease) else {**found, VALIDATION: decrease}


def vote(features: Mapping[str, float], *, without: str = "") -> NeighborVote | None:
    """Return the vote of the reference runs, without the task ``without``; None of too few runs.

    Each votes with exp(-2 d² / d30²), with d its distance in standardized features and d30 that of the 30th nearest.
    """
    names = (*FEATURES, VALIDATION) if VALIDATION in features else FEATURES
    known = _reference_runs(names)
    keep = np.array([not without or task.split()[0] != without for task in known.tasks], dtype=bool)
    if int(keep.sum()) < _NEAREST:
        return None
    place = (np.array([features[name] for name in names]) - known.middle) / known.spread
    distances = np.sum((known.places[keep] - place) ** 2, axis=1)
    width = float(np.partition(distances, _NEAREST - 1)[_NEAREST - 1])
    weights = np.exp(-2 * distances / max(width, 1e-12))
    sides, times = known.sides[keep], known.times[keep]
    shares = np.array([weights[sides == side].sum() for side in range(len(SIDES))])
    shares /= shares.sum()
    winner = sides == int(shares.argmax())
    factor = _quantile(1 / times[winner], weights[winner], 0.5)
    between = (_quantile(1 / times, weights, 0.1), _quantile(1 / times, weights, 0.9))
    low, fine, high = shares.tolist()
    return NeighborVote((low, fine, high), factor, between, math.sqrt(float(distances.min())))


@dataclass(frozen=True, eq=False)
class _Known:
    tasks: tuple[str, ...]
    sides: NDArray[np.int64]
    times: Array
    places: Array
    middle: Array
    spread: Array


@cache
def _reference_runs(names: tuple[str, ...]) -> _Known:
    table = json.loads(REFERENCE_FILE.read_text(encoding="utf-8"))
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
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


def _validation_decrease(record: Record) -> float:
    seen = record.history("val_loss").finite()
    if len(seen) < _EVALUATIONS:
        return math.nan
    before = float(seen.values[int(np.argmin(np.abs(seen.steps - 0.75 * record.step)))])
    now = float(seen.values[-1])
    return float(np.clip(math.log(before / now), -1, 1)) if before > 0 and now > 0 else math.nan


def _late_decrease(start: float, before: float, now: float, error: float) -> float:
    """Return the part of the decrease that came late; all of it while nothing fell by more than its error."""
    whole = start - now
    return float(np.clip((before - now) / whole, -1, 2)) if whole > _CLEAR * error else 1.0


def _quantile(values: Array, weights: Array, share: float) -> float:
    order = np.argsort(values)
    cumulated = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(cumulated, share * cumulated[-1]))])
