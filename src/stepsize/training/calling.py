"""Optimizers that evaluate other weights than they train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.optim import Optimizer


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
