"""The population executor: many settings of a task at once, as stacked tensors in one process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import final
from weakref import WeakKeyDictionary

import torch

from stepsize.errors import InputError, NotStackableError
from stepsize.training.batches import TensorBatches
from stepsize.training.border import inspect_task
from stepsize.training.executor import InOrder
from stepsize.training.loop import as_marks
from stepsize.training.memory import free_memory
from stepsize.training.population.cohort import Look, look, train_cohort
from stepsize.training.runs import Run, Setting, Watcher
from stepsize.training.task import Task
from stepsize.training.variation import varied

__all__ = ["Population"]

_MOST = 128  # members; beyond, nothing is gained on any device that was measured
_MEMORY_SHARE = 0.25  # of the free memory that a chunk may take


@final
class Population:
    """Trains many settings of a task at once: their parameters are stacked, and one step updates all of them.

    Settings of one seed and horizon start from the same weights, and see the same batches and the same dropout: what
    differs between their runs is what was set. Each run equals the one that :class:`~stepsize.training.InOrder` makes,
    but for rounding. A run that diverges is recorded, and the others go on without it. What cannot be stacked
    (recurrent layers, control flow that depends on data, optimizers without a stacked form, fp16) is trained one
    after the other; :attr:`reasons` says why.

    Args:
        chunk: The most members at once; None takes what a quarter of the free memory holds, at most 128. Where that
            is less than two, they are trained one after the other.
        told: Called with the reason, one line, when a task cannot be stacked.
        marks: Numbers of updates after which to evaluate on unseen data, besides the end.

    Raises:
        InputError: If ``chunk`` or a mark is no whole number >= 1.

    Example:
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: torch.nn.Linear(1, 1), loss=torch.nn.functional.mse_loss, train=(x, 3 * x),
        ...             optimizer="sgd", steps=50)
        >>> population = Population()
        >>> runs = population(task, [Setting(lr, seed=0, steps=50) for lr in (0.01, 0.1, 0.5)])
        >>> [round(run.train_loss, 3) for run in runs], population.reasons
        ([1.681, 0.004, 0.0], [])
    """

    def __init__(
        self, chunk: int | None = None, told: Callable[[str], None] | None = None, marks: Iterable[int] = ()
    ) -> None:
        if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
            raise InputError("chunk", chunk, "must be a whole number of members, at least 1")
        self._chunk = chunk
        self._told = told
        self._marks = as_marks(marks)
        self._alone = InOrder(self._marks)
        self._known: WeakKeyDictionary[Task, dict[Hashable, Look | str]] = WeakKeyDictionary()
        self.reasons: list[str] = []

    def __call__(self, task: Task, settings: Sequence[Setting], *, watcher: Watcher | None = None) -> list[Run]:
        """Train ``task`` with each setting and return the runs in that order."""
        runs = dict(self.stream(task, settings, watcher=watcher))
        return [runs[place] for place in range(len(settings))]

    def stream(
        self, task: Task, settings: Sequence[Setting], *, watcher: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield the place of each setting and its run, chunk by chunk."""
        for places in _grouped(task, settings):
            pending = list(places)
            while pending:
                chunk = pending[: self._size(task, settings[pending[0]])]
                done = self._train(task, [settings[place] for place in chunk], watcher)
                yield from zip(chunk, done, strict=False)  # fewer come back where memory ran out
                pending = pending[len(done) :]

    def fits(self, task: Task, setting: Setting) -> str | None:
        """Return why runs of ``task`` like ``setting`` cannot be stacked, in one line; None where they can."""
        found = self._look(task, setting)
        return found if isinstance(found, str) else None

    def _train(self, task: Task, settings: Sequence[Setting], watcher: Watcher | None) -> list[Run]:
        known = self._look(task, settings[0])
        if isinstance(known, str) or len(settings) == 1:
            return self._alone(task, settings, watcher=watcher)
        tasks = [varied(task, setting.changes) for setting in settings]
        try:
            return train_cohort(tasks, settings, known, watcher, self._marks)
        except NotStackableError as reason:  # what only the whole list shows: optimizers that differ in kind
            self._tell(str(reason))
            return self._alone(task, settings, watcher=watcher)
        except torch.OutOfMemoryError:
            if len(settings) == 1:
                raise
        self._chunk = max(1, len(settings) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._train(task, settings[: self._chunk], watcher)

    def _look(self, task: Task, setting: Setting) -> Look | str:
        """Return what is known of the settings like this one; the reason where they cannot be stacked."""
        inspect_task(task)
        known = self._known.setdefault(task, {})
        key = _kind(task, setting)
        if key not in known:
            try:
                known[key] = _look(varied(task, setting.changes), setting)
            except NotStackableError as reason:
                known[key] = str(reason)
                self._tell(str(reason))
        return known[key]

    def _size(self, task: Task, setting: Setting) -> int:
        known = self._look(task, setting)
        if isinstance(known, str):
            return 1  # one by one: each run is told of as it ends
        return max(1, min(int(_room(task) // max(1, known.member)), self._chunk or _MOST))

    def _tell(self, reason: str) -> None:
        line = f"trained one after the other: {reason}"
        if line not in self.reasons:
            self.reasons.append(line)
            if self._told is not None:
                self._told(line)


def _look(task: Task, setting: Setting) -> Look:
    if task.precision == "fp16":
        raise NotStackableError("fp16 needs a gradient scaler, which skips updates of all members at once")
    return look(task, setting, room=_room(task))


def _room(task: Task) -> float:
    """Return the bytes that members of ``task`` may take."""
    return _MEMORY_SHARE * free_memory(torch.device(task.device or "cpu"))


def _grouped(task: Task, settings: Sequence[Setting]) -> list[list[int]]:
    """Return the places of those settings that can be trained together."""
    groups: dict[Hashable, list[int]] = {}
    for place, setting in enumerate(settings):
        key = (setting.seed, setting.steps, _kind(task, setting))
        groups.setdefault(key, []).append(place)
    return list(groups.values())


def _kind(task: Task, setting: Setting) -> Hashable:
    """Return what members of a population must agree on, beside seed and horizon."""
    train = varied(task, setting.changes).train
    data: Hashable = (
        (tuple(id(part) for part in train.tensors), train.batch_size, train.shuffle)
        if isinstance(train, TensorBatches)
        else id(train)
    )
    return (data, setting.changes.optimizer)
