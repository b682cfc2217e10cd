"""The catalog of optimizers: one entry each, which alone enrolls it everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch.optim import Optimizer

from stepsize.catalog import Catalog
from stepsize.optimizers.entry import OptimizerEntry, OptimizerFactory
from stepsize.optimizers.native import NATIVE
from stepsize.optimizers.packaged import PACKAGED

OPTIMIZERS: Catalog[OptimizerEntry] = Catalog("optimizer", (*NATIVE, *PACKAGED))
"""All optimizers that are known by name."""


def optimizer_factory(optimizer: str | OptimizerFactory | Callable[..., Any]) -> Callable[..., Any]:
    """Return what builds an optimizer, given its name or the factory itself."""
    return OPTIMIZERS[optimizer].make if isinstance(optimizer, str) else optimizer


def optimizer_title(optimizer: str | Callable[..., Any]) -> str:
    """Return the name in reports of an optimizer, given its name or a factory."""
    if isinstance(optimizer, str):
        return OPTIMIZERS[optimizer].title
    return getattr(optimizer, "__name__", type(optimizer).__name__)


def parameters_of_step(optimizer: Optimizer) -> Mapping[str, inspect.Parameter]:
    """Return what the ``step`` of an optimizer takes; of its class, as torch wraps the methods of instances."""
    return inspect.signature(type(optimizer).step).parameters


def needs_closure(optimizer: Optimizer) -> bool:
    """Return whether an optimizer makes the backward passes itself, by calling a closure (L-BFGS)."""
    closure = parameters_of_step(optimizer).get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty
