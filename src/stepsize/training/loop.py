"""The training loop: one run, or several that are updated on the same batches, and what takes a list of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from stepsize.checks import check_lr, check_whole, is_whole
from stepsize.curves.divergence import DivergenceRule
from stepsize.errors import InputError
from stepsize.training.batches import count_examples, holds_non_finite, nan_in_data
from stepsize.training.border import inspect_task, not_fresh, undisturbed
from stepsize.training.cost import update_passes
from stepsize.training.digest import digest
from stepsize.training.evaluate import Evaluated
from stepsize.training.forked import ForkedRuns, SequentialRuns, draw, updates
from stepsize.training.runs import Divergence, Evaluation, Progress, Run, Setting, Watcher
from stepsize.training.stepping import Stepper, reading_lag, rung_factors
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task
from stepsize.training.unlearnable import left_out
from stepsize.training.variation import varied


@takes_parts
def train(
    task: Task | Any,
    lr: float,
    *,
    seed: int | None = None,
    steps: int | None = None,
    evals: Iterable[int] = (),
    on_progress: Watcher | None = None,
) -> Run:
    """Train ``task`` once at the peak rate ``lr`` and return the recorded curve.

    Update t uses the rate ``lr`` * factor(t) in each group (times the group's own ratio). The run starts from
    a new model under ``seed``. The global random generators and the data's position are put back afterwards.

    Args:
        task: Task to train.
        lr: Peak learning rate, absolute, > 0.
        seed: Random seed for weight initialization, batch order and dropout. Default: the task's.
        steps: Number of steps; the schedule is stretched onto it. Default: the task's.
        evals: Steps after which to evaluate on validation data, in addition to the last.
        on_progress: Called with a :class:`~stepsize.training.Progress` after each update.

    Returns:
        The run; ``run.status`` says how it ended, ``run.model`` is the trained model.

    Raises:
        InputError: If ``lr``, ``seed``, ``steps`` or an evaluation step is out of range.
        TaskError: If the parts of the task do not fit together.

    Example:
        >>> from stepsize import Task
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: nn.Linear(1, 1), loss=nn.functional.mse_loss, train=(x, 3 * x),
        ...             val=(x, 3 * x), optimizer="sgd", steps=100)
        >>> run = train(task, 0.3)
        >>> run.status, run.val_loss < 1e-3
        ('Trained for 100 steps.', True)
    """
    task = Task.of(task)
    check_lr("lr", lr)
    setting = Setting(lr, task.seed if seed is None else seed, task.horizon if steps is None else steps)
    check_whole("steps", setting.steps)
    check_whole("seed", setting.seed, 0)
    wanted = frozenset(evals)
    if not all(1 <= step <= setting.steps for step in wanted):
        raise InputError("evals", sorted(wanted), f"must lie in 1 … {setting.steps}, the number of steps")
    return train_setting(task, setting, evals=wanted, on_progress=on_progress, keep_model=True)


def train_setting(
    task: Task,
    setting: Setting,
    *,
    evals: frozenset[int] = frozenset(),
    on_progress: Watcher | None = None,
    keep_model: bool = False,
) -> Run:
    """Train ``task``, varied as ``setting`` says, once: every executor that trains sequentially calls this."""
    inspect_task(task)
    task = varied(task, setting.changes)

    def build() -> SequentialRuns:
        return SequentialRuns([Stepper(task, setting.lr)])

    return train_together([task], [setting], build, evals, on_progress, keep_model=keep_model)[0]


def train_together(
    tasks: Sequence[Task],
    settings: Sequence[Setting],
    build: Callable[[], ForkedRuns],
    evals: frozenset[int],
    on_progress: Watcher | None,
    *,
    keep_model: bool = False,
) -> list[Run]:
    """Train all configurations, of one seed and horizon, on the same batches; return their runs in that order.

    Each has its task (``varied``); ``build`` builds the runs under the seed.
    """
    with undisturbed(tasks[0], settings[0].seed, inspected=True):
        return _Training(tasks, settings, build, evals, on_progress).run(keep_model=keep_model)


def check_evals(evals: Iterable[int]) -> frozenset[int]:
    """Return evaluation steps as a set, or raise InputError; those beyond the horizon of a run are never reached."""
    wanted = frozenset(evals)
    if not all(is_whole(step, 1) for step in wanted):
        raise InputError("evals", sorted(wanted, key=str), "must be whole numbers of steps, at least 1")
    return wanted


class _Training:
    """The state of runs that are trained together; those that diverge are dropped, so that the others get cheaper."""

    def __init__(
        self,
        tasks: Sequence[Task],
        settings: Sequence[Setting],
        build: Callable[[], ForkedRuns],
        evals: frozenset[int],
        on_progress: Watcher | None,
    ) -> None:
        self._since = time.perf_counter()
        self._task, self._steps = tasks[0], settings[0].steps
        self._evals = evals if self._task.val is not None else frozenset()
        self._on_progress = on_progress
        self._recordings = [Recording(task, setting) for task, setting in zip(tasks, settings, strict=True)]
        self._runs = build()
        self._initial = digest(dict(self._runs.model(0).state_dict()))
        tables = {id(task): rung_factors(task, self._steps) for task in tasks}  # most are one task
        self._factors = [tables[id(task)] for task in tasks]
        self._examples = self._batches = 0
        self._live = list(range(len(settings)))
        self._seconds = [0.0] * len(settings)
        self._unread: list[tuple[Tensor, Sequence[Any]]] = []  # losses still on the device, and their batches
        self._lag = reading_lag(self._task)

    def run(self, *, keep_model: bool = False) -> list[Run]:
        """Train to the end."""
        numbered = zip(range(self._steps), draw(self._task), strict=False)
        for update in updates(self._update, numbered, self._levels):
            step = update.step + 1
            self._examples += sum(count_examples(batch) for batch in update.batches)
            self._batches += len(update.batches)
            self._unread.append((update.losses, update.batches))
            if len(self._unread) >= self._lag or step == self._steps:
                self._read()
            if not self._live:
                break
            if step in self._evals and step < self._steps:
                self._evaluate(step)
            if self._on_progress is not None:
                for member in self._live:
                    recording = self._recordings[member]
                    self._on_progress(Progress(recording.setting, step, recording.last_loss))
        self._evaluate(self._steps)
        model = self._runs.model(0) if keep_model else None
        return [
            recording.run(seconds=seconds, examples=self._examples / self._batches, initial=self._initial, model=model)
            for recording, seconds in zip(self._recordings, self._seconds, strict=True)
        ]

    def _update(self, batches: Sequence[Any], levels: Sequence[float]) -> Tensor:
        return self._runs.update(batches, levels)  # those that are left

    def _levels(self, step: int) -> list[float]:
        return [self._factors[member][step] for member in self._live]

    def _read(self) -> None:
        """Read the losses since the last time, and drop runs that diverged; their step is exact, whatever the lag."""
        unread, self._unread = self._unread, []
        values = torch.stack([losses for losses, _ in unread]).double().tolist()
        diverged: set[int] = set()
        for row, (_, batches) in zip(values, unread, strict=True):
            for member, value in zip(self._live, row, strict=True):
                if member not in diverged and not self._recordings[member].take(value, batches):
                    diverged.add(member)
        if diverged:
            self._charge()
            places = [place for place, member in enumerate(self._live) if member not in diverged]
            self._live = [self._live[place] for place in places]
            if places:
                self._runs = self._runs.forked(places)

    def _evaluate(self, step: int) -> None:
        """Evaluate each run after ``step`` updates; the last evaluation may show that it diverged."""
        self._charge()
        if self._task.val is None:
            return
        for place, member in enumerate(self._live):
            recording = self._recordings[member]
            examples = recording.setting.val_examples
            recording.take_evaluation(self._runs.evaluate(recording.task, place, step, examples))
            self._charge([member])

    def _charge(self, members: Sequence[int] | None = None) -> None:
        """Divide the time since the last call between ``members``, by default all that are trained."""
        now = time.perf_counter()
        charged = self._live if members is None else members
        for member in charged:
            self._seconds[member] += (now - self._since) / len(charged)
        self._since = now


class Recording:
    """The record of one run of ``task`` (with the changes of ``setting`` applied); :meth:`run` returns the result."""

    def __init__(self, task: Task, setting: Setting) -> None:
        self.task = task
        self.setting = setting
        self._rule = DivergenceRule(setting.steps)
        self._losses: list[float] = []
        self._masked = False
        self._evaluations: list[Evaluation] = []
        self._val_examples = 0
        self.divergence: Divergence | None = None

    @property
    def last_loss(self) -> float | None:
        """The last training loss; None before the first."""
        return self._losses[-1] if self._losses else None

    def take(self, loss: float, batches: Iterable[Any]) -> bool:
        """Record the training loss of the next update, made on ``batches``; return whether the run continues."""
        step = len(self._losses)
        if not step:  # infinities that leave the first loss finite are meant, as in masks
            self._masked = math.isfinite(loss) and holds_non_finite(list(batches))
        self._losses.append(loss)
        if math.isnan(loss) and any(left_out(self.task, batch, "train", step) for batch in batches):
            return True
        reason = self._rule.update(loss)
        if not reason:
            return True
        self._blame_the_data("train", f"the batch of step {step}", loss, batches)
        self.divergence = Divergence(step, reason)
        return False

    def take_evaluation(self, done: Evaluated) -> None:
        """Record an evaluation on validation data; the run has diverged if its last one is not finite."""
        seen = done.evaluation
        self._val_examples += done.examples
        self._evaluations.append(seen)
        loss = seen.loss if done.has_loss else seen.metrics[self.task.objective]
        if seen.step == self.setting.steps and not math.isfinite(loss):
            self._blame_the_data("val", "the data", loss, self.task.val or ())
            self.divergence = Divergence(seen.step, f"the validation loss is {loss}")

    def run(self, *, seconds: float, examples: float, initial: str, model: nn.Module | None = None) -> Run:
        """Return the run; ``examples`` is the mean number of examples per training batch."""
        diverged = self.divergence
        batches = max(1, len(self._losses)) * self.task.accumulate
        seen = tuple(one for one in self._evaluations if diverged is None or one.step < diverged.step)
        run = Run(
            setting=self.setting,
            losses=np.asarray(self._losses),
            evaluations=seen,
            divergence=diverged,
            seconds=seconds,
            passes=update_passes(batches) + self._val_examples / max(1.0, examples),
            initial=initial,
            model=model,
        )
        return run.with_objective(self.task.objective, maximize=self.task.maximize)

    def _blame_the_data(self, argument: str, where: str, loss: float, batches: Iterable[Any]) -> None:
        if math.isfinite(loss) or self._masked or not any(holds_non_finite(batch) for batch in batches):
            return
        raise nan_in_data(argument, where)


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
