"""The ground truth of the sixteen trainings: dense in the rate, at the full horizon and at fractions of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.combos import rounded
from benchmarks.runlog import RunLog
from benchmarks.truth import fingerprint, row_of, trained
from benchmarks.unlike.trainings import TRAININGS, Unlike
from stepsize.training import Population, Setting

__all__ = ["FRACTIONS", "UNLIKE_FOLDER", "compute_unlike_truth", "rate"]

UNLIKE_FOLDER = Path(__file__).parents[1] / "truth_unlike"
FRACTIONS = (16, 8, 4, 2)  # the short horizons are the full one divided by these
_SEEDS, _SHORT_SEEDS = range(5), range(3)
_A_DECADE = 8  # places of a grid of 0.125 decades; the plain grid takes every second place
_REACH = 20  # places from the middle of the grid to its ends: 2.5 decades
_INSIDE = 12  # places that at least lie between the best rate and either end
_TOO_NEAR = 6  # a best rate that is so near to an end widens the grid
_DENSE = 4  # places around the best rate within which every one is trained
# Trained at all rates at once, where that is several times faster and the runs are the same but for rounding.
_TOGETHER = frozenset(
    {
        "digits-logistic",
        "wine-tanh",
        "shoppers-machine",
        "photo-sine",
        "digits-smoothed",
        "cancer-residual",
        "diabetes-linear",
        "mnist-denoiser",
    }
)


def rate(one: Unlike, place: int) -> float:
    """Return the rate ``place`` eighths of a decade above the usual one."""
    return rounded(one.usual * 10 ** (place / _A_DECADE))


def compute_unlike_truth(names: Iterable[str] = (), folder: Path = UNLIKE_FOLDER) -> None:
    """Train what is missing, one training after the other; goes on where it was stopped."""
    for name in names or TRAININGS:
        _Truth(TRAININGS[name], folder).complete()
        print(f"{name}: complete", flush=True)


class _Truth:
    """The runs of one training while they are made."""

    def __init__(self, one: Unlike, folder: Path) -> None:
        self._one, self._task = one, one.task()
        self._log = RunLog(folder / f"{one.name}.json", fingerprint(self._task))

    def complete(self) -> None:
        low, high = -_REACH, _REACH
        # A coarse look with one seed says where the grid of all seeds is to lie.
        self._make(range(low, high + 1, 4), (0,))
        best = self._best((0,), range(low, high + 1, 4))
        shift = min(best - _INSIDE - low, 0) or max(best + _INSIDE - high, 0)
        low, high = low + shift, high + shift
        while True:
            self._make(range(low, high + 1, 2), _SEEDS)
            best = self._best(_SEEDS, range(low, high + 1, 2))
            if best - low > _TOO_NEAR and high - best > _TOO_NEAR:
                break
            low, high = (low - 8, high) if best - low <= _TOO_NEAR else (low, high + 8)
        self._make(range(best - _DENSE, best + _DENSE + 1), _SEEDS)
        for fraction in FRACTIONS:
            self._make(range(low, high + 1, 2), _SHORT_SEEDS, max(1, self._task.horizon // fraction))

    def _make(self, places: Sequence[int], seeds: Iterable[int], steps: int | None = None) -> None:
        horizon = self._task.horizon if steps is None else steps
        for seed in seeds:
            lrs = [lr for place in places if ((lr := rate(self._one, place)), seed, horizon) not in self._log]
            if self._one.name in _TOGETHER:
                settings = [Setting(lr, seed, horizon) for lr in lrs]
                self._log.add(map(row_of, Population()(self._task, settings)) if lrs else ())
            for lr in () if self._one.name in _TOGETHER else lrs:
                self._log.add([trained(self._task, lr, seed, horizon)])

    def _best(self, seeds: Iterable[int], places: Iterable[int]) -> int:
        """Return the place with the lowest mean final loss; one at which a seed diverged is no candidate."""
        seeds = tuple(seeds)
        found = {(row.lr, row.seed): row.val for row in self._log.rows if row.steps == self._task.horizon}

        def mean(place: int) -> float:
            values = [found[rate(self._one, place), seed] for seed in seeds]
            return float(np.mean([math.inf if value is None else value for value in values]))

        return min(places, key=mean)
