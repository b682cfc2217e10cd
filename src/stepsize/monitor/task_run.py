"""A task trained once while it is watched, and guarded if asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from torch import Tensor

from stepsize.checks import check_lr
from stepsize.monitor.guarding.action import GuardAction
from stepsize.monitor.guarding.guard import guard
from stepsize.monitor.options import WatchOptions
from stepsize.monitor.report import Report
from stepsize.monitor.watching import watch
from stepsize.training.border import undisturbed
from stepsize.training.cost import update_passes
from stepsize.training.digest import digest
from stepsize.training.evaluate import evaluate, mean_loss
from stepsize.training.forked import SequentialRuns, draw, updates
from stepsize.training.runs import Divergence, Evaluation, Progress, Run, Setting
from stepsize.training.stepping import Stepper, at_evaluation_weights, rung_factors
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task
from stepsize.views import Chart, Pictured

_EVALUATIONS = 16


@dataclass(frozen=True, eq=False, repr=False)
class WatchedRun(Pictured):
    """A run that was watched.

    Attributes:
        run: The run.
        report: Report of the watch.
        actions: Actions of the guard; empty without one.
        stopped: Reason why the guard stopped it, or None.
        name: Name in the store; None if nothing is saved.
    """

    run: Run
    report: Report
    actions: tuple[GuardAction, ...] = ()
    stopped: str | None = None
    name: str | None = None

    @property
    def status(self) -> str:
        """Outcome in a sentence or two."""
        return f"{self.run.status} {self.report.status}"

    def plot(self, title: str = "Watched run") -> Chart:
        """Return the chart of its signals, with the findings."""
        return self.report.plot(title)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        report = self.report.to_json()
        return {
            **self.run.to_json(),
            **{name: report[name] for name in ("verdict", "findings", "signals")},
            "actions": [one.to_json() for one in self.actions],
            "stopped": self.stopped,
            "name": self.name,
        }


@takes_parts
def watch_task(
    task: Task | Any,
    lr: float,
    *,
    seed: int | None = None,
    guarded: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    store: str | Path | None = None,
    name: str | None = None,
    control: bool = False,
) -> WatchedRun:
    """Train ``task`` once at the peak learning rate ``lr`` while it is watched.

    Args:
        task: Task to train.
        lr: Peak learning rate, absolute, > 0.
        seed: Random seed of weight initialization, batch order and dropout. Defaults to the task's.
        guarded: Whether the run is rolled back on a fault, as by :func:`stepsize.guard`.
        on_progress: Called with a :class:`~stepsize.training.Progress` after each step.
        store: Where the run is saved, as for :func:`stepsize.watch`. By default nothing is saved.
        name: Name of the run in the store. Defaults to the task's; a number is appended if it is taken.
        control: Whether the run takes orders from the store, as for :func:`stepsize.watch`; it cannot be extended.

    Returns:
        The run, the report on it, and the actions of the guard.

    Raises:
        InputError: If ``lr`` is out of range.
        TaskError: If the parts of the task do not fit together.

    Example:
        >>> import torch
        >>> from stepsize import Task
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: nn.Linear(1, 1), loss=nn.functional.mse_loss, train=(x, 3 * x),
        ...             val=(x, 3 * x), optimizer="sgd", steps=300)
        >>> watch_task(task, 1e-5).report.verdict.code
        'too low'
    """
    task = Task.of(task)
    check_lr("lr", lr)
    setting = Setting(lr, task.seed if seed is None else seed, task.horizon)
    name = task.name if store is not None and name is None else name
    with undisturbed(task, setting.seed):
        return _Watched(task, setting, on_progress, guarded=guarded, store=store, name=name, control=control).run()


class _Watched:
    """One run while it is watched."""

    def __init__(
        self,
        task: Task,
        setting: Setting,
        on_progress: Callable[[Progress], None] | None,
        *,
        guarded: bool,
        **options: Unpack[WatchOptions],
    ) -> None:
        self._began = time.perf_counter()
        self._task, self._setting, self._on_progress = task, setting, on_progress
        stepper = self._stepper = Stepper(task, setting.lr)
        self._factors = rung_factors(task, setting.steps)
        self._initial = digest(dict(stepper.model.state_dict()))
        self._losses: list[Tensor] = []
        self._evaluations: list[Evaluation] = []
        self._every = max(1, setting.steps // _EVALUATIONS)
        self._updates = 0  # including those that were rolled back
        scaler = next(iter(stepper.stateful), None)
        options |= {"steps": setting.steps, "schedule": task.schedule, "scaler": scaler}
        self._guard = guard(stepper.model, stepper.optimizer, **options) if guarded else None
        self._watch = self._guard.watching if self._guard else watch(stepper.model, stepper.optimizer, **options)
        self._watch.control.refusals["extend"] = "is not possible: the task sets the number of steps"

    def run(self) -> WatchedRun:
        """Train to the end, or until it diverges."""
        runs = SequentialRuns([self._stepper])
        with self._guard or self._watch:
            for update in updates(runs.update, self._numbered(), lambda step: [self._factors[step]]):
                if not self._take(update.step, update.losses[0]):
                    break
        report = self._watch.report()
        actions, given_up = (self._guard.actions, self._guard.stopped) if self._guard else ((), None)
        stopped = given_up or self._watch.stopped
        return WatchedRun(self._done(given_up), report, actions, stopped, self._watch.name)

    def _numbered(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the batches with their steps, after a rollback those of earlier steps again."""
        if self._guard is None:
            yield from zip(range(self._setting.steps), draw(self._task), strict=False)
            return
        for batches in self._guard.batches(draw(self._task)):
            step = self._guard.step_number
            del self._losses[step:]
            self._evaluations = [seen for seen in self._evaluations if seen.step <= step]
            yield step, batches

    def _take(self, step: int, loss: Tensor) -> bool:
        """Record an update; return whether the run continues."""
        self._losses.append(loss)
        self._updates += 1
        val_loss = self._evaluate(step + 1) if (step + 1) % self._every == 0 else None
        (self._guard or self._watch).step(loss, closure=self._loss, val_loss=val_loss)
        if self._on_progress is not None:
            self._on_progress(Progress(self._setting, step + 1, None))
        return self._watch.stopped is None and (self._guard is not None or self._watch.record.diverged is None)

    def _loss(self) -> Tensor:
        """Return the loss of the last update's batches at the present weights."""
        return mean_loss(self._task, self._stepper.model, self._stepper.batches)

    def _evaluate(self, step: int) -> float | None:
        if self._task.val is None:
            return None
        with at_evaluation_weights(self._stepper.optimizer):
            seen = evaluate(self._task, self._stepper.model, step=step).evaluation
        if math.isfinite(seen.loss):
            self._evaluations.append(seen)
        return seen.loss

    def _done(self, stopped: str | None) -> Run:
        losses = np.asarray([float(loss) for loss in self._losses])
        diverged = self._watch.record.diverged
        if diverged is not None:
            losses = losses[: diverged[0] + 1]
        if stopped is not None and self._guard is not None:
            diverged = (self._guard.step_number, stopped)
        if diverged is None and (not self._evaluations or self._evaluations[-1].step != len(losses)):
            self._evaluate(len(losses))
        run = Run(
            setting=self._setting,
            losses=losses,
            evaluations=tuple(self._evaluations),
            divergence=None if diverged is None else Divergence(*diverged),
            seconds=time.perf_counter() - self._began,
            passes=update_passes(self._updates * self._task.accumulate),
            initial=self._initial,
            model=self._stepper.model,
        )
        return run.with_objective(self._task.objective, maximize=self._task.maximize)
