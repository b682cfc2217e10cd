"""The critical rate at one point of a run, over several batches."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import Optimizer

from stepsize.curves.critical import Critical
from stepsize.probe.critical import probe_update
from stepsize.training.cost import update_passes
from stepsize.training.evaluate import mean_loss
from stepsize.training.position import seed_everything
from stepsize.training.snapshot import Snapshot
from stepsize.training.stepping import Stepper
from stepsize.training.task import Task

_BUILT_AT = 1e-3  # the rate that the optimizer is built at; only the ratios of its groups count


@dataclass(frozen=True)
class StabilityEdge:
    """The critical rate after ``step`` steps of warmup.

    Attributes:
        step: Number of steps before.
        lr: Median over the batches of the smallest rate at which one update raises the loss of the same
            batch, among those that had one.
        interval: The smallest and the largest of them.
        probes: Result on each batch.
    """

    step: int
    lr: float
    interval: tuple[float, float]
    probes: tuple[Critical, ...]


class Prober:
    """A model in training whose next update can be tried at other rates; ``seed`` is that of dropout in the probes."""

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._seed = seed
        self._stepper = Stepper(task, _BUILT_AT)
        self.model = self._stepper.model
        self.passes = 0.0

    @property
    def optimizer(self) -> Optimizer:
        """The task's optimizer over the model."""
        return self._stepper.optimizer

    def train(self, batches: Sequence[Any], lr: float) -> float:
        """Make one update at the rate ``lr`` and return its loss."""
        self._stepper.scale(lr / _BUILT_AT)
        self.passes += update_passes(len(batches))
        return float(self._stepper.update(batches))

    def snapshot(self) -> Snapshot:
        """Return what restores model, optimizer and generators."""
        return Snapshot(modules=[self.model], optimizers=[self.optimizer])

    def edge(self, updates: Sequence[Sequence[Any]], *, step: int, start: float) -> StabilityEdge | str:
        """Probe the critical rate on the batches of each of ``updates``; if there is none, return the reason."""
        probes = []
        for batches in updates:
            probes.append(self._critical(batches, start))
            start = probes[-1].lr or start
        found = [probe.lr for probe in probes if probe.lr is not None]
        if not found:
            return probes[0].reason
        middle = statistics.median(found)
        return StabilityEdge(step, middle, (min(found), max(found)), tuple(probes))

    def _critical(self, batches: Sequence[Any], start: float) -> Critical:
        """Follow the update of ``batches`` without its momentum, with forward passes alone."""
        snapshot = self.snapshot()
        return probe_update(
            list(self.model.parameters()),
            update=lambda: self._first_update(batches, start),
            loss=lambda: self._loss(batches),
            rewind=lambda: snapshot.restore(position=False),
            start=start,
        )

    def _first_update(self, batches: Sequence[Any], lr: float) -> float:
        for group in self.optimizer.param_groups:  # momentum would point along the batches of the past
            if "momentum" in group:
                group["momentum"] = 0.0
            if "betas" in group:
                group["betas"] = (0.0, *group["betas"][1:])
        seed_everything(self._seed)
        return self.train(batches, lr)

    def _loss(self, batches: Sequence[Any]) -> float:
        seed_everything(self._seed)
        self.passes += len(batches)
        with torch.no_grad():
            return float(mean_loss(self._task, self.model, batches))
