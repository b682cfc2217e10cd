"""A task with some of its parts changed: what the runs of a sweep train."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim import Optimizer

from stepsize.checks import check_number, check_positive, check_whole
from stepsize.errors import InputError, TaskError
from stepsize.optimizers import OPTIMIZERS, optimizer_factory, optimizer_title
from stepsize.schedules import Schedule, Span, as_warmup, constant, parse, resampled, with_warmup
from stepsize.training.batches import TensorBatches
from stepsize.training.runs import Changes
from stepsize.training.task import Task

_Factor = Callable[[int], float]

# A variant does not hold the task that it was made from, so it does not keep its own key alive.
_VARIANTS: WeakKeyDictionary[Task, dict[Changes, Task]] = WeakKeyDictionary()


def varied(task: Task, changes: Changes) -> Task:
    """Return ``task`` with ``changes``; the same object for the same changes, and ``task`` itself for none.

    - The initial weights of a seed are those of ``task``.
    - With another batch size the horizon changes so that as many examples are seen, and the schedule is resolved
      again over it: fractions, epochs and samples keep their meaning. A schedule with its own length is stretched.
      Validation data keep their batches.
    - A warmup replaces the rise that the schedule begins with, or is put before it.
    - Momentum, beta2 and weight decay are set on the parameter groups of the optimizer that the task makes.

    TaskError names the change that breaks its rule, or that no part of the task takes.
    """
    if not changes.given():
        return task
    check_changes(changes)
    variants = _VARIANTS.setdefault(task, {})
    if changes not in variants:
        variants[changes] = _vary(task, changes)
    return variants[changes]


def _vary(task: Task, changes: Changes) -> Task:
    train, batch_size, horizon = _rebatched(task, changes.batch_size)
    listed = ", ".join(f"{name}={value}" for name, value in changes.given().items())
    parts: dict[str, Any] = {
        "train": train,
        "batch_size": batch_size,
        "steps": horizon,
        "epochs": None,
        "optimizer": _optimizer(task, changes),
        "schedule": _schedule(task, changes, horizon),
        "clip": task.clip if changes.clip is None else changes.clip,
        "name": f"{task.name} ({listed})",
    }
    try:
        return replace(task, **parts)
    except InputError as error:
        if error.argument not in ("schedule", "warmup"):
            raise
        given = {name: value for name, value in changes.given().items() if name in _SCHEDULING}
        rule = f"leaves no way to resolve the schedule over {horizon:,} updates: {error}"
        raise TaskError(next(iter(given), "schedule"), given, rule) from error


_SCHEDULING = ("warmup", "schedule", "batch_size")


# Batches and horizon -------------------------------------------------------------------------------------------------


def _rebatched(task: Task, batch_size: int | None) -> tuple[Iterable[Any], int, int]:
    """Return training data, batch size and horizon."""
    if batch_size is None:
        return task.train, task.batch_size, task.horizon
    if not isinstance(task.train, TensorBatches):
        rule = f"cannot be changed where train is a {type(task.train).__name__}, which has its own batches"
        raise TaskError("batch_size", batch_size, rule, "Give train as a tuple of tensors, or as TensorBatches")
    train = replace(task.train, batch_size=batch_size)
    # Counted in passes: the last batch of each is smaller where the size does not divide the data.
    return train, batch_size, max(1, round(task.horizon * len(train) / len(task.train)))


# The schedule --------------------------------------------------------------------------------------------------------


def _schedule(task: Task, changes: Changes, horizon: int) -> Schedule | _Factor | None:
    given = parse(changes.schedule) if changes.schedule is not None else task.given_schedule
    if changes.warmup is None:
        return _fitted(given, task.horizon, horizon)
    if given is None:
        given = constant()
    if not isinstance(given, Schedule):
        rule = f"cannot be changed in the schedule {task.schedule_name}, a function whose warmup is unknown"
        remedy = "Give the task's schedule as one of stepsize.schedules, or in its written form ('cosine warmup=5%')"
        raise TaskError("warmup", changes.warmup, rule, remedy)
    length = as_warmup(changes.warmup)
    if isinstance(length, int) and horizon != task.horizon and _brings_its_length(given):
        length = Span(length / horizon, "share") if 0 < length < horizon else length  # it is stretched along
    try:
        warmed = with_warmup(given, length)
    except InputError as error:
        raise TaskError("warmup", changes.warmup, f"does not fit the schedule '{given}': {error}") from error
    return _fitted(warmed, task.horizon, horizon)


def _fitted(schedule: Schedule | _Factor | None, before: int, horizon: int) -> Schedule | _Factor | None:
    """Return what resolves over ``horizon``, given what resolved over ``before``."""
    if schedule is None or before == horizon:
        return schedule
    if isinstance(schedule, Schedule):
        return schedule.extended(to=horizon) if _brings_its_length(schedule) else schedule
    return resampled(schedule, before, to=horizon)


def _brings_its_length(schedule: Schedule) -> bool:
    return schedule.resolved and schedule.length is not None


# The optimizer -------------------------------------------------------------------------------------------------------


_NUMBERS = ("momentum", "beta2", "weight_decay")


@dataclass(frozen=True)
class _Adjusted:
    """A factory of optimizers whose groups get other numbers; None leaves a number as it is made."""

    make: str | Callable[[Iterable[Any], float], Optimizer]
    title: str
    momentum: float | None
    beta2: float | None
    weight_decay: float | None

    @property
    def __name__(self) -> str:
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return f"{self.title} with " + ", ".join(f"{name}={n:g}" for name, n in numbers.items() if n is not None)

    def __call__(self, params: Iterable[Any], lr: float) -> Optimizer:
        optimizer: Optimizer = optimizer_factory(self.make)(params, lr)
        for group in optimizer.param_groups:
            self._set_betas(group)
        if self.weight_decay is not None:
            self._set_decay(optimizer.param_groups, self.weight_decay)
        return optimizer

    def _set_betas(self, group: dict[str, Any]) -> None:
        betas = list(group.get("betas", ()))
        if self.momentum is not None:
            if "momentum" in group:
                group["momentum"] = self.momentum
            elif betas:
                betas[0] = self.momentum
            else:
                raise self._missing("momentum", self.momentum, "neither 'momentum' nor 'betas'")
        if self.beta2 is not None:
            if len(betas) < 2:
                raise self._missing("beta2", self.beta2, "no 'betas'")
            betas[1] = self.beta2
        if betas:
            group["betas"] = tuple(betas)

    def _set_decay(self, groups: list[dict[str, Any]], decay: float) -> None:
        decaying = [group for group in groups if group.get("weight_decay")]
        for group in decaying or groups:
            if "weight_decay" not in group:
                raise self._missing("weight_decay", decay, "no 'weight_decay'")
            group["weight_decay"] = decay

    def _missing(self, change: str, value: float, what: str) -> TaskError:
        remedy = f"Leave {change} out, or choose another optimizer"
        return TaskError(change, value, f"cannot be set: a parameter group of {self.title} has {what}", remedy)


def _optimizer(task: Task, changes: Changes) -> str | Callable[[Iterable[Any], float], Optimizer]:
    base = changes.optimizer if changes.optimizer is not None else task.optimizer
    numbers = {name: getattr(changes, name) for name in _NUMBERS}
    if all(value is None for value in numbers.values()):
        return base
    adjusted = _Adjusted(base, optimizer_title(base), **numbers)
    if isinstance(base, str):  # a user's factory may want the parameters of a real model: it is asked by the first run
        adjusted([torch.nn.Parameter(torch.zeros(1))], 1.0)
    return adjusted


# Values --------------------------------------------------------------------------------------------------------------


def check_changes(changes: Changes) -> None:
    """Raise unless every value keeps its rule, whatever the task."""
    if changes.optimizer is not None:
        if not isinstance(changes.optimizer, str):
            raise TaskError("optimizer", changes.optimizer, "must be a name of the catalog")
        OPTIMIZERS[changes.optimizer]
    if changes.schedule is not None and not isinstance(changes.schedule, str):
        raise TaskError(
            "schedule", changes.schedule, "must be the written form of a schedule", "Write 'cosine end=0.1'"
        )
    if changes.schedule is not None:
        parse(changes.schedule)
    if changes.batch_size is not None:
        check_whole("batch_size", changes.batch_size, unit="examples", error=TaskError)
    for name, below in (("momentum", 1.0), ("beta2", 1.0), ("weight_decay", math.inf)):
        if getattr(changes, name) is not None:
            check_number(name, getattr(changes, name), least=0, below=below, error=TaskError)
    if changes.clip is not None:
        check_positive("clip", changes.clip, "gradient norm", error=TaskError)
    if changes.warmup is not None:
        try:
            as_warmup(changes.warmup)
        except InputError as error:
            raise TaskError("warmup", changes.warmup, error.rule, error.remedy) from error
