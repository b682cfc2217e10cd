"""The function: measure data and model at the start and after a short warmup."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from stepsize.checks import check_whole
from stepsize.errors import TaskError
from stepsize.probe.critical import heavy_ball
from stepsize.probe.profiling.advice import advise
from stepsize.probe.profiling.edge import Prober, StabilityEdge
from stepsize.probe.profiling.features import features_of, input_data
from stepsize.probe.profiling.gradients import GradientSample, couples_examples, sample_gradients
from stepsize.probe.profiling.noise import noise_scale
from stepsize.probe.profiling.readings import read
from stepsize.probe.profiling.result import Moment, Profile, ProfileCost, ProfileFacts
from stepsize.probe.profiling.scale import LossScale, best_constant, classes_of, outputs_of, target_scale
from stepsize.training.batches import Stream, TensorBatches, count_examples, holds_non_finite, length_of
from stepsize.training.border import inspect_task, undisturbed
from stepsize.training.cost import CostModel, update_passes
from stepsize.training.runs import Progress, Setting, Watcher
from stepsize.training.snapshot import Snapshot
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task

_BATCHES = (4, 16)  # whose gradients are compared at each of the two moments; more for a long horizon
_BATCH_SHARE = 1 / 25  # of the horizon
_PIECES = 64  # into which all those batches are cut
_PROBED = 3  # updates on which the critical rate is probed
_WARMUP_SHARE = 0.08  # of the horizon
_WARMUP_STEPS = (3, 500)
_TIMID = 8.0  # the warmup ends this factor below the critical rate
_TRIES = 3  # a warmup that diverges is tried again, each time four times slower
_FIRST_START = 1e-3  # where the search of the first critical rate begins


@takes_parts
def profile(
    task: Task | Any, *, seed: int | None = None, batches: int | None = None, on_progress: Watcher | None = None
) -> Profile:
    """Measure the properties of data and model that determine the learning rate of ``task``.

    Measured at the start and after a short warmup: the gradient noise scale, up to which the rate grows with
    the batch size; and the critical rate, above which an update raises the loss of its own batch. At the start
    only: the loss compared with predictions that ignore the input, the scale of the target, the balance of classes,
    and the scale of the features. All advice is based on a measured number and names an experiment that would
    confirm it.

    Args:
        task: Task to train, as for :func:`stepsize.find`; its schedule is not used.
        seed: Random seed for weight initialization, batch order and dropout. Default: the task's.
        batches: Training batches whose gradients are compared at each moment, >= 2. Default: a 25th of the horizon,
            at least 4 and at most 16.
        on_progress: Called with the progress of the warmup.

    Returns:
        The measured quantities and the advice; the task's data and the global generators are not changed.

    Raises:
        InputError: If an argument breaks its rule.
        TaskError: If the parts of the task do not fit together.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = profile(build_task("cancer-mlp"))
        >>> 20 < found["noise scale at the start"].value < 80, found.cost.full_runs < 0.3, found.restored
        (True, True, True)

    Reference:
        McCandlish et al., arXiv 1812.06162, 2018, for the noise scale; Kalra et al., arXiv 2601.16979, 2026, for the
        critical rate.
    """
    task = Task.of(task)
    seed = task.seed if seed is None else check_whole("seed", seed, 0)
    if batches is not None:
        check_whole("batches", batches, 2)
    began = time.perf_counter()
    world = Snapshot(data=[source for source in (task.train, task.val) if source is not None])
    look = _Look(task, seed, batches, on_progress)
    try:
        inspect_task(task)
    except TaskError as error:
        if error.argument == "model":
            raise  # what else an inspection refuses is measured here
    with undisturbed(task, seed, inspected=True):
        facts = look.facts()
    costs = CostModel(task.horizon, task.accumulate, facts.batch_size, 0)
    return Profile(
        facts=facts,
        measured=read(facts),
        advice=advise(facts),
        unavailable=tuple(
            f"{subject.capitalize()}: {reason}." for subject, reason in (facts.unavailable or {}).items()
        ),
        cost=ProfileCost(costs.full_runs(look.passes), look.passes, time.perf_counter() - began),
        restored=world.intact(),
    )


class _Look:
    """One call of :func:`profile` while it goes on."""

    def __init__(self, task: Task, seed: int, batches: int | None, on_progress: Watcher | None) -> None:
        self._task = task
        self._seed = seed
        self._on_progress = on_progress
        fewest, most = _BATCHES
        self._wanted = batches or int(min(max(task.horizon * _BATCH_SHARE, fewest), most))
        self._unavailable: dict[str, str] = {}
        self._sampled = 0.0

    @property
    def passes(self) -> float:
        """Forward passes of one batch; a backward pass counts as two."""
        return self._sampled + self._prober.passes

    def facts(self) -> ProfileFacts:
        self._prober = Prober(self._task, self._seed)
        self._batches = list(itertools.islice(self._task.train, self._wanted))
        if not self._batches:
            raise TaskError("train", type(self._task.train).__name__, "must yield at least one batch")
        facts = self._of_data(self._bare())
        try:
            return replace(self._of_training(facts), unavailable=self._unavailable)
        except TaskError:
            if not any(holds_non_finite(batch) for batch in self._batches):
                raise
            self._unavailable["gradients"] = "the loss is not finite, because the data hold NaN or infinity"
            return replace(facts, unavailable=self._unavailable)

    def _bare(self) -> ProfileFacts:
        task, optimizer = self._task, self._prober.optimizer
        seen = sum(count_examples(batch) for batch in self._batches)
        population = None
        if isinstance(task.train, TensorBatches):
            population = len(task.train.tensors[0])
        elif len(self._batches) < self._wanted:
            population = seen  # a whole pass
        elif (length := length_of(task.train)) is not None:
            population = round(length * seen / len(self._batches))
        return ProfileFacts(
            task=task.name,
            optimizer=task.optimizer_name,
            horizon=task.horizon,
            batch_size=count_examples(self._batches[0]) * task.accumulate,
            population=population,
            momentum=heavy_ball([optimizer]),
            exponent=_exponent(optimizer),
        )

    def _of_data(self, facts: ProfileFacts) -> ProfileFacts:
        data = input_data(self._task, self._batches)
        if isinstance(data, str):
            self._unavailable["features and target"] = data
            return facts
        if data.target is None:
            self._unavailable["target"] = "the loss takes whole batches, so the target is unknown"
        return replace(
            facts,
            source=data.source,
            features=tuple(features_of(name, part) for name, part in data.inputs if part.is_floating_point()),
            classes=None if data.target is None else classes_of(data.target),
            target=None if data.target is None else target_scale(data.target),
        )

    def _of_training(self, facts: ProfileFacts) -> ProfileFacts:
        sample, moment = self._moment(0, facts.population)
        loss = self._loss_scale(sample)
        edges, steps = self._warmed_up(facts.momentum)
        moments = [moment]
        if steps:
            moments.append(self._moment(steps, facts.population)[1])
        return replace(
            facts,
            moments=tuple(moments),
            edges=tuple(edges),
            loss=loss,
            silent=sample.silent,
        )

    def _moment(self, step: int, population: int | None) -> tuple[GradientSample, Moment]:
        model = self._prober.model
        pieces = 1 if couples_examples(model) else max(1, math.ceil(_PIECES / len(self._batches)))
        sample = sample_gradients(self._task, model, self._batches, pieces=pieces)
        self._sampled += update_passes(len(self._batches))
        noise = noise_scale(sample.gram, sample.sizes, population=population, seed=self._seed)
        if noise is None:
            self._unavailable["noise scale"] = "fewer than four separate pieces of data, or no gradient at all"
        return sample, Moment(step, noise)

    def _loss_scale(self, sample: GradientSample) -> LossScale:
        start = float(np.average(sample.losses, weights=sample.sizes))
        error = float(np.std(sample.losses, ddof=1) / math.sqrt(len(sample.losses))) if len(sample.losses) > 1 else 0.0
        seen = outputs_of(self._task, self._prober.model, self._batches)
        if isinstance(seen, str):
            self._unavailable["loss of a constant prediction"] = seen
            return LossScale(start, error)
        self._sampled += len(self._batches)
        zero, constant = best_constant(self._task.loss, seen)
        return LossScale(start, error, zero, constant)

    def _updates(self, count: int) -> list[list[Any]]:
        """Return the batches of ``count`` updates, from those that were drawn."""
        stream = itertools.cycle(self._batches)
        return [[next(stream) for _ in range(self._task.accumulate)] for _ in range(count)]

    def _warmed_up(self, momentum: float) -> tuple[list[StabilityEdge], int]:
        """Probe the critical rate at the start, within and after a short warmup that ends well below it.

        Returns the steps of the warmup too, 0 if nothing could be trained.
        """
        probed = self._updates(_PROBED)
        first = self._prober.edge(probed, step=0, start=_FIRST_START)
        if isinstance(first, str):
            self._unavailable["critical rate"] = first[0].lower() + first[1:].rstrip(".")
            return [], 0
        fewest, most = _WARMUP_STEPS
        steps = min(most, max(fewest, round(_WARMUP_SHARE * self._task.horizon)))
        lr = first.lr * (1 - momentum) / _TIMID
        untrained = self._prober.snapshot()
        for _ in range(_TRIES):
            edges = self._train(steps, lr, probed, first)
            if edges is not None:
                return [first, *edges], steps
            untrained.restore(position=False)
            lr /= 4
        self._unavailable["anything after a warmup"] = f"it diverged, even at {lr * 4:.2g}"
        return [first], 0

    def _train(
        self, steps: int, lr: float, probed: Sequence[Sequence[Any]], first: StabilityEdge
    ) -> list[StabilityEdge] | None:
        """Raise the rate linearly to ``lr``; return the critical rates on the way, or None if it diverges."""
        stream = Stream(self._task.train)
        edges: list[StabilityEdge] = []
        for step in range(1, steps + 1):
            loss = self._prober.train(stream.take(self._task.accumulate), lr * step / steps)
            if not math.isfinite(loss):
                return None
            if self._on_progress is not None:
                self._on_progress(Progress(Setting(lr, self._seed, steps), step, loss))
            if step in (max(1, steps // 3), steps):
                edge = self._prober.edge(probed, step=step, start=(edges or [first])[-1].lr)
                if isinstance(edge, StabilityEdge):
                    edges.append(edge)
        return edges


def _exponent(optimizer: torch.optim.Optimizer) -> float | None:
    if isinstance(optimizer, torch.optim.SGD):
        return 1.0
    scaled = (torch.optim.Adagrad, torch.optim.RMSprop, torch.optim.Adadelta)
    adaptive = isinstance(optimizer, scaled) or any("betas" in group for group in optimizer.param_groups)
    return 0.5 if adaptive else None
