"""Trainings of one task at all rates and seeds at once, with stacked parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from benchmarks.lr_record.data import Data
from benchmarks.lr_record.draw import RATES, SCHEDULES, SEEDS, Task
from benchmarks.lr_record.fine_tuning import PRETRAINING
from benchmarks.lr_record.models import build
from benchmarks.lr_record.net import Pretrained
from benchmarks.lr_record.signals import StackedSignals
from benchmarks.lr_record.stacked_rules import StackedUpdates, averaged, stacked_updates
from stepsize.optimizers import OPTIMIZERS
from stepsize.training.population import StackedOptimizer

__all__ = ["Curves", "member_optimizer", "pretrained", "train_task", "validated", "watched"]

Floats: TypeAlias = NDArray[np.float32]
_LOOKED_AT = [place % SEEDS * RATES + place for place in range(RATES)]  # members: each rate once
_MATRIX_RULES = ("adafactor", "muon")  # which see a parameter's shape; the others take a member's weights as one vector


@dataclass(frozen=True)
class Curves:
    """What the trainings of a task gave.

    Attributes:
        val: Final validation loss (horizon, rate, seed); NaN if the run diverged.
        train: Mean training loss of the last tenth of the steps (horizon, rate, seed); NaN if the run diverged.
        diverged_at: Fraction of the steps after which the loss was not finite (horizon, rate, seed); NaN if never.
        untrained: Validation loss at initialization (seed,).
        signals: What a watch would have seen at full length (look, rate, signal), of seed ``rate % SEEDS``.
    """

    val: Floats
    train: Floats
    diverged_at: Floats
    untrained: Floats
    signals: Floats


def validated(task: Task, seeds: Sequence[int]) -> Floats:
    """Return the final validation losses (rate, seed) of further seeds at full length."""
    return _Stack(task, seeds).train(task.facts["steps"])[0]


def train_task(task: Task) -> Curves:
    """Train a task at all horizons, rates and seeds."""
    stack, seen = _Stack(task), StackedSignals(task.facts, _LOOKED_AT)
    runs = [stack.train(steps, seen if steps == task.facts["steps"] else None) for steps in task.facts["horizons"]]
    val, train, diverged_at = (np.stack(part).astype(np.float32) for part in zip(*runs, strict=True))
    signals = seen.looks().astype(np.float16).astype(np.float32)
    return Curves(val, train, diverged_at, stack.untrained(), signals)


def watched(task: Task) -> StackedSignals:
    """Train a task at full length and return what a watch would have measured of a run of each rate until its end."""
    seen = StackedSignals(task.facts, _LOOKED_AT, until=task.facts["steps"])
    _Stack(task).train(task.facts["steps"], seen)
    return seen


def member_optimizer(task: Task, parameters: list[Tensor], lr: float, part: str = "all", steps: int = 0) -> Optimizer:
    """Return the torch optimizer of one member, or of one part of its parameters: Muon's matrices or the others.

    ``steps`` is the length of the training, of which schedule-free optimizers warm up over a part.
    """
    facts = task.facts
    if part == "matrices":
        return Muon(parameters, lr=lr, weight_decay=facts["weight_decay"], adjust_lr_fn="match_rms_adamw")
    if part == "others":
        return AdamW(parameters, lr=lr, weight_decay=facts["weight_decay"], betas=(0.9, 0.95), eps=1e-10)
    options: dict[str, Any] = {"weight_decay": facts["weight_decay"]}
    if "beta2" in facts:
        options["betas"] = (0.9, facts["beta2"])
    if "warmup" in facts:
        options["warmup_steps"] = int(facts["warmup"] * steps)
    return OPTIMIZERS[facts["optimizer"]].make([{"params": parameters, **options}], lr=lr)


class _Stack:
    """The members of a task: seeds × rates, the rates of one seed next to each other."""

    def __init__(self, task: Task, seeds: Sequence[int] = range(SEEDS)) -> None:
        self.task = task
        self.net, self.forward = build(task.facts)
        self.seeds = [1_000 * task.facts["number"] + seed for seed in seeds]
        self.lrs = [task.facts["usual_lr"] * 10**x for x in task.rates] * len(seeds)
        self.inputs, self.targets = _tensors(task.data.inputs, task.data.targets)
        self.held_out = _tensors(*task.data.validation)
        self._before = None if task.before is None else pretrained(task, task.before, seeds)
        self._optimizers: list[StackedOptimizer | StackedUpdates] = []

    def untrained(self) -> Floats:
        """Return the validation loss of the initial weights of each seed."""
        self.net.begin(self.seeds, RATES, self._before)
        self._optimizers = []
        return self._validate().view(-1, RATES)[:, 0].numpy()

    def train(self, steps: int, seen: StackedSignals | None = None) -> tuple[Floats, Floats, Floats]:
        """Train all members for ``steps``; return final validation and training loss, and where they diverged."""
        net, clip = self.net, self.task.facts["clip"]
        flat, gradients = net.begin(self.seeds, RATES, self._before)
        update = self._updates(flat, gradients, steps)
        if seen is not None:
            seen.begin(net, flat)
        batches = torch.stack([self._batches(seed, steps) for seed in self.seeds])
        losses = torch.empty(steps, len(flat))
        factors = SCHEDULES[self.task.facts["schedule"]].over(steps).factors()
        for step in range(steps):
            chosen = batches[:, step]
            loss = self._loss(self.inputs[chosen], self.targets[chosen])
            for slot, gradient in zip(net.gradients, torch.autograd.grad(loss.sum(), net.trained), strict=True):
                slot.copy_(gradient)
            losses[step] = loss.detach()
            scale = (clip / (torch.linalg.vector_norm(gradients, dim=1) + 1e-6)).clamp_(max=1.0) if clip else None
            if seen is not None and step < seen.until:
                seen.before_update(step, gradients, scale)
            if scale is not None:
                gradients.mul_(scale.unsqueeze(1))
            update(float(factors[step]))
            if seen is not None and step < seen.until:
                seen.after_update(step)
                if (step + 1) % seen.validate_every == 0:
                    seen.validated(step, self._validate())
        if seen is not None:
            rates = torch.from_numpy(np.asarray(factors))[:, None] * torch.tensor(self.lrs, dtype=torch.float64)
            seen.end(losses, rates)
        finite = torch.isfinite(losses)
        diverged_at = torch.where(finite.all(dim=0), torch.nan, (finite.long().argmin(dim=0) + 1) / steps)
        val = self._validate()
        train = losses[-max(1, steps // 10) :].mean(dim=0)
        diverged_at[torch.isnan(diverged_at) & ~torch.isfinite(val)] = 1.0
        lost = ~torch.isnan(diverged_at)
        val[lost], train[lost] = torch.nan, torch.nan
        return _by_rate(val), _by_rate(train), _by_rate(diverged_at)

    def _updates(self, flat: Tensor, gradients: Tensor, steps: int) -> Callable[[float], None]:
        """Return what updates all members, given the schedule's factor."""
        by_shape = self.task.facts["optimizer"] in _MATRIX_RULES
        parts = self._parts() if by_shape else {"all": ([flat], [gradients])}
        updates = []
        for part, (stacked, slopes) in parts.items():
            with torch.no_grad():
                members = [[tensor[k] for tensor in stacked] for k in range(len(flat))]
            optimizers = [
                member_optimizer(self.task, own, lr, part, steps) for own, lr in zip(members, self.lrs, strict=True)
            ]
            updates.append((stacked_updates(optimizers, members, stacked), slopes))
        self._optimizers = [optimizer for optimizer, _ in updates]

        def update(factor: float) -> None:
            for optimizer, slopes in updates:
                optimizer.step(slopes, factor)

        return update

    def _parts(self) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
        """Return parameters and gradients by the rule that updates them."""
        parts: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        for tensor, gradient, role in zip(self.net.trained, self.net.gradients, self.net.roles, strict=True):
            matrix = role == "hidden" and tensor.dim() == 3
            part = ("matrices" if matrix else "others") if self.task.facts["optimizer"] == "muon" else "all"
            stacked, slopes = parts.setdefault(part, ([], []))
            stacked.append(tensor.detach())
            slopes.append(gradient)
        return parts

    def _batches(self, seed: int, steps: int) -> Tensor:
        """Return the examples of every batch (steps, batch): shuffled epochs, of which the rest is left out."""
        size, count = self.task.facts["batch"], len(self.inputs)
        generator, per_epoch = torch.Generator().manual_seed(seed + 500), count // size
        epochs = [
            torch.randperm(count, generator=generator)[: per_epoch * size].view(per_epoch, size)
            for _ in range(-(-steps // per_epoch))
        ]
        return torch.cat(epochs)[:steps]

    def _loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of every member, given a batch of every seed."""
        spread = inputs.unsqueeze(1).expand(-1, RATES, *inputs.shape[1:]).reshape(-1, *inputs.shape[1:])
        outputs = self.forward(spread)
        wanted = targets.unsqueeze(1).expand(-1, RATES, *targets.shape[1:])
        if self.task.data.kind in ("classification", "sequence"):
            flat = outputs.reshape(-1, outputs.shape[-1])
            return F.cross_entropy(flat, wanted.reshape(-1), reduction="none").view(len(spread), -1).mean(dim=1)
        return (outputs - wanted.reshape(outputs.shape)).square().flatten(1).mean(dim=1)

    @torch.no_grad()
    def _validate(self) -> Tensor:
        self.net.training = False
        inputs, targets = (part.unsqueeze(0).expand(len(self.seeds), *part.shape) for part in self.held_out)
        with averaged(self._optimizers):
            val = self._loss(inputs, targets)
        self.net.training = True
        return val


def pretrained(task: Task, data: Data, seeds: Sequence[int] = range(SEEDS)) -> Pretrained:
    """Return networks of a task that were trained on other data, one a seed: at the best of all rates."""
    batch = min(PRETRAINING["batch"], len(data.inputs))
    stack = _Stack(Task(data, {**task.facts, **data.facts, **PRETRAINING, "batch": batch}), seeds)
    val = stack.train(task.facts["steps_before"])[0].mean(axis=1)
    best = int(np.where(np.isfinite(val), val, np.inf).argmin())
    return stack.net.of_members([seed * RATES + best for seed in range(len(seeds))])


def _by_rate(values: Tensor) -> Floats:
    return values.view(-1, RATES).T.numpy()


def _tensors(inputs: NDArray[Any], targets: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Return copies, since windows of a text share memory and cannot be written to."""
    return torch.from_numpy(inputs.copy()), torch.from_numpy(targets.copy())
