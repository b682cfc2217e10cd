"""What a strategy is: it says which run comes next, given the results so far. Pure; it trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stepsize.curves.lr_model import Point
from stepsize.training.runs import Run, Trial, Value


@dataclass(frozen=True)
class Job:
    """One run to be made: a trial of some length with a seed.

    ``share`` is its length as a fraction of the full horizon, in (0, 1]; a short run has its own complete decay.
    """

    trial: Trial
    share: float
    seed: int

    @property
    def key(self) -> tuple[int, float, int]:
        """Trial number, length and seed: unique in a study."""
        return (self.trial.number, self.share, self.seed)


def point_of(run: Run) -> Point:
    """Return a run as the model of loss against rate takes it."""
    return Point(run.lr, run.value, run.share, run.seed, run.diverged)


def others_of(trial: Trial) -> frozenset[tuple[str, Value]]:
    """Return the values of a trial without its rate."""
    return frozenset((name, value) for name, value in trial.values.items() if name != "lr")


def sharing(runs: Sequence[Run], trial: Trial) -> list[Run]:
    """Return the runs that differ from ``trial`` in the rate only."""
    rest = others_of(trial)
    return [run for run in runs if others_of(run.trial) == rest]


class Strategy(Protocol):
    """Decides what a study trains.

    Its decisions follow from its arguments and from the runs it was told, in that order: never from a clock or from
    chance without a seed. So a new one that is restored asks for what the old one would have asked for.
    """

    def ask(self) -> Job | None:
        """Return the next run to be made, which is then awaited; None if nothing can start now, or all is done."""

    def tell(self, run: Run) -> None:
        """Take the result of a job that was asked for; its ``trial``, ``share``, ``seed`` and ``cost`` are set."""

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:
        """Continue a study that was stopped: ``trials`` were asked for, ``runs`` were told, in that order.

        Called once, before anything is asked for. Jobs that were asked for and not told are asked for again.
        """

    def remaining(self) -> int:
        """Return how many runs are still to come, as far as known."""

    @property
    def done(self) -> bool:
        """Whether everything was told and nothing is left to ask for."""

    @property
    def notes(self) -> Sequence[str]:
        """What it did automatically, as sentences."""
