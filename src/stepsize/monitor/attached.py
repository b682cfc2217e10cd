"""What is attached to a run: its schedule or scheduler, its gradient scaler, and the kind of its optimizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from stepsize.errors import InputError
from stepsize.monitor.record import Facts
from stepsize.optimizers.usual import PLAIN, usual_of
from stepsize.schedules import Schedule
from stepsize.training.binding import BoundScheduler

_POINTS = 1_000
_FREE = ("Prodigy", "DAdapt")  # classes that estimate the distance to the solution, in group["d"]
_BY_STEP = ("OneCycleLR", "CyclicLR", "LinearLR")


class SchedulerCalls:
    """Counts the calls of a torch scheduler; of anything else, nothing."""

    def __init__(self, schedule: Any) -> None:
        counts = isinstance(schedule, LRScheduler) and not isinstance(schedule, BoundScheduler)
        self._scheduler = schedule if counts else None
        self._begin = self._calls()
        self._updates = 0
        self._early = False

    def note(self, updates: int) -> None:
        """Note the number of updates."""
        if self._scheduler is None:
            return
        if not self._updates and self._calls() > self._begin and not updates:
            self._early = True
        self._updates = updates

    def facts(self) -> Mapping[str, Any]:
        """Return what rules need to know; empty without a scheduler."""
        if self._scheduler is None:
            return {}
        name = type(self._scheduler).__name__
        by_step = name in _BY_STEP or getattr(self._scheduler, "total_steps", None) is not None
        calls = self._calls() - self._begin
        return {"name": name, "calls": calls, "updates": self._updates, "early": self._early, "by_step": by_step}

    def _calls(self) -> int:
        return 0 if self._scheduler is None else int(self._scheduler.last_epoch)


class Attempts:
    """Distinguishes updates that a gradient scaler skipped from batches after which no update was due."""

    def __init__(self, scaler: Any, optimizers: Sequence[Optimizer]) -> None:
        self._scaler = scaler
        self._ids = [id(one) for one in optimizers]
        self._version = self._counted()
        self._stepped = False  # whether the attempt of the last call still waits for the scaler's update

    def made(self) -> bool:
        """Return whether the scaler was asked for an update since the last call, without device synchronization."""
        if self._scaler is None:
            return False
        version, before = self._counted(), self._version
        self._version = version
        states = getattr(self._scaler, "_per_optimizer_states", {})
        stages = [states[one]["stage"] for one in self._ids if one in states]
        stepped = any(getattr(stage, "name", "") == "STEPPED" for stage in stages)
        made = stepped or (version != before and not self._stepped)
        self._stepped = stepped
        return made

    def _counted(self) -> int:
        """Return a number that every ``scaler.update()`` changes."""
        kept = [getattr(self._scaler, name, None) for name in ("_scale", "_growth_tracker")]
        return sum(one._version for one in kept if one is not None)


def as_models(model: Any) -> list[nn.Module]:
    """Return one or several models as a list."""
    models = [model] if isinstance(model, nn.Module) or not isinstance(model, Iterable) else list(model)
    if not models or not all(isinstance(one, nn.Module) for one in models):
        raise InputError("model", models, "must be a torch.nn.Module, or several")
    return models


def check_owned(models: Sequence[nn.Module], optimizers: Sequence[Optimizer]) -> None:
    """Raise InputError unless each optimizer holds trainable parameters of the models."""
    owned = {id(p) for model in models for p in model.parameters()}
    for one in optimizers:
        held = [p for group in one.param_groups for p in group["params"]]
        if not any(id(p) in owned and p.requires_grad for p in held):
            rule = "must hold trainable parameters of the model, but holds only others"
            remedy = "Was the model copied, moved or wrapped after the optimizer was made? Make the optimizer again"
            raise InputError("optimizer", type(one).__name__, rule, remedy)


def facts_of(optimizers: Sequence[Optimizer], schedule: Any, steps: int | None) -> Facts:
    """Return what is known of a run before its first step."""
    usual = usual_of(optimizers[0])
    plain = usual.family in PLAIN
    return Facts(
        steps=steps,
        optimizer="+".join(type(one).__name__ for one in optimizers),
        learning_rate_free=any(
            type(one).__name__.startswith(_FREE) and "d" in one.param_groups[0] for one in optimizers
        ),
        usual_lr=usual.lr if usual.family else None,
        adaptive=not plain if usual.family else None,
        parameters=sum(p.numel() for one in optimizers for g in one.param_groups for p in g["params"]),
        momentum=float(optimizers[0].param_groups[0].get("momentum", 0)) if plain else 0.0,
        schedule=factors_of(schedule, steps),
        written=_written(schedule, steps),
    )


def describe(models: Sequence[nn.Module]) -> str:
    """Return the classes of the models and their size."""
    classes = " + ".join(type(getattr(one, "module", one)).__name__ for one in models)
    count = sum(p.numel() for one in models for p in one.parameters())
    return f"{classes}, {count:,} parameters"


def factors_of(schedule: Any, steps: int | None) -> tuple[float, ...]:
    """Return a schedule's factors over the horizon, thinned; empty if they are not known in advance."""
    value = _resolved(schedule, steps)
    if value is None or steps is None:
        return ()
    factors = value.factors(steps)
    kept = np.unique(np.linspace(0, steps - 1, min(steps, _POINTS)).round().astype(int))
    return tuple(factors[kept].tolist())


def _resolved(schedule: Any, steps: int | None) -> Schedule | None:
    """Return a schedule of the learning rate over the horizon; None if it is not known in advance."""
    bound = schedule.schedule if isinstance(schedule, BoundScheduler) else None
    value = schedule if isinstance(schedule, Schedule) else getattr(bound, "rate", None)
    if not isinstance(value, Schedule) or not steps:
        return None
    return value if value.resolved else value.over(steps)


def _written(schedule: Any, steps: int | None) -> str:
    value = _resolved(schedule, steps)
    return "" if value is None or value.node.holds_function else str(value)
