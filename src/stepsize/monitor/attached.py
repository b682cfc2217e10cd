"""What is attached to a training: its schedule or scheduler, and what its optimizer is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stepsize.monitor.record import Facts
from stepsize.schedules import Schedule
from stepsize.training.binding import BoundScheduler

__all__ = ["Attempts", "Called", "equilibrium", "facts_of", "free_estimate", "what_of"]

_POINTS = 1_000
_FREE = ("Prodigy", "DAdapt")  # classes that estimate the distance to the solution, in group["d"]
_BY_STEP = ("OneCycleLR", "CyclicLR", "LinearLR")


class Called:
    """Counts how often a torch scheduler is stepped against the updates made.

    Args:
        schedule: Anything; only torch schedulers are counted.
    """

    def __init__(self, schedule: Any) -> None:
        counts_itself = isinstance(schedule, BoundScheduler)
        self._scheduler = schedule if isinstance(schedule, LRScheduler) and not counts_itself else None
        self._begin = _calls(self._scheduler)
        self._updates = 0
        self._early = False

    def look(self, updates: int) -> None:
        """Look at the scheduler after that many updates."""
        if self._scheduler is None:
            return
        if not self._updates and _calls(self._scheduler) > self._begin and not updates:
            self._early = True
        self._updates = updates

    def told(self) -> Mapping[str, Any]:
        """Return what a rule may know of it; empty without one."""
        if self._scheduler is None:
            return {}
        name = type(self._scheduler).__name__
        calls = _calls(self._scheduler) - self._begin
        by_step = name in _BY_STEP or getattr(self._scheduler, "total_steps", None) is not None
        return {"name": name, "calls": calls, "updates": self._updates, "early": self._early, "by_step": by_step}


class Attempts:
    """Tells updates that a gradient scaler left out from batches behind which no update was to come.

    Args:
        scaler: A ``torch.amp.GradScaler``, or None.
        optimizers: Whose updates it scales.
    """

    def __init__(self, scaler: Any, optimizers: Sequence[Optimizer]) -> None:
        self._scaler = scaler
        self._ids = [id(one) for one in optimizers]
        self._version = self._look()
        self._stepped = False  # whether the attempt of the last look still waits for the scaler's update

    def made(self) -> bool:
        """Return whether the scaler was asked for an update since the last call; without a wait for the device."""
        if self._scaler is None:
            return False
        version, before = self._look(), self._version
        self._version = version
        states = getattr(self._scaler, "_per_optimizer_states", {})
        stages = [states[one]["stage"] for one in self._ids if one in states]
        stepped = any(getattr(stage, "name", "") == "STEPPED" for stage in stages)
        made = stepped or (version != before and not self._stepped)
        self._stepped = stepped
        return made

    def _look(self) -> int:
        """Return a number that every ``scaler.update()`` changes."""
        kept = [getattr(self._scaler, name, None) for name in ("_scale", "_growth_tracker")]
        return sum(one._version for one in kept if one is not None)


def facts_of(optimizers: Sequence[Optimizer], schedule: Any, steps: int | None) -> Facts:
    """Return what is known of a training before its first step."""
    groups = [group for one in optimizers for group in one.param_groups]
    betas = [group["betas"][0] for group in groups if isinstance(group.get("betas"), tuple | list)]
    momenta = [float(group["momentum"]) for group in groups if isinstance(group.get("momentum"), int | float)]
    return Facts(
        steps=steps,
        optimizer="+".join(type(one).__name__ for one in optimizers),
        momentum=max([*momenta, *(float(beta) for beta in betas)], default=0.0),
        weight_decay=max((float(group.get("weight_decay") or 0.0) for group in groups), default=0.0),
        learning_rate_free=any(_free(one) for one in optimizers),
        schedule=_factors(schedule, steps),
    )


def what_of(models: Sequence[nn.Module]) -> str:
    """Return what is trained, in a few words: the classes of the models, and their size."""
    classes = " + ".join(type(getattr(one, "module", one)).__name__ for one in models)
    count = sum(p.numel() for one in models for p in one.parameters())
    return f"{classes}, {count:,} parameters"


def free_estimate(optimizer: Optimizer) -> float | None:
    """Return the distance that a learning-rate-free optimizer estimates; None where there is none."""
    value = optimizer.param_groups[0].get("d")
    return float(value) if isinstance(value, int | float) else None


def equilibrium(optimizer: Optimizer) -> float:
    """Return the length of steps over weights that weight decay leads to, where gradients do not depend on the scale.

    sqrt(2 lr wd / (1 + m)) of SGD with momentum m, sqrt(2 lr wd (1 - b) / (1 + b)) of AdamW with the first beta b: what
    random gradients add to the weights' length is then what the decay takes. Layers under a normalisation settle there
    whatever the task, so it is what their update_ratio is to be compared with.

    Returns:
        That of the first group with weight decay; NaN without one, or of an optimizer that this is not known of.

    Reference:
        Kosson et al., "Rotational equilibrium: how weight decay balances learning across neural networks", 2023.
    """
    for group in optimizer.param_groups:
        strength = float(group["lr"]) * float(group.get("weight_decay") or 0.0)
        if strength <= 0:
            continue
        if isinstance(optimizer, SGD):
            return math.sqrt(2 * strength / (1 + float(group["momentum"])))
        if isinstance(optimizer, AdamW):
            beta = float(group["betas"][0])
            return math.sqrt(2 * strength * (1 - beta) / (1 + beta))
    return math.nan


def _free(optimizer: Optimizer) -> bool:
    return type(optimizer).__name__.startswith(_FREE) and "d" in optimizer.param_groups[0]


def _calls(scheduler: LRScheduler | None) -> int:
    return 0 if scheduler is None else int(scheduler.last_epoch)


def _factors(schedule: Any, steps: int | None) -> tuple[float, ...]:
    """Return a schedule's factors over the horizon, thinned; empty where they cannot be known ahead."""
    bound = schedule.schedule if isinstance(schedule, BoundScheduler) else None
    value = schedule if isinstance(schedule, Schedule) else getattr(bound, "rate", None)
    if not isinstance(value, Schedule) or not steps:
        return ()
    factors = (value if value.resolved else value.over(steps)).factors(steps)
    kept = np.unique(np.linspace(0, steps - 1, min(steps, _POINTS)).round().astype(int))
    return tuple(factors[kept].tolist())
