"""The prior that the package ships, learned from the record of small trainings: ``python -m benchmarks lr-prior``.

Each curve of the record becomes heights over log10(lr / usual rate), for four lengths of training; the sizes of the
noise and of what a seed does to neighboring rates are read off the three seeds of each. What is not learned here, but
chosen by regret on the design trainings and on the record, with the data set of each task left out, are the shifts, the
deviations, ``seed_splits`` and ``believed_points``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.lr_prior import Prior, tabulated

__all__ = ["PRIOR_FILE", "RECORD_FILE", "compute_prior", "learned_prior"]

Array = NDArray[np.float64]
RECORD_FILE = Path(__file__).parent / "lr_record" / "record.npz"
PRIOR_FILE = Path(__file__).parents[1] / "src" / "stepsize" / "curves" / "lr_prior.npz"
_BELOW = 2_000  # number of the tasks that are read: the later ones gained nothing for `find` (docs/benchmarks.md)
_X = np.arange(-3.4, 3.3, 0.1)  # log10(lr / usual rate)
_SPACING = 0.38  # decades between the rates of a task
_SHALLOW = 0.02  # log ratio of untrained to best loss below which a training has not learned
_NEAR = 0.5  # decades around the best rate where the noise is read off
_QUANTILES = (0.03, 0.15, 0.4, 0.7, 0.92)  # of the noise of a run over the depth; tiny tables are noisier than most


@dataclass(frozen=True, eq=False)
class Curve:
    """One training of the record: log10 rates over the usual one, losses (lengths, rates, seeds), untrained loss.

    A run that ``failed`` has the untrained loss.
    """

    x: Array
    losses: Array
    untrained: float
    family: str
    steps: float
    parameters: float
    data: str
    failed: NDArray[np.bool_]

    @property
    def depth(self) -> float:
        return float(-np.log(self.losses[-1].mean(axis=1) / self.untrained).min())


def curves(path: Path = RECORD_FILE) -> Iterator[Curve]:
    """Yield the first trainings of the record that learned something; a diverged run counts as untrained."""
    with np.load(path) as kept:
        for x, val, untrained, text in zip(kept["x"], kept["val"], kept["untrained"], kept["facts"], strict=True):
            start = float(np.nanmean(untrained))
            if not (math.isfinite(start) and start > 0):
                continue
            facts = json.loads(str(text))
            if facts["number"] >= _BELOW:
                continue
            failed = ~np.isfinite(val)
            losses = np.clip(np.where(failed, start, val), 1e-9, start).astype(float)
            size = facts["steps"], facts["parameters"]
            curve = Curve(x.astype(float), losses, start, facts["family"], *size, str(facts["data"]), failed)
            if curve.depth >= _SHALLOW:
                yield curve


def learned_prior(found: list[Curve]) -> Prior:
    """Return the prior that ``found`` teaches."""
    heights, first = _heights(found)
    noise = np.array([relative for curve in found if (relative := _noise(curve)) is not None])
    typical = float(np.median(noise))
    factors = tuple(float(f"{np.quantile(noise, share) / typical:.2g}") for share in _QUANTILES)
    per_steps, per_parameters = _movement(found)
    return Prior(
        x=_X,
        k=np.log2([1 / 16, 1 / 8, 1 / 4, 1.0]),
        heights=tabulated(heights, first, _SPACING, _X),
        families=np.array([curve.family for curve in found]),
        steps=np.log10([curve.steps for curve in found]),
        parameters=np.log10([curve.parameters for curve in found]),
        per_steps=per_steps,
        per_parameters=per_parameters,
        noise=float(f"{typical:.2g}"),
        noise_factors=factors,
    )


def _heights(found: list[Curve]) -> tuple[Array, Array]:
    """Return the heights of each curve at its own rates, rounded as they are shipped, and the lowest of these rates."""
    logs = [np.log(curve.losses / curve.untrained).mean(axis=2) / curve.depth for curve in found]
    rounded = np.clip(logs, -1.6, 0.0).astype(np.float16).astype(float)
    return rounded, np.array([curve.x[0] for curve in found])


def _movement(found: list[Curve]) -> tuple[float, float]:
    """Return by how many decades the best rate moves for ten times the steps, and the parameters, within a family."""
    places = np.array([curve.x[curve.losses[-1].mean(axis=1).argmin()] for curve in found])
    families = np.array([curve.family for curve in found])
    facts = np.log10([[curve.steps, curve.parameters] for curve in found])
    for family in set(families):
        own = families == family
        places[own] -= places[own].mean()
        facts[own] -= facts[own].mean(axis=0)
    slopes = np.linalg.lstsq(facts, places, rcond=None)[0]
    return float(f"{slopes[0]:.2g}"), float(f"{slopes[1]:.2g}")


def _noise(curve: Curve) -> float | None:
    """Return the standard deviation of log loss over seeds near the best rate, over the depth."""
    logs = np.log(curve.losses[-1])
    best = int(logs.mean(axis=1).argmin())
    near = np.abs(curve.x - curve.x[best]) <= _NEAR
    spread = logs[near].std(axis=1, ddof=1)
    return float(np.sqrt(np.mean(spread**2)) / curve.depth) if near.sum() >= 2 and spread.any() else None


def compute_prior(record: Path = RECORD_FILE, path: Path = PRIOR_FILE) -> None:
    """Learn the prior from the record and write the file that the package ships."""
    found = list(curves(record))
    prior, (heights, first) = learned_prior(found), _heights(found)
    np.savez_compressed(
        path,
        x=prior.x.astype(np.float32),
        k=prior.k.astype(np.float32),
        heights=heights.astype(np.float16),
        first=first.astype(np.float32),
        spacing=_SPACING,
        families=prior.families,
        steps=prior.steps.astype(np.float32),
        parameters=prior.parameters.astype(np.float32),
        per_steps=prior.per_steps,
        per_parameters=prior.per_parameters,
        noise=prior.noise,
        noise_factors=np.array(prior.noise_factors),
    )
    print(f"best rate per ten times the steps {prior.per_steps}, parameters {prior.per_parameters}")
    print(f"{len(found)} curves, noise {prior.noise} times {prior.noise_factors}; in {path}")
