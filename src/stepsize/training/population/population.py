"""The population executor: many configurations of a task at once, as stacked tensors in one process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from typing import final
from weakref import WeakKeyDictionary

import torch

from stepsize.checks import check_whole
from stepsize.errors import NotStackableError
from stepsize.training.batches import TensorBatches
from stepsize.training.border import inspect_task
from stepsize.training.loop import InOrder, check_evals, train_together
from stepsize.training.memory import free_memory
from stepsize.training.population.dry_run import DryRun
from stepsize.training.population.vectorized import VectorizedRuns, check_stacking
from stepsize.training.runs import Run, Setting, Watcher
from stepsize.training.task import Task
from stepsize.training.variation import varied

_MOST = 128  # members; beyond, nothing is gained on any device that was measured
_MEMORY_SHARE = 0.25  # of the free memory that a chunk may take


@final
class Population:
    """Trains many configurations of a task at once: their parameters are stacked, and one step updates all of them.

    Configurations of one seed and horizon start from the same weights, and see the same batches and the same dropout.
    Each run equals the one that :class:`~stepsize.training.InOrder` makes, but for rounding. A run that diverges is
    recorded, and the others continue without it. What cannot be stacked (recurrent layers, control flow that depends
    on data, optimizers without a stacked form, fp16) is trained sequentially; :attr:`reasons` says why.

    Args:
        chunk: Largest number of members. Default: what a quarter of the free memory holds, at most 128. If that
            is less than two, they are trained sequentially.
        on_message: Called with the reason, one line, if a task cannot be stacked.
        evals: Steps after which to evaluate on validation data, in addition to the last.

    Raises:
        InputError: If ``chunk`` or an evaluation step is not a whole number >= 1.

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
        self, chunk: int | None = None, on_message: Callable[[str], None] | None = None, evals: Iterable[int] = ()
    ) -> None:
        self._chunk = None if chunk is None else check_whole("chunk", chunk, unit="members")
        self._on_message = on_message
        self._evals = check_evals(evals)
        self._alone = InOrder(self._evals)
        self._known: WeakKeyDictionary[Task, dict[Hashable, DryRun | str]] = WeakKeyDictionary()
        self.reasons: list[str] = []

    def __call__(self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None) -> list[Run]:
        """Train ``task`` with each configuration and return the runs in that order."""
        runs = dict(self.stream(task, settings, on_progress=on_progress))
        return [runs[place] for place in range(len(settings))]

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield the place in ``settings`` of each run, and the run, chunk by chunk."""
        for places in _grouped(task, settings):
            pending = list(places)
            while pending:
                chunk = pending[: self._size(task, settings[pending[0]])]
                done = self._train(task, [settings[place] for place in chunk], on_progress)
                yield from zip(chunk, done, strict=False)  # fewer come back where memory ran out
                pending = pending[len(done) :]

    def _train(self, task: Task, settings: Sequence[Setting], on_progress: Watcher | None) -> list[Run]:
        known = self._info(task, settings[0])
        if isinstance(known, str) or len(settings) == 1:
            return self._alone(task, settings, on_progress=on_progress)
        tasks = [varied(task, setting.changes) for setting in settings]
        try:
            build = partial(VectorizedRuns, tasks, settings, known)
            return train_together(tasks, settings, build, self._evals, on_progress)
        except NotStackableError as reason:  # what only the whole list shows: an optimizer of another class
            self._tell(str(reason))
            return self._alone(task, settings, on_progress=on_progress)
        except torch.OutOfMemoryError:
            pass  # of which the next try takes half; not within this handler, which holds the tensors
        self._chunk = max(1, len(settings) // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._train(task, settings[: self._chunk], on_progress)

    def _info(self, task: Task, setting: Setting) -> DryRun | str:
        """Return what is known of settings like this one, or the reason why they cannot be stacked."""
        inspect_task(task)
        known = self._known.setdefault(task, {})
        key = _kind(task, setting)
        if key not in known:
            try:
                if task.precision == "fp16":
                    raise NotStackableError("fp16 needs a gradient scaler, which skips updates of all members together")
                known[key] = check_stacking(varied(task, setting.changes), setting, memory=_memory(task))
            except NotStackableError as reason:
                known[key] = str(reason)
                self._tell(str(reason))
        return known[key]

    def _size(self, task: Task, setting: Setting) -> int:
        known = self._info(task, setting)
        if isinstance(known, str):
            return 1  # sequentially: each run is reported as it ends
        return max(1, min(int(_memory(task) // max(1, known.memory)), self._chunk or _MOST))

    def _tell(self, reason: str) -> None:
        line = f"trained sequentially: {reason}"
        if line not in self.reasons:
            self.reasons.append(line)
            if self._on_message is not None:
                self._on_message(line)


def _memory(task: Task) -> float:
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
