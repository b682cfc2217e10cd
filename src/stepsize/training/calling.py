"""What an optimizer asks of the loop that calls it: the loss, a closure, or a switch to evaluation weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch.optim import Optimizer


def parameters_of_step(optimizer: Optimizer) -> Mapping[str, inspect.Parameter]:
    """Return what the ``step`` of an optimizer takes; of its class, as torch wraps the methods of instances."""
    return inspect.signature(type(optimizer).step).parameters


def needs_closure(optimizer: Optimizer) -> bool:
    """Return whether an optimizer makes the backward passes itself, by calling a closure (L-BFGS)."""
    closure = parameters_of_step(optimizer).get("closure")
    return closure is not None and closure.default is inspect.Parameter.empty


@contextmanager
def at_evaluation_weights(optimizer: Optimizer | None) -> Iterator[None]:
    """Hold an optimizer that evaluates other weights than it trains (schedule-free, averaging) at those meanwhile."""
    if not _has_modes(optimizer):
        yield
        return
    optimizer.eval()  # type: ignore[union-attr]
    try:
        yield
    finally:
        optimizer.train()  # type: ignore[union-attr]


def tell_training(optimizer: Optimizer) -> None:
    """Put an optimizer that has modes into the one for training; it may begin in the other."""
    if _has_modes(optimizer):
        optimizer.train()  # type: ignore[attr-defined]


def _has_modes(optimizer: Optimizer | None) -> bool:
    return all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))
