"""Optimizers inside the wrappers of trainers: Accelerate's, Fabric's, Lightning's, apex' and the like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from stepsize.errors import InputError

_DEEP = 8  # wrappers around wrappers
StepHook: TypeAlias = Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], Any]


def outside_of_graphs(
    hook: Callable[[Any, Any, Any], Any], compiled: Callable[[Any, Any, Any], Any] | None = None
) -> StepHook:
    """Return a step hook that ``torch.compile(optimizer.step)`` calls instead of tracing it: its numbers change.

    If given, ``compiled`` is what it calls then.
    """
    eager: Callable[[Any, Any, Any], Any] = torch.compiler.disable(compiled or hook)  # type: ignore[no-untyped-call]

    def called(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return (eager if torch.compiler.is_compiling() else hook)(optimizer, args, kwargs)  # which may change them

    return called


def runs_step_hooks(optimizer: Any) -> bool:
    """Return whether the ``step`` of an optimizer calls the hooks that are registered on it."""
    return getattr(type(optimizer).step, "hooked", False) and hasattr(optimizer, "_optimizer_step_pre_hooks")


def bare_optimizer(optimizer: Any) -> Any:
    """Return the optimizer inside of wrappers that run no step hooks and keep it as ``.optimizer``; else the same."""
    for _ in range(_DEEP):
        inner = getattr(optimizer, "optimizer", None)
        if inner is None or not callable(getattr(inner, "step", None)):
            break
        if isinstance(optimizer, Optimizer) and runs_step_hooks(optimizer):
            break  # it changes what the inner one does, such as an average over steps
        optimizer = inner
    return optimizer


def bare_optimizers(argument: str, given: Any) -> list[Optimizer]:
    """Return one or several optimizers as a list, each out of its wrappers; InputError if they train nothing."""
    several = isinstance(given, Iterable) and not isinstance(given, Optimizer)
    found = [bare_optimizer(one) for one in (given if several else [given])]
    for one in found:
        if type(one).__module__.partition(".")[0] == "keras":
            remedy = "Pass stepsize.frameworks.keras.Stepsize() in callbacks=[…] of model.fit"
            raise InputError(argument, f"{type(one).__name__} of Keras", "must be a torch.optim.Optimizer", remedy)
    if not found or not all(isinstance(one, Optimizer) for one in found):
        raise InputError(argument, given, "must be a torch.optim.Optimizer, or several")
    _check_parameters(argument, found)
    return found


def remade(optimizer: Optimizer, groups: Iterable[dict[str, Any]]) -> Optimizer:
    """Return a new optimizer of the same class and arguments over other parameter groups."""
    known = inspect.signature(type(optimizer).__init__).parameters
    return type(optimizer)(groups, **{name: value for name, value in optimizer.defaults.items() if name in known})


def _check_parameters(argument: str, optimizers: list[Optimizer]) -> None:
    groups = [group for one in optimizers for group in one.param_groups]
    if any(group.get("lr") is None for group in groups):
        raise InputError(argument, "a group without lr", "must have a learning rate in each group", "Give it an lr")
    parameters = [p for group in groups for p in group["params"]]
    if any(isinstance(p, UninitializedParameter) for p in parameters):
        remedy = "Run one batch through the model first: its lazy layers then get their shapes"
        raise InputError(argument, "uninitialized parameters", "must hold parameters with a shape", remedy)
    if not any(p.requires_grad for p in parameters):
        remedy = "Set requires_grad=True on what is to be trained"
        raise InputError(argument, "frozen parameters only", "must hold a trainable parameter", remedy)
