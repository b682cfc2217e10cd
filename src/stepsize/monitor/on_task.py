"""A task trained once while it is watched, and guarded where that is wished."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stepsize.checks import check_lr
from stepsize.monitor.guarding.guard import Guard, guard
from stepsize.monitor.guarding.journal import Entry
from stepsize.monitor.reporting import Report
from stepsize.monitor.watching import Watch, watch
from stepsize.training.batches import Stream, to_device
from stepsize.training.border import undisturbed
from stepsize.training.calling import at_evaluation_weights
from stepsize.training.cost import update_passes
from stepsize.training.digest import digest
from stepsize.training.evaluate import autocast, evaluate
from stepsize.training.runs import Divergence, Evaluation, Progress, Run, Setting, Watcher
from stepsize.training.stepping import Stepper, rung_factors
from stepsize.training.task import Task

__all__ = ["WatchedRun", "watch_task"]

_LOOKS = 16  # at unseen data


@dataclass(frozen=True, eq=False)
class WatchedRun:
    """A training that was watched.

    Attributes:
        run: The training.
        report: What the watch saw.
        acts: What the guard did; empty without one.
        stopped: Why the guard stopped it; None where it did not.
        name: Of the training in the store; None where nothing is kept.
    """

    run: Run
    report: Report
    acts: tuple[Entry, ...] = ()
    stopped: str | None = None
    name: str | None = None

    @property
    def status(self) -> str:
        """How it went, as a sentence."""
        return f"{self.run.status} {self.report.status}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        told = self.report.to_json()
        acts = [{"kind": one.kind, "step": one.step, "back_to": one.back_to, "why": one.why} for one in self.acts]
        return {
            **self.run.to_json(),
            "verdict": told["verdict"],
            "findings": told["findings"],
            "signals": told["signals"],
            "acts": acts,
            "stopped": self.stopped,
            "name": self.name,
        }


def watch_task(
    task: Task,
    lr: float,
    *,
    seed: int | None = None,
    guarded: bool = False,
    on_progress: Watcher | None = None,
    store: str | Path | None = None,
    name: str | None = None,
) -> WatchedRun:
    """Train ``task`` once at the peak rate ``lr`` while it is watched.

    Args:
        task: What to train.
        lr: The peak learning rate, absolute, > 0.
        seed: Of initial weights, batch order and dropout; default the task's.
        guarded: Whether trouble is acted on, as :func:`stepsize.guard` does.
        on_progress: Called with a :class:`~stepsize.training.Progress` after each update.
        store: Where it is kept, as for :func:`stepsize.watch`; default nowhere.
        name: Of the training in the store; default the task's, with a number behind it where that is taken.

    Returns:
        The training, the report on it, and what the guard did.

    Raises:
        InputError: If ``lr`` is out of range.
        TaskError: If the parts of the task turn out not to fit together.

    Example:
        >>> from stepsize import Task
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: nn.Linear(1, 1), loss=nn.functional.mse_loss, train=(x, 3 * x),
        ...             val=(x, 3 * x), optimizer="sgd", steps=300)
        >>> watch_task(task, 1e-5).report.verdict.code
        'too low'
    """
    check_lr("lr", lr)
    setting = Setting(lr, task.seed if seed is None else seed, task.horizon)
    with undisturbed(task, setting.seed):
        return _Watched(task, setting, guarded, on_progress, (store, name)).run()


class _Watched:
    """One training while it is watched."""

    def __init__(
        self,
        task: Task,
        setting: Setting,
        guarded: bool,
        on_progress: Watcher | None,
        kept: tuple[str | Path | None, str | None],
    ) -> None:
        self._began = time.perf_counter()
        self._task, self._setting, self._on_progress = task, setting, on_progress
        self._stepper = Stepper(task, setting.lr, setting.steps)
        self._factors = rung_factors(task, setting.steps)
        self._initial = digest(dict(self._stepper.model.state_dict()))
        self._losses: list[Tensor] = []
        self._evaluations: list[Evaluation] = []
        self._every = max(1, setting.steps // _LOOKS)
        self._worked = 0
        self._guard: Guard | None = None
        self._watch: Watch
        self._begin(guarded, *kept)

    def _begin(self, guarded: bool, store: str | Path | None, name: str | None) -> None:
        if store is not None and name is None:
            name = self._task.name
        model, optimizer, scaler = self._stepper.model, self._stepper.optimizer, self._stepper.stateful
        schedule = self._task.schedule
        steps = self._setting.steps
        only = scaler[0] if scaler else None
        if guarded:
            self._guard = guard(model, optimizer, steps=steps, scaler=only, store=store, name=name)
            self._watch = self._guard.watching
        else:
            self._watch = watch(model, optimizer, schedule=schedule, steps=steps, scaler=only, store=store, name=name)

    def run(self) -> WatchedRun:
        """Train to the end, or until it is lost."""
        with ExitStack() as stack:
            stack.enter_context(self._guard or self._watch)
            for batches in self._batches():
                step = len(self._losses) if self._guard is None else self._guard.step_number
                if not self._step(step, batches):
                    break
        report = self._watch.report()
        acts, stopped = (self._guard.acts, self._guard.stopped) if self._guard else ((), None)
        return WatchedRun(self._done(), report, acts, stopped, self._watch.name)

    def _batches(self) -> Iterator[list[Any]]:
        stream = Stream(self._task.train)
        drawn = iter(lambda: [next(stream) for _ in range(self._task.accumulate)], None)
        if self._guard is not None:
            yield from self._guard.batches(drawn)
            return
        for _ in range(self._setting.steps):
            yield next(drawn)

    def _step(self, step: int, batches: list[Any]) -> bool:
        """Make one update; return whether the training goes on."""
        del self._losses[step:]
        self._evaluations = [seen for seen in self._evaluations if seen.step <= step]
        self._stepper.scale(self._factors[step])
        loss = self._stepper.update(batches)
        self._losses.append(loss)
        self._worked += 1
        seen = self._evaluate(step + 1) if (step + 1) % self._every == 0 else None
        value = None if seen is None else seen.loss
        (self._guard or self._watch).step(loss, again=self._again, val_loss=value)
        if self._on_progress is not None:
            self._on_progress(Progress(self._setting, step + 1, None))
        return self._guard is not None or self._watch.record.lost is None

    def _again(self) -> Tensor:
        device = torch.device(self._task.device or "cpu")
        with autocast(self._task):
            losses = [
                self._task.compute_loss(self._stepper.model, to_device(batch, device))
                for batch in self._stepper.batches
            ]
        return torch.stack(losses).mean()

    def _evaluate(self, step: int) -> Evaluation | None:
        if self._task.val is None:
            return None
        with at_evaluation_weights(self._stepper.optimizer):
            seen = evaluate(self._task, self._stepper.model, step=step).evaluation
        if math.isfinite(seen.loss):
            self._evaluations.append(seen)
        return seen

    def _done(self) -> Run:
        losses = np.asarray([float(loss) for loss in self._losses])
        lost = None if self._watch.record.lost is None else Divergence(*self._watch.record.lost)
        if self._guard is not None and self._guard.stopped is not None:
            lost = Divergence(self._guard.step_number, self._guard.stopped)
        if lost is None and (not self._evaluations or self._evaluations[-1].step != len(losses)):
            self._evaluate(len(losses))
        run = Run(
            setting=self._setting,
            losses=losses,
            evaluations=tuple(self._evaluations),
            divergence=lost,
            seconds=time.perf_counter() - self._began,
            passes=update_passes(self._worked * self._task.accumulate),
            initial=self._initial,
            model=self._stepper.model,
        )
        return run.with_objective(self._task.objective, maximize=self._task.maximize)
