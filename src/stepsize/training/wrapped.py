"""Optimizers inside the wrappers of trainers: Accelerate's, Fabric's, Lightning's, apex' and the like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch.optim import Optimizer

from stepsize.errors import InputError

_DEEP = 8  # wrappers around wrappers


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
    """Return one or several optimizers as a list, each out of its wrappers.

    Raises:
        InputError: If these are no optimizers of torch.
    """
    several = isinstance(given, Iterable) and not isinstance(given, Optimizer)
    found = [bare_optimizer(one) for one in (given if several else [given])]
    for one in found:
        if type(one).__module__.partition(".")[0] == "keras":
            remedy = "Pass stepsize.frameworks.keras.Stepsize() in callbacks=[…] of model.fit"
            raise InputError(argument, f"{type(one).__name__} of Keras", "must be a torch.optim.Optimizer", remedy)
    if not found or not all(isinstance(one, Optimizer) for one in found):
        raise InputError(argument, given, "must be a torch.optim.Optimizer, or several")
    return found
