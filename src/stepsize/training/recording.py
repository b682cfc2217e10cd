"""The record of one run while it is trained: losses, evaluations, divergence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import nn

from stepsize.curves.divergence import DivergenceRule
from stepsize.training.batches import holds_non_finite, nan_in_data
from stepsize.training.cost import update_passes
from stepsize.training.evaluate import evaluate
from stepsize.training.runs import Divergence, Evaluation, Run, Setting
from stepsize.training.task import Task
from stepsize.training.unlearnable import left_out


class Recording:
    """The record of one run of ``task`` (with the changes of ``setting`` applied); :meth:`run` returns the result."""

    def __init__(self, task: Task, setting: Setting) -> None:
        self._task = task
        self.setting = setting
        self._rule = DivergenceRule(setting.steps)
        self._losses: list[float] = []
        self._masked = False
        self._evaluations: list[Evaluation] = []
        self._val_examples = 0
        self._has_loss = True
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
        if math.isnan(loss) and any(left_out(self._task, batch, "train", step) for batch in batches):
            return True
        reason = self._rule.update(loss)
        if not reason:
            return True
        self._blame_the_data("train", f"the batch of step {step}", loss, batches)
        self.divergence = Divergence(step, reason)
        return False

    def evaluate(self, model: nn.Module, step: int) -> Evaluation:
        """Evaluate ``model`` on validation data after ``step`` updates."""
        done = evaluate(self._task, model, step=step, examples=self.setting.val_examples)
        self._val_examples += done.examples
        self._evaluations.append(done.evaluation)
        self._has_loss = done.has_loss
        return done.evaluation

    def finish(self, model: nn.Module) -> None:
        """Evaluate the trained model on validation data, if there are any and the run did not diverge."""
        if self.divergence is not None or self._task.val is None:
            return
        seen = self.evaluate(model, self.setting.steps)
        loss = seen.loss if self._has_loss else seen.metrics[self._task.objective]
        if math.isfinite(loss):
            return
        self._blame_the_data("val", "the data", loss, self._task.val)
        self.divergence = Divergence(self.setting.steps, f"the validation loss is {loss}")

    def run(self, *, seconds: float, examples: float, initial: str, model: nn.Module | None = None) -> Run:
        """Return the run; ``examples`` is the mean number of examples per training batch."""
        diverged = self.divergence
        batches = max(1, len(self._losses)) * self._task.accumulate
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
        return run.with_objective(self._task.objective, maximize=self._task.maximize)

    def _blame_the_data(self, argument: str, where: str, loss: float, batches: Iterable[Any]) -> None:
        if math.isfinite(loss) or self._masked or not any(holds_non_finite(batch) for batch in batches):
            return
        raise nan_in_data(argument, where)
