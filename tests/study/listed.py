"""A strategy for tests of the engine."""

from __future__ import annotations

from collections.abc import Sequence

from stepsize.study.strategy import Job
from stepsize.training.runs import Run, Trial


class Listed:
    """The strategy that learns nothing: jobs from a list, in their order."""

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
        """Remove the job of ``run``."""
        del self._running[run.key]

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:
        """Remove the jobs of ``runs``."""
        told = {run.key for run in runs}
        self._waiting = [job for job in self._waiting if job.key not in told]

    def remaining(self) -> int:
        """Return how many jobs are left."""
        return len(self._waiting) + len(self._running)

    @property
    def done(self) -> bool:
        """Whether all jobs were told."""
        return not self._waiting and not self._running
