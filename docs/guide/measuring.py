"""What the chapters share: small real trainings, many rates at once, means with their doubt, tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from stepsize.tasks import build_task
from stepsize.tasks.models import mlp
from stepsize.training import Changes, Population, Run, Setting, Task, varied
from stepsize.training.evaluate import evaluate
from stepsize.training.position import preserved
from stepsize.views import number_text

__all__ = [
    "FULL", "SHORT", "SMALL", "Effort", "Grid", "Mean", "Measured", "Tuned", "change_text", "decades",
    "difference_text", "pairs", "per_cent", "small_task", "table", "trained", "tuned", "untrained",
]  # fmt: skip

# Networks so small that a hundred of them train together; data and split are those of the built-in tasks.
SMALL = {
    "digits": ("digits-mlp", (64, 64, 10)),
    "cancer": ("cancer-mlp", (30, 64, 2)),
    "diabetes": ("diabetes-regression", (10, 64, 1)),
}


@dataclass(frozen=True)
class Effort:
    """How much is measured: in full for the pages, or just enough to see that a chapter runs."""

    full: bool

    def __call__(self, full: int, short: int) -> int:
        """Return the number for this effort."""
        return full if self.full else short

    @property
    def tuning(self) -> tuple[int, ...]:
        """The seeds that choose a rate."""
        return tuple(range(self(3, 1)))

    @property
    def judging(self) -> tuple[int, ...]:
        """The seeds that judge it, which it has not seen."""
        return tuple(range(10, self(15, 12)))


FULL, SHORT = Effort(full=True), Effort(full=False)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a chapter measured.

    Attributes:
        gist: The answer in one sentence.
        numbers: By name; finite.
        blocks: What stands between the markers of the page, by the marker's name.
        figures: Charts by the name of their file.
    """

    gist: str
    numbers: Mapping[str, float]
    blocks: Mapping[str, str]
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Mean:
    """A mean over seeds and half of its 95 % interval, by Student's t."""

    value: float
    half: float

    @classmethod
    def of(cls, values: ArrayLike) -> Mean:
        """Return the mean of ``values``, of two at least."""
        array = np.asarray(values, dtype=float)
        error = float(array.std(ddof=1)) / math.sqrt(len(array))
        return cls(float(array.mean()), float(stats.t.ppf(0.975, len(array) - 1)) * error)

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return abs(self.value) > self.half

    def __str__(self) -> str:
        return f"{number_text(self.value)} ± {number_text(self.half, 2)}"


@dataclass(frozen=True, eq=False)
class Grid:
    """Trainings over rates and seeds; a diverged one counts as an untrained model, and none counts more."""

    lrs: tuple[float, ...]
    seeds: tuple[int, ...]
    runs: Mapping[tuple[float, int], Run]
    cap: float

    def losses(self, lr: float, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Return the final loss on unseen data of each seed."""
        found = [self.runs[lr, seed].val_loss for seed in (self.seeds if seeds is None else seeds)]
        return np.minimum(np.nan_to_num(found, nan=self.cap, posinf=self.cap), self.cap)

    def train_losses(self, lr: float) -> NDArray[np.float64]:
        """Return the training loss at the end of each seed."""
        found = [self.runs[lr, seed].train_loss for seed in self.seeds]
        return np.minimum(np.nan_to_num(found, nan=self.cap, posinf=self.cap), self.cap)

    def diverged(self, lr: float) -> int:
        """Return how many runs diverged at ``lr``."""
        return sum(self.runs[lr, seed].divergence is not None for seed in self.seeds)

    def means(self, seeds: Sequence[int] | None = None) -> NDArray[np.float64]:
        """Return the mean loss at each rate."""
        return np.asarray([self.losses(lr, seeds).mean() for lr in self.lrs])

    def best(self, seeds: Sequence[int] | None = None) -> float:
        """Return the rate with the lowest mean loss of ``seeds``, of those at which none of them diverged."""
        chosen = self.seeds if seeds is None else tuple(seeds)
        whole = [lr for lr in self.lrs if not any(self.runs[lr, seed].divergence for seed in chosen)]
        return min(whole or self.lrs, key=lambda lr: float(self.losses(lr, chosen).mean()))

    def best_train(self) -> float:
        """Return the rate with the lowest mean training loss."""
        return min(self.lrs, key=lambda lr: float(self.train_losses(lr).mean()))

    def lost_from(self) -> float:
        """Return the lowest rate at which most runs diverged; infinite where there is none."""
        return min((lr for lr in self.lrs if 2 * self.diverged(lr) > len(self.seeds)), default=math.inf)

    def basin(self, tolerance: float) -> tuple[float, float]:
        """Return the ends of the rates around the best whose mean loss is at most so much worse, gaplessly."""
        means, place = self.means(), self.lrs.index(self.best())
        good = means <= means[place] * (1 + tolerance)
        low = high = place
        while low > 0 and good[low - 1]:
            low -= 1
        while high < len(good) - 1 and good[high + 1]:
            high += 1
        return self.lrs[low], self.lrs[high]


def small_task(name: str, optimizer: str = "sgd", *, steps: int = 200, schedule: Any = None, **parts: Any) -> Task:
    """Return one of the small trainings of the guide, on the data of a built-in task; constant unless scheduled."""
    built, sizes = SMALL[name]
    task = build_task(built, optimizer=optimizer, steps=steps, device="cpu")
    return replace(task, model=partial(mlp, sizes), schedule=schedule, name=f"small {name}", **parts)


def trained(
    task: Task, lrs: Sequence[float], seeds: Sequence[int], *, changes: Changes | None = None, evals: Sequence[int] = ()
) -> Grid:
    """Train ``task``, with ``changes``, at every rate under every seed."""
    changes = changes or Changes()
    steps = varied(task, changes).horizon
    settings = [Setting(lr, seed, steps, changes=changes) for seed in seeds for lr in lrs]
    runs = Population(evals=evals)(task, settings)
    found = {(setting.lr, setting.seed): run for setting, run in zip(settings, runs, strict=True)}
    return Grid(tuple(lrs), tuple(seeds), found, untrained(task))


@dataclass(frozen=True, eq=False)
class Tuned:
    """A training at the rate that some seeds chose, judged by others.

    Attributes:
        lr: The rate.
        losses: Of the judging seeds.
        grid: Of all seeds.
    """

    lr: float
    losses: NDArray[np.float64]
    grid: Grid

    @property
    def mean(self) -> Mean:
        """The mean of the judging seeds."""
        return Mean.of(self.losses)

    @property
    def at_edge(self) -> bool:
        """Whether the rate is the lowest or the highest that was tried."""
        return self.lr in (self.grid.lrs[0], self.grid.lrs[-1])


def tuned(task: Task, lrs: Sequence[float], effort: Effort, *, changes: Changes | None = None) -> Tuned:
    """Return ``task`` at the best of ``lrs``."""
    grid = trained(task, lrs, (*effort.tuning, *effort.judging), changes=changes)
    lr = grid.best(effort.tuning)
    return Tuned(lr, grid.losses(lr, effort.judging), grid)


def untrained(task: Task) -> float:
    """Return the loss on unseen data before training."""
    with preserved(seed=task.seed):
        return float(evaluate(task, task.model(), step=0).evaluation.loss)


def decades(low: float, high: float, a_decade: int) -> tuple[float, ...]:
    """Return rates from ``low`` to ``high``, evenly spaced on a log scale."""
    count = round(math.log10(high / low) * a_decade) + 1
    return tuple(float(f"{lr:.3g}") for lr in np.geomspace(low, high, max(2, count)))


def pairs(better: ArrayLike, base: ArrayLike) -> Mean:
    """Return by which share ``better`` differs from ``base``, seed by seed; negative is lower."""
    first, second = np.asarray(better, dtype=float), np.asarray(base, dtype=float)
    return Mean.of((first - second) / second.mean())


def difference_text(difference: Mean, other: str) -> str:
    """Return in words how a loss differs from that of ``other``, and whether the noise allows to tell it."""
    if not difference.clear:
        return f"within the noise of {other} ({per_cent(difference.value, sign=True)} ± {per_cent(difference.half)})"
    word = "lower" if difference.value < 0 else "higher"
    return f"{per_cent(abs(difference.value))} ± {per_cent(difference.half)} {word} than {other}"


def change_text(difference: Mean) -> str:
    """Return a relative difference for a table: bold where it is beyond the noise."""
    value = per_cent(difference.value, sign=True)
    return f"{f'**{value}**' if difference.clear else value} ± {per_cent(difference.half)}"


def per_cent(share: float, *, sign: bool = False) -> str:
    """Return a fraction as a percentage with two digits."""
    value = 100 * share
    text = f"{value:+,.1f}" if sign else f"{value:,.1f}"
    if abs(value) >= 9.95:
        text = f"{value:+,.0f}" if sign else f"{value:,.0f}"
    return f"{text}%"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; numbers with three digits."""
    cells = [[number_text(cell) if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    lines = [list(heads), ["---"] * len(heads), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
