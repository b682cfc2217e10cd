"""The ground truth as tables, seed by seed, with a best rate that is chosen by the other seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.combos import Combo, all_combos
from benchmarks.runlog import Row, RunLog
from benchmarks.truth import TRUTH_FOLDER

__all__ = ["Finals", "load_finals"]

_NEAR = 0.16  # decades: the grid is 0.3 apart

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Finals:
    """What full runs of one task with one optimizer ended with; a lost one counts as the untrained model.

    Attributes:
        lrs: The rates, rising, shape ``(rates,)``.
        val: Loss on unseen data, shape ``(seeds, rates)``.
        unseen: As ``val``, but as it was where a training ended worse than it began, and NaN where it diverged.
        train: Training loss over the last tenth of the updates, likewise; NaN where a run diverged.
        metric: The task's metric on unseen data, likewise; NaN where there is none.
        diverged: Which runs diverged, likewise.
    """

    lrs: Array
    val: Array
    unseen: Array
    train: Array
    metric: Array
    diverged: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Iterable[Row], untrained: float) -> Finals:
        """Build the tables from the rates that all seeds share."""
        by_seed: dict[int, dict[float, Row]] = {}
        for row in rows:
            by_seed.setdefault(row.seed, {})[row.lr] = row
        lrs = sorted(set.intersection(*(set(runs) for runs in by_seed.values())))
        table = [[runs[lr] for lr in lrs] for _, runs in sorted(by_seed.items())]
        val = [[untrained if row.val is None else min(row.val, untrained) for row in runs] for runs in table]
        unseen = [[math.nan if row.val is None else row.val for row in runs] for runs in table]
        train = [[math.nan if row.train is None else row.train for row in runs] for runs in table]
        metric = [[math.nan if row.metric is None else row.metric for row in runs] for runs in table]
        lost = [[row.val is None for row in runs] for runs in table]
        losses = {"val": val, "unseen": unseen, "train": train, "metric": metric}
        return cls(np.asarray(lrs), diverged=np.asarray(lost), **{name: np.asarray(of) for name, of in losses.items()})

    @property
    def seeds(self) -> int:
        """How many seeds there are."""
        return len(self.val)

    def best_for(self, seed: int, *, by: str = "val") -> int:
        """Return the index of the rate that the other seeds find best, of those where none of them diverged."""
        others = np.arange(self.seeds) != seed
        table: Array = getattr(self, by)
        means = np.where(self.diverged[others].any(axis=0), math.inf, table[others].mean(axis=0))
        return int(np.argmin(means))

    def highest_sound(self, index: int, low: float, high: float) -> int | None:
        """Return the highest rate from ``low`` to ``high`` times that of ``index`` at which no seed diverged."""
        ratio = self.lrs / self.lrs[index]
        sound = (ratio >= 0.97 * low) & (ratio <= 1.03 * high) & ~self.diverged.any(axis=0)
        return int(np.flatnonzero(sound)[-1]) if sound.any() else None

    def best(self) -> float:
        """Return the best rate of all seeds."""
        means = np.where(self.diverged.any(axis=0), math.inf, self.val.mean(axis=0))
        return float(self.lrs[int(np.argmin(means))])

    def beside(self, index: int, factor: float) -> int | None:
        """Return the index of the rate nearest to ``factor`` times that of ``index``; None where the grid has none."""
        distance = np.abs(np.log10(self.lrs / (self.lrs[index] * factor)))
        nearest = int(np.argmin(distance))
        return nearest if distance[nearest] <= _NEAR else None

    def nearest(self, lr: float) -> int:
        """Return the index of the rate nearest to ``lr``."""
        return int(np.argmin(np.abs(np.log(self.lrs / lr))))


def load_finals(folder: Path = TRUTH_FOLDER) -> dict[Combo, Finals]:
    """Return the tables of all tasks × optimizers that have a file. Fingerprints are not held against the tasks."""
    tables = {}
    for combo in all_combos():
        path = folder / f"{combo.name}.json"
        if path.exists():
            known = json.loads(path.read_text(encoding="utf-8"))["fingerprint"]
            tables[combo] = Finals.of(RunLog(path, known).rows, known["untrained"])
    return tables
