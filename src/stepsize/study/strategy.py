"""What a strategy is: it says which run comes next, given what came of those before. Pure; it trains nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stepsize.study.jobs import Job
from stepsize.training.runs import Run, Trial

__all__ = ["Listed", "Strategy"]


class Strategy(Protocol):
    """Decides what a study trains.

    Its decisions follow from its arguments and from what it was told, in that order: never from a clock or from
    chance without a seed. So one that is made anew and restored asks for what the old one would have asked for.
    """

    def ask(self) -> Job | None:
        """Return the next run to be made, which is then awaited; None if nothing may start now, or all is done."""

    def tell(self, run: Run) -> None:
        """Take what came of a job that was asked for; its ``trial``, ``share``, ``seed`` and ``cost`` are set."""

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:
        """Take up a study that was stopped: ``trials`` were asked for, ``runs`` were told, in that order.

        Called once, before anything is asked for. Jobs that were asked for and not told are asked for again.
        """

    def remaining(self) -> tuple[int, float]:
        """Return how many runs are still to come and what they cost in full runs, as far as can be foreseen."""

    @property
    def done(self) -> bool:
        """Whether everything was told and nothing is left to ask for."""

    @property
    def notes(self) -> Sequence[str]:
        """What it did by itself, as sentences."""


class Listed:
    """The strategy that learns nothing: jobs from a list, in their order.

    Args:
        jobs: Which; no two with the same trial, share and seed.

    Example:
        >>> jobs = [Job(Trial(number, {"lr": lr}), 1.0, seed=0) for number, lr in enumerate((0.01, 0.1))]
        >>> Listed(jobs).remaining()
        (2, 2.0)
    """

    notes: Sequence[str] = ()

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._waiting = list(jobs)
        self._running: dict[tuple[int, float, int], Job] = {}

    def ask(self) -> Job | None:
        """Return the next job of the list."""
        if not self._waiting:
            return None
        job = self._waiting.pop(0)
        self._running[job.key] = job
        return job

    def tell(self, run: Run) -> None:
        """Cross a job off."""
        del self._running[run.key]

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:  # noqa: ARG002  the list has them
        """Cross off what was told."""
        told = {run.key for run in runs}
        self._waiting = [job for job in self._waiting if job.key not in told]

    def remaining(self) -> tuple[int, float]:
        """Return how many jobs are left, and their shares."""
        left = [*self._waiting, *self._running.values()]
        return len(left), float(sum(job.share for job in left))

    @property
    def done(self) -> bool:
        """Whether all jobs were told."""
        return not self._waiting and not self._running
