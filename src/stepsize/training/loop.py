"""The plain training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from stepsize.errors import InputError
from stepsize.training.border import inspect_task, undisturbed
from stepsize.training.calling import judged
from stepsize.training.digest import digest
from stepsize.training.recording import Recording
from stepsize.training.runs import Progress, Run, Setting, Watcher
from stepsize.training.stepping import Stepper, reading_lag
from stepsize.training.task import Task
from stepsize.training.variation import varied

__all__ = ["as_marks", "check_lr", "train", "train_setting"]


def train(
    task: Task,
    lr: float,
    *,
    seed: int | None = None,
    steps: int | None = None,
    marks: Iterable[int] = (),
    watcher: Watcher | None = None,
) -> Run:
    """Train ``task`` once at the peak rate ``lr`` and return the recorded curve.

    Update t uses the rate ``lr`` * factor(t) in each group (times the group's own ratio). It starts from
    a new model under ``seed``, and leaves the global random generators and the data's position as they were.

    Args:
        task: What to train.
        lr: The peak learning rate, absolute, > 0.
        seed: Of initial weights, batch order and dropout; default the task's.
        steps: The horizon in updates; default the task's. The schedule is stretched onto it.
        marks: Numbers of updates after which to evaluate on unseen data, besides the end.
        watcher: Called with a :class:`~stepsize.training.Progress` after each update.

    Returns:
        The run; ``run.status`` says how it ended, ``run.model`` is the trained model.

    Raises:
        InputError: If ``lr``, ``seed``, ``steps`` or a mark is out of range.
        TaskError: If the parts of the task turn out not to fit together.

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
    check_lr("lr", lr)
    setting = Setting(lr, task.seed if seed is None else seed, task.horizon if steps is None else steps)
    for argument, number, least in (("steps", setting.steps, 1), ("seed", setting.seed, 0)):
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise InputError(argument, number, f"must be a whole number, at least {least}")
    wanted = frozenset(marks)
    if not all(1 <= mark <= setting.steps for mark in wanted):
        raise InputError("marks", sorted(wanted), f"must lie in 1 … {setting.steps}, the number of updates")
    return train_setting(task, setting, marks=wanted, watcher=watcher, keep_model=True)


def train_setting(
    task: Task,
    setting: Setting,
    *,
    marks: frozenset[int] = frozenset(),
    watcher: Watcher | None = None,
    keep_model: bool = False,
) -> Run:
    """Train ``task``, varied as ``setting`` says, once: what every executor that trains one by one calls."""
    inspect_task(task)
    task = varied(task, setting.changes)
    with undisturbed(task, setting.seed, inspected=True):
        return _Training(task, setting, marks, watcher).run(keep_model=keep_model)


def as_marks(marks: Iterable[int]) -> frozenset[int]:
    """Return ``marks`` as a set; those beyond the horizon of a run are never reached.

    Raises:
        InputError: If one is no whole number >= 1.
    """
    wanted = frozenset(marks)
    if not all(isinstance(mark, int) and not isinstance(mark, bool) and mark >= 1 for mark in wanted):
        raise InputError("marks", sorted(wanted, key=str), "must be whole numbers of updates, at least 1")
    return wanted


def check_lr(argument: str, lr: object) -> None:
    """Raise InputError unless ``lr`` is a positive finite number."""
    if isinstance(lr, bool) or not isinstance(lr, Real) or not 0 < float(lr) < math.inf:
        raise InputError(argument, lr, "must be a positive, finite learning rate")


class _Training:
    """The state of one run while it goes on."""

    def __init__(self, task: Task, setting: Setting, marks: frozenset[int], watcher: Watcher | None) -> None:
        self._began = time.perf_counter()
        self._task = task
        self._setting = setting
        self._marks = marks if task.val is not None else frozenset()
        self._watcher = watcher
        self._stepper = Stepper(task, setting.lr, setting.steps)
        self._initial = digest(dict(self._stepper.model.state_dict()))
        self._recording = Recording(task, setting)
        self._unread: list[tuple[Tensor, Sequence[Any]]] = []  # losses still on the device, and their batches
        self._lag = reading_lag(task)

    def run(self, *, keep_model: bool) -> Run:
        model = self._stepper.model
        self._train()
        with judged(self._stepper.optimizer):
            self._recording.finish(model)
        seconds = time.perf_counter() - self._began
        examples = self._stepper.examples / self._stepper.taken
        kept = model if keep_model else None
        return self._recording.run(seconds=seconds, examples=examples, initial=self._initial, model=kept)

    def _train(self) -> None:
        for step in range(self._setting.steps):
            loss = self._stepper.step(step)
            self._unread.append((loss, self._stepper.batches))
            last = step + 1 == self._setting.steps
            if (len(self._unread) >= self._lag or last) and not self._read():
                return
            if step + 1 in self._marks and not last:
                with judged(self._stepper.optimizer):
                    self._recording.evaluate(self._stepper.model, step + 1)
            if self._watcher is not None:
                self._watcher(Progress(self._setting, step + 1, self._recording.last_loss))

    def _read(self) -> bool:
        """Look at the losses since the last look; the step of a divergence is exact, whatever the lag."""
        unread, self._unread = self._unread, []
        values = torch.stack([loss for loss, _ in unread]).double().tolist()
        return all(self._recording.take(value, batches) for value, (_, batches) in zip(values, unread, strict=True))
