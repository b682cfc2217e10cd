"""Executors: what takes a list of settings and returns their curves. Here: one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

from stepsize.errors import TaskError
from stepsize.training.loop import as_marks, train_setting
from stepsize.training.runs import Run, Setting, Watcher
from stepsize.training.task import Task

__all__ = ["Executor", "InOrder", "StreamingExecutor"]


class Executor(Protocol):
    """Trains one task with each of several settings.

    An executor promises that runs of one seed start from the same weights and see the same batches, that
    a run that diverges does not touch the others, and that the runs come back in the order of the settings.
    """

    def __call__(self, task: Task, settings: Sequence[Setting], *, watcher: Watcher | None = None) -> list[Run]: ...


class StreamingExecutor(Executor, Protocol):
    """An executor that also hands out each run as it ends."""

    def stream(
        self, task: Task, settings: Sequence[Setting], *, watcher: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield (place of the setting in the list, run) as each run ends, in any order."""


class InOrder:
    """Trains the settings one after the other, in this process.

    It checks that the model factory gives the same weights for the same seed: otherwise rates
    would be compared from different starts (a factory that returns the same model twice goes on training it).

    Args:
        marks: Numbers of updates after which to evaluate on unseen data, besides the end.

    Raises:
        InputError: If a mark is no whole number >= 1.
        TaskError: When called, if the factory gives other weights for a seed that was seen before.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: torch.nn.Linear(1, 1), loss=torch.nn.functional.mse_loss, train=(x, 3 * x),
        ...             optimizer="sgd", steps=50)
        >>> runs = InOrder()(task, [Setting(lr, seed=0, steps=50) for lr in (0.01, 0.1)])
        >>> runs[0].initial == runs[1].initial, runs[0].train_loss > runs[1].train_loss
        (True, True)
    """

    def __init__(self, marks: Iterable[int] = ()) -> None:
        self._marks = as_marks(marks)
        self._initial: WeakKeyDictionary[Task, dict[int, str]] = WeakKeyDictionary()

    def __call__(self, task: Task, settings: Sequence[Setting], *, watcher: Watcher | None = None) -> list[Run]:
        """Train ``task`` with each setting and return the runs in that order."""
        return [run for _, run in self.stream(task, settings, watcher=watcher)]

    def stream(
        self, task: Task, settings: Sequence[Setting], *, watcher: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield the place of each setting and its run as it ends."""
        for place, setting in enumerate(settings):
            yield place, self._train(task, setting, watcher)

    def _train(self, task: Task, setting: Setting, watcher: Watcher | None) -> Run:
        run = train_setting(task, setting, marks=self._marks, watcher=watcher)
        if self._initial.setdefault(task, {}).setdefault(setting.seed, run.initial) != run.initial:
            raise TaskError(
                "model",
                f"other initial weights for the same seed {setting.seed}",
                "must return the same new model whenever it is called under the same seed",
                "Build the model inside the factory, or return copy.deepcopy(model); draw with torch's generator only",
            )
        return run
