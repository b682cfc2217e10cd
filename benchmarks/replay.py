"""Trainings whose ground truth is known, replayed at no cost: any search of the rate can be tried on them.

A run at any rate is served from the truth of one seed, linear in the log of the rate between two rates of its grid; the
rate that a search picks is scored on the seeds that it did not train on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from benchmarks.combos import GRID, Combo, all_combos, build
from benchmarks.runlog import RunLog
from benchmarks.truth import SHORT, SHORT_FOLDER, TRUTH_FOLDER, fingerprint
from benchmarks.truth_curve import TruthCurve
from benchmarks.unlike.trainings import TRAININGS
from benchmarks.unlike.truth import FRACTIONS, UNLIKE_FOLDER
from stepsize.optimizers import OPTIMIZERS
from stepsize.training import Task

__all__ = ["SETS", "Case", "Replay", "Search", "Truth", "all_cases", "load_truth", "replayed", "select"]

SETS = ("built-in", "unlike, design", "unlike, held out")


@dataclass(frozen=True, order=True)
class Case:
    """One training that searches are scored on: a built-in task with an optimizer, or one of the sixteen others."""

    task: str
    optimizer: str
    set: str = SETS[0]

    @property
    def usual(self) -> float:
        """The rate that people start from with its optimizer."""
        return OPTIMIZERS[self.optimizer].default_lr if self.set == SETS[0] else TRAININGS[self.task].usual

    @property
    def name(self) -> str:
        return f"{self.task}, {self.optimizer}"

    def build(self, *, seed: int = 0) -> Task:
        """Return the task, to be run under ``seed``."""
        if self.set == SETS[0]:
            return build(Combo(self.task, self.optimizer), seed=seed)
        return TRAININGS[self.task].task(seed=seed)

    @property
    def path(self) -> Path:
        """The file of its ground truth."""
        if self.set == SETS[0]:
            return TRUTH_FOLDER / f"{Combo(self.task, self.optimizer).name}.json"
        return UNLIKE_FOLDER / f"{self.task}.json"

    def check(self) -> None:
        """Raise FingerprintError where the ground truth belongs to another definition of the training."""
        RunLog(self.path, fingerprint(self.build()))


def all_cases() -> tuple[Case, ...]:
    """Return every case, set by set."""
    built_in = [Case(combo.task, combo.optimizer) for combo in all_combos()]
    return (*built_in, *(Case(one.name, one.optimizer, SETS[1 + one.held_out]) for one in TRAININGS.values()))


def select(names: Iterable[str]) -> tuple[Case, ...]:
    """Return the cases whose task or set (also just ``"unlike"``) is among ``names``; with none, all.

    Raises:
        SystemExit: If a name is neither.
    """
    names = set(names)
    cases = all_cases()
    known = {case.task for case in cases} | {*SETS, "unlike"}
    if names - known:
        raise SystemExit(f"no such task or set: {', '.join(sorted(names - known))}; known: {', '.join(sorted(known))}")
    wanted = names | ({*SETS[1:]} if "unlike" in names else set())
    return tuple(case for case in cases if not names or case.task in wanted or case.set in wanted)


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of one case.

    Attributes:
        case: Of what.
        horizon: Steps of a full run.
        untrained: The validation loss at initialization.
        curves: By steps, the full horizon first.
        parameters: Number of parameters of the model.
    """

    case: Case
    horizon: int
    untrained: float
    curves: Mapping[int, TruthCurve]
    parameters: int = 0

    @property
    def full(self) -> TruthCurve:
        return self.curves[self.horizon]


def load_truth(cases: Iterable[Case]) -> Iterator[Truth]:
    """Yield the truth of each case that has one; a case that is still being measured is left out."""
    for case in cases:
        if not case.path.exists():
            continue
        log = RunLog.read(case.path)  # unchecked: what is replayed has no other training than that of the file
        horizon, untrained = log.fingerprint["steps"], log.fingerprint["untrained"]
        built_in = case.set == SETS[0]
        fractions = SHORT if built_in else FRACTIONS
        every = [*log.rows, *(RunLog.read(SHORT_FOLDER / case.path.name).rows if built_in else ())]
        curves = {}
        for steps in (horizon, *(max(1, horizon // fraction) for fraction in reversed(fractions))):
            rows = [row for row in every if row.steps == steps]
            curve = TruthCurve.of(rows, untrained, GRID if built_in else ())
            if curve is not None:
                curves[steps] = curve
        if len(curves) == 1 + len(fractions) and all(len(curve.lrs) >= len(GRID) for curve in curves.values()):
            yield Truth(case, horizon, untrained, curves, log.fingerprint["parameters"])


class Search(Protocol):
    """A search of the rate, as it is replayed.

    It may call ``run(lr, share, seed)`` -> (validation loss, diverged), where ``share`` is the fraction of the full
    horizon (with the whole schedule compressed into it) and ``seed`` counts from 0; ``price(share)`` is what such a run
    costs in full runs, and ``budget`` how many of these may be spent. It returns the rate that it recommends.
    """

    def __call__(self, run: Replay, usual: float, price: Price, budget: float, seed: int, /) -> float: ...


class Price(Protocol):
    """What a run over a fraction of the full horizon costs, in full runs."""

    def __call__(self, share: float) -> float: ...


@dataclass(eq=False)
class Replay:
    """Runs of one case, served from its truth.

    Args:
        truth: Of the case.
        first: The truth's seed that a search sees as its seed 0; the others follow in turn.

    Attributes:
        spent: What all runs so far cost, in full runs; one that diverged costs as much as any other.
        used: The truth's seeds that were trained on.
    """

    truth: Truth
    first: int = 0
    spent: float = 0.0
    used: set[int] = field(default_factory=set)

    @property
    def shares(self) -> tuple[float, ...]:
        """The fractions of the full horizon that can be asked for, the full one first."""
        return tuple(steps / self.truth.horizon for steps in self.truth.curves)

    def price(self, share: float) -> float:
        """Return what a run over the horizon nearest to ``share`` costs, in full runs."""
        return self._steps(share) / self.truth.horizon

    def __call__(self, lr: float, share: float = 1.0, seed: int = 0) -> tuple[float, bool]:
        """Return the final validation loss of a run, at most the untrained model's, and whether it diverged.

        The horizon is the nearest of :attr:`shares`; short ones may have fewer seeds than the full one, which then
        repeat.
        """
        curve = self.truth.curves[self._steps(share)]
        at = (self.first + seed) % self.truth.full.seeds % curve.seeds
        self.used.add(at)
        self.spent += self.price(share)
        return curve.served(lr, at)

    def score(self, lr: float) -> float:
        """Return the regret of ``lr`` on the seeds that were not trained on, served as runs are; on all without any."""
        full = self.truth.full
        others = [at for at in range(full.seeds) if at not in self.used]
        curve = full.of_seeds(others) if others else full
        ended = float(np.mean([curve.served(lr, at)[0] for at in range(curve.seeds)]))
        return (ended - curve.best_loss) / curve.best_loss

    def _steps(self, share: float) -> int:
        return min(self.truth.curves, key=lambda steps: abs(np.log(steps / (share * self.truth.horizon))))


def replayed(search: Search, truth: Truth, budget: float, seed: int) -> tuple[float, float, float]:
    """Return the rate that ``search`` picks, its regret, and what it spent, in full runs.

    The seed is that of the search, and rotates the truth's seeds: a search repeated over seeds trains on all of them.
    """
    replay = Replay(truth, first=seed % truth.full.seeds)
    lr = search(replay, truth.case.usual, replay.price, budget, seed)
    return lr, replay.score(lr), replay.spent
