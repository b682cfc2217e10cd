"""The loss at any rate, read from ground truth, and the regret of choosing that rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.combos import GRID
from benchmarks.runlog import Row

__all__ = ["Regret", "TruthCurve"]


@dataclass(frozen=True)
class Regret:
    """What choosing a rate costs.

    Attributes:
        value: (loss at the rate − loss at the best rate) / loss at the best rate.
        error: Standard error of ``value`` from the seeds of the truth; NaN with one seed.
        diverged: Whether most seeds diverge at the rate of the grid that lies nearest.
        outside: Whether the rate lies outside the grid, whose end then stands for it.
    """

    value: float
    error: float
    diverged: bool
    outside: bool


@dataclass(frozen=True, eq=False)
class TruthCurve:
    """Final losses over rates × seeds. A diverged run counts as much as an untrained model, and none counts more.

    Attributes:
        lrs: The rates, rising, shape ``(rates,)``.
        losses: Final losses, at most that of the untrained model, shape ``(seeds, rates)``.
        diverged: Which runs diverged, shape ``(seeds, rates)``.
        cap: The loss of the untrained model.
    """

    lrs: NDArray[np.float64]
    losses: NDArray[np.float64]
    diverged: NDArray[np.bool_]
    cap: float

    @classmethod
    def of(cls, rows: Iterable[Row], cap: float, grid: Sequence[float] = GRID) -> TruthCurve | None:
        """Build the curve from the seeds that have all of ``grid``, at the rates that they share; None without any."""
        by_seed: dict[int, dict[float, Row]] = {}
        for row in rows:
            by_seed.setdefault(row.seed, {})[row.lr] = row
        complete = [runs for _, runs in sorted(by_seed.items()) if all(lr in runs for lr in grid)]
        if not complete:
            return None
        shared = sorted(set.intersection(*(set(runs) for runs in complete)))
        losses = [[cap if (val := runs[lr].val) is None else min(val, cap) for lr in shared] for runs in complete]
        diverged = [[runs[lr].val is None for lr in shared] for runs in complete]
        return cls(np.asarray(shared), np.asarray(losses), np.asarray(diverged), cap)

    @property
    def seeds(self) -> int:
        return len(self.losses)

    @property
    def best(self) -> int:
        """The index of the rate with the lowest mean loss, of those at which no seed diverged."""
        means = np.where(self.diverged.any(axis=0), math.inf, self.losses.mean(axis=0))
        return int(np.argmin(means))

    @property
    def best_lr(self) -> float:
        return float(self.lrs[self.best])

    @property
    def best_loss(self) -> float:
        return float(self.losses[:, self.best].mean())

    @property
    def best_error(self) -> float:
        """The standard error of the best loss, relative to it; NaN with one seed."""
        return _standard_error(self.losses[:, self.best]) / self.best_loss

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is an end of the grid."""
        return self.best in (0, len(self.lrs) - 1)

    def good(self, tolerance: float) -> tuple[float, float]:
        """Return the lowest and highest rate around the best whose regret is at most ``tolerance``, gaplessly."""
        good = self.losses.mean(axis=0) <= self.best_loss * (1 + tolerance)
        low = high = self.best
        while low > 0 and good[low - 1]:
            low -= 1
        while high < len(good) - 1 and good[high + 1]:
            high += 1
        return float(self.lrs[low]), float(self.lrs[high])

    def losses_at(self, lr: float) -> NDArray[np.float64]:
        """Return each seed's loss at ``lr``, linear in log lr between the rates of the grid, shape ``(seeds,)``."""
        logs = np.log(self.lrs)
        return np.asarray([np.interp(math.log(lr), logs, losses) for losses in self.losses])

    def of_seeds(self, seeds: Sequence[int]) -> TruthCurve:
        """Return the curve of some of the seeds."""
        return replace(self, losses=self.losses[seeds], diverged=self.diverged[seeds])

    def served(self, lr: float, seed: int) -> tuple[float, bool]:
        """Return what a run at ``lr`` would end with under ``seed``: its loss, and whether it diverged.

        A run diverges where the nearer of the two rates of the grid around it does; beside such a rate the loss is that
        of the nearer one, since a curve that falls off a cliff is no line there.
        """
        place = float(np.interp(math.log(lr), np.log(self.lrs), np.arange(len(self.lrs))))
        nearer, around = round(place), {math.floor(place), math.ceil(place)}
        if self.diverged[seed, nearer]:
            return self.cap, True
        if any(self.diverged[seed, at] for at in around):
            return float(self.losses[seed, nearer]), False
        return float(np.interp(place, np.arange(len(self.lrs)), self.losses[seed])), False

    def regret(self, lr: float) -> Regret:
        """Return what choosing ``lr`` instead of the best rate costs."""
        excess = (self.losses_at(lr) - self.losses[:, self.best]) / self.best_loss
        nearest = int(np.argmin(np.abs(np.log(self.lrs / lr))))
        return Regret(
            value=float(excess.mean()),
            error=_standard_error(excess),
            diverged=bool(2 * self.diverged[:, nearest].sum() > self.seeds),
            outside=not self.lrs[0] <= lr <= self.lrs[-1],
        )


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
