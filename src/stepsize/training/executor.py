"""Executors: what takes a list of configurations and returns their curves. Here: sequentially."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from stepsize.training.border import not_fresh
from stepsize.training.loop import check_evals, train_setting
from stepsize.training.runs import Run, Setting, Watcher
from stepsize.training.task import Task


class StreamingExecutor(Protocol):
    """Trains one task with each of several configurations, and hands out each run as it ends.

    Runs of one seed start from the same weights and see the same batches, and a run that diverges does not affect the
    others.
    """

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield (place in ``settings``, run) as each run ends, in any order."""


class InOrder:
    """Trains the configurations sequentially, in this process, and evaluates after the steps ``evals`` too.

    TaskError if the model factory gives other weights for a seed that was seen before: rates would be compared from
    different starts.
    """

    def __init__(self, evals: Iterable[int] = ()) -> None:
        self._evals = check_evals(evals)
        self._initial: WeakKeyDictionary[Task, dict[int, str]] = WeakKeyDictionary()

    def __call__(self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None) -> list[Run]:
        """Train ``task`` with each configuration and return the runs in that order."""
        return [run for _, run in self.stream(task, settings, on_progress=on_progress)]

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield the place in ``settings`` of each run, and the run, as it ends."""
        for place, setting in enumerate(settings):
            yield place, self._train(task, setting, on_progress)

    def _train(self, task: Task, setting: Setting, on_progress: Watcher | None) -> Run:
        run = train_setting(task, setting, evals=self._evals, on_progress=on_progress)
        if self._initial.setdefault(task, {}).setdefault(setting.seed, run.initial) != run.initial:
            raise not_fresh(f"other initial weights for the same seed {setting.seed}")
        return run
