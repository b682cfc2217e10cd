"""Trainings of one task at all rates and seeds at once, with stacked parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import AdamW, Muon, Optimizer

from benchmarks.lr_record.draw import RATES, SCHEDULES, SEEDS, Task
from benchmarks.lr_record.models import build
from benchmarks.lr_record.signals import LOOKS, StackedSignals
from benchmarks.lr_record.stacked_rules import stacked_step
from stepsize.monitor.rate_signals import RATE_SIGNALS
from stepsize.optimizers import OPTIMIZERS

__all__ = ["Curves", "member_optimizer", "train_task"]

Floats: TypeAlias = NDArray[np.float32]
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


def train_task(task: Task) -> Curves:
    """Train a task at all horizons, rates and seeds."""
    stack = _Stack(task)
    runs = [stack.train(steps) for steps in task.facts["horizons"]]
    val, train, diverged_at = (np.stack(part).astype(np.float32) for part in zip(*runs, strict=True))
    return Curves(val, train, diverged_at, stack.untrained(), stack.signals.astype(np.float16).astype(np.float32))


def member_optimizer(task: Task, parameters: list[Tensor], lr: float, part: str = "all") -> Optimizer:
    """Return the torch optimizer of one member, or of one part of its parameters: Muon's matrices or the others."""
    facts = task.facts
    if part == "matrices":
        return Muon(parameters, lr=lr, weight_decay=facts["weight_decay"], adjust_lr_fn="match_rms_adamw")
    if part == "others":
        return AdamW(parameters, lr=lr, weight_decay=facts["weight_decay"], betas=(0.9, 0.95), eps=1e-10)
    options: dict[str, Any] = {"weight_decay": facts["weight_decay"]}
    if "beta2" in facts:
        options["betas"] = (0.9, facts["beta2"])
    return OPTIMIZERS[facts["optimizer"]].make([{"params": parameters, **options}], lr=lr)


class _Stack:
    """The members of a task: seeds × rates, the rates of one seed next to each other."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.net, self.forward = build(task.facts)
        self.seeds = [1_000 * task.facts["number"] + seed for seed in range(SEEDS)]
        self.lrs = [task.facts["usual_lr"] * 10**x for x in task.rates] * SEEDS
        self.inputs, self.targets = _tensors(task.data.inputs, task.data.targets)
        self.held_out = _tensors(*task.data.validation)
        self.signals = np.full((len(LOOKS), RATES, len(RATE_SIGNALS)), np.nan, dtype=np.float32)
        self._looked_at = [place % SEEDS * RATES + place for place in range(RATES)]

    def untrained(self) -> Floats:
        """Return the validation loss of the initial weights of each seed."""
        self.net.begin(self.seeds, RATES)
        return self._validate().view(SEEDS, RATES)[:, 0].numpy()

    def train(self, steps: int) -> tuple[Floats, Floats, Floats]:
        """Train all members for ``steps``; return final validation and training loss, and where they diverged."""
        net, clip = self.net, self.task.facts["clip"]
        flat, gradients = net.begin(self.seeds, RATES)
        update = self._updates(flat, gradients)
        seen = (
            StackedSignals(net, flat, self._looked_at, self.task.facts) if steps == self.task.facts["steps"] else None
        )
        batches = torch.stack([self._batches(seed, steps) for seed in self.seeds])
        losses = torch.empty(steps, len(flat))
        factors = SCHEDULES[self.task.facts["schedule"]].over(steps).factors()
        for step in range(steps):
            chosen = batches[:, step]
            loss = self._loss(self.inputs[chosen], self.targets[chosen])
            for slot, gradient in zip(net.gradients, torch.autograd.grad(loss.sum(), net.tensors), strict=True):
                slot.copy_(gradient)
            losses[step] = loss.detach()
            scale = (clip / (torch.linalg.vector_norm(gradients, dim=1) + 1e-6)).clamp_(max=1.0) if clip else None
            if seen is not None and step < steps // 2:
                seen.before_update(step, gradients, scale)
            if scale is not None:
                gradients.mul_(scale.unsqueeze(1))
            update(float(factors[step]))
            if seen is not None and step < steps // 2:
                seen.after_update(step)
                if (step + 1) % seen.validate_every == 0:
                    seen.validated(step, self._validate())
        if seen is not None:
            rates = torch.from_numpy(np.asarray(factors))[:, None] * torch.tensor(self.lrs, dtype=torch.float64)
            self.signals = seen.looks(losses[: steps // 2], rates[: steps // 2])
        finite = torch.isfinite(losses)
        diverged_at = torch.where(finite.all(dim=0), torch.nan, (finite.long().argmin(dim=0) + 1) / steps)
        val = self._validate()
        train = losses[-max(1, steps // 10) :].mean(dim=0)
        diverged_at[torch.isnan(diverged_at) & ~torch.isfinite(val)] = 1.0
        lost = ~torch.isnan(diverged_at)
        val[lost], train[lost] = torch.nan, torch.nan
        return _by_rate(val), _by_rate(train), _by_rate(diverged_at)

    def _updates(self, flat: Tensor, gradients: Tensor) -> Callable[[float], None]:
        """Return what updates all members, given the schedule's factor."""
        by_shape = self.task.facts["optimizer"] in _MATRIX_RULES
        parts = self._parts() if by_shape else {"all": ([flat], [gradients])}
        updates = []
        for part, (stacked, slopes) in parts.items():
            with torch.no_grad():
                members = [[tensor[k] for tensor in stacked] for k in range(len(flat))]
            optimizers = [member_optimizer(self.task, own, lr, part) for own, lr in zip(members, self.lrs, strict=True)]
            updates.append((stacked_step(optimizers, members, stacked), slopes))

        def update(factor: float) -> None:
            for step, slopes in updates:
                step(slopes, factor)

        return update

    def _parts(self) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
        """Return parameters and gradients by the rule that updates them."""
        parts: dict[str, tuple[list[Tensor], list[Tensor]]] = {}
        for tensor, gradient, role in zip(self.net.tensors, self.net.gradients, self.net.roles, strict=True):
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
        inputs, targets = (part.unsqueeze(0).expand(SEEDS, *part.shape) for part in self.held_out)
        val = self._loss(inputs, targets)
        self.net.training = True
        return val


def _by_rate(values: Tensor) -> Floats:
    return values.view(SEEDS, RATES).T.numpy()


def _tensors(inputs: NDArray[Any], targets: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Return copies, since windows of a text share memory and cannot be written to."""
    return torch.from_numpy(inputs.copy()), torch.from_numpy(targets.copy())
