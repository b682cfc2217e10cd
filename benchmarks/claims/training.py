"""One training of a trial, with what the claims ask of it beside the final loss: overshoot and wobble."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.claims.arms import Arm, Trial, built
from benchmarks.combos import rounded
from stepsize.curves.plateau import PlateauRule
from stepsize.training import Task, TensorBatches
from stepsize.training.batches import Stream
from stepsize.training.evaluate import evaluate
from stepsize.training.loop import Recording
from stepsize.training.position import preserved
from stepsize.training.runs import Setting
from stepsize.training.stepping import Stepper, rung_factors

__all__ = ["train_trial"]

_LOOK = 10  # updates between two looks whether an update raised the loss of its own batch
_MARKS = 8  # looks at unseen data in the last fifth
_JUMP = math.log(10)  # the erratic rate lies between a tenth and ten times of the smooth one, before its mean is mended
_DROP = 0.5
_OBSERVED = 40  # looks of a plateau rule in a training; an epoch would be too long where a training has five
_LASTS = 20  # of which an erratic rate that lasts is made


def train_trial(trial: Trial) -> dict[str, Any]:
    """Train once and return the row of it.

    ``val`` is the final loss on unseen data, that of the untrained model where the run diverged or ended worse; ``odd``
    the same on every second example, which no plateau was read from; ``overshoot`` the share of the looked-at updates
    after which the loss of their own batch is higher than before, without dropout; ``wobble`` the root mean square of
    the changes of log(loss on unseen data) between looks in the last fifth; ``drops`` how often a plateau halved the
    rate.
    """
    torch.set_num_threads(1)
    began = time.perf_counter()
    with preserved(seed=trial.seed):
        figures = _Training(built(trial.arm), trial).run()
    where = {"study": trial.study, "arm": trial.arm.name, "task": trial.arm.task, "optimizer": trial.arm.optimizer}
    kept = {name: rounded(v) if isinstance(v, float) else v for name, v in figures.items()}
    return where | {"lr": trial.lr, "seed": trial.seed} | kept | {"seconds": round(time.perf_counter() - began, 2)}


class _Training:
    def __init__(self, task: Task, trial: Trial) -> None:
        assert isinstance(task.val, TensorBatches)
        self._task = task
        self._arm = trial.arm
        self._stepper = Stepper(task, trial.lr)
        self._recording = Recording(task, Setting(trial.lr, trial.seed, task.horizon))
        self._factors = np.asarray(rung_factors(task, task.horizon)) * _erratic(trial.arm, task.horizon, trial.seed)
        self._halves = [_half(task, task.val, start) for start in (0, 1)]
        self._control = _Control() if trial.arm.control == "plateau" else None
        self._raised: list[bool] = []
        self._seen: list[float] = []

    def run(self) -> dict[str, Any]:
        model, steps = self._stepper.model, self._task.horizon
        untrained = [self._loss(task) for task in (self._task, self._halves[1])]
        stream = Stream(self._task.train)
        marks = {steps - round(k * steps / 5 / (_MARKS - 1)) for k in range(_MARKS)}
        every = max(1, steps // _OBSERVED)
        for step in range(steps):
            if not self._update(step, next(stream)):
                break
            if step + 1 in marks:
                self._seen.append(self._loss(self._task))
            if self._control is not None and (step + 1) % every == 0:
                self._control.observe(self._loss(self._halves[0]))
        if self._recording.divergence is None:
            self._recording.take_evaluation(evaluate(self._task, model, step=steps))
        lost = self._recording.divergence is not None
        done = untrained if lost else [self._loss(task) for task in (self._task, self._halves[1])]
        result = self._recording.run(seconds=0.0, examples=1.0, initial="")
        return {
            "val": min(done[0], untrained[0]),
            "odd": min(done[1], untrained[1]),
            "train": None if lost else result.train_loss,
            "diverged": lost,
            "overshoot": float(np.mean(self._raised or [True])),
            "wobble": None if lost else _wobble(self._seen),
            "auc": None if lost or self._arm.task != "shoppers-mlp" else self._auc(),
        } | ({} if self._control is None else {"drops": self._control.drops})

    def _update(self, step: int, batch: Any) -> bool:
        looked = step % _LOOK == _LOOK // 2
        before = self._batch_loss(batch) if looked else 0.0
        self._stepper.scale(float(self._factors[step]) * (1.0 if self._control is None else self._control.multiplier))
        loss = float(self._stepper.update([batch]))
        if looked:
            after = self._batch_loss(batch)
            self._raised.append(not after <= before)  # NaN counts as raised
        return self._recording.take(loss, [batch])

    def _batch_loss(self, batch: Any) -> float:
        model = self._stepper.model
        model.eval()
        with torch.no_grad():
            loss = float(self._task.compute_loss(model, batch))
        model.train()
        return loss

    def _loss(self, task: Task) -> float:
        return evaluate(task, self._stepper.model, step=0).evaluation.loss

    def _auc(self) -> float:
        from sklearn.metrics import roc_auc_score

        assert isinstance(self._task.val, TensorBatches)
        *inputs, target = self._task.val.tensors
        self._stepper.model.eval()
        with torch.no_grad():
            scores = self._stepper.model(*inputs)
        return float(roc_auc_score(target.numpy(), scores.numpy()))


class _Control:
    """Halves the rate where the rule sees no more progress, and then waits for a new window."""

    def __init__(self) -> None:
        self.multiplier = 1.0
        self.drops = 0
        self._rule = PlateauRule()
        self._values: list[float] = []

    def observe(self, value: float) -> None:
        self._values.append(value)
        if self._rule.judge(self._values[-self._rule.needs :]).plateau:
            self.multiplier *= _DROP
            self.drops += 1
            self._values.clear()


def _erratic(arm: Arm, steps: int, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what multiplies each update's rate: log-uniform, with the mean 1, so that only the jumps differ."""
    if arm.control not in ("erratic", "erratic, lasting"):
        return np.ones(steps)
    lasts = 1 if arm.control == "erratic" else max(1, steps // _LASTS)
    draws = np.random.default_rng(seed).uniform(-_JUMP, _JUMP, -(-steps // lasts))
    factors = np.exp(np.repeat(draws, lasts)[:steps])
    return np.asarray(factors / factors.mean())


def _half(task: Task, val: TensorBatches, start: int) -> Task:
    half = dataclasses.replace(val, tensors=tuple(part[start::2] for part in val.tensors))
    return dataclasses.replace(task, val=half, schedule=task.given_schedule, epochs=None)


def _wobble(losses: Sequence[float]) -> float | None:
    if len(losses) < 2 or not all(0 < loss < math.inf for loss in losses):
        return None
    return float(np.sqrt(np.mean(np.square(np.diff(np.log(losses))))))
