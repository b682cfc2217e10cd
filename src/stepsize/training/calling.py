"""What an optimizer asks of the loop that calls it: the loss, the loss again, or a switch to evaluation weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer


class Call:
    """How to call the ``step`` of one optimizer, by its parameters.

    ``loss`` is the mean loss of the update's batches, ``loss_fn`` returns it at the present weights and dropout, and a
    ``closure`` (L-BFGS) makes the backward passes again.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        # of the class: torch wraps the methods of instances, some without their signature
        parameters = inspect.signature(type(optimizer).step).parameters
        self.takes_loss = "loss" in parameters
        self.takes_loss_fn = "loss_fn" in parameters
        self.takes_closure = "closure" in parameters and parameters["closure"].default is inspect.Parameter.empty

    def arguments(self, loss: Tensor, loss_fn: Callable[[], Tensor]) -> dict[str, Any]:
        """Return the arguments of this update."""
        given: dict[str, Any] = {}
        if self.takes_loss:
            given["loss"] = loss
        if self.takes_loss_fn:
            given["loss_fn"] = loss_fn
        return given


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
