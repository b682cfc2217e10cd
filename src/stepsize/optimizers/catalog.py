"""One entry an optimizer: how it is built for a learning rate, and the rate that people default to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from stepsize.errors import UnknownNameError

__all__ = ["OPTIMIZERS", "OptimizerEntry", "OptimizerFactory", "optimizer_entry"]


class OptimizerFactory(Protocol):
    """Builds an optimizer over ``params`` whose groups' rates are proportional to ``lr``."""

    def __call__(self, params: Iterable[Any], lr: float) -> Optimizer: ...


@dataclass(frozen=True)
class OptimizerEntry:
    """What stepsize knows of an optimizer.

    ``default_lr`` is the absolute rate that people start from without a search: the constructor's own
    default in torch, and 0.1 for the SGD family, where torch's 1e-3 is nobody's practice.
    """

    name: str
    make: OptimizerFactory
    default_lr: float
    title: str


_SGD = torch.optim.SGD
_ENTRIES = (
    OptimizerEntry("sgd", _SGD, 0.1, "SGD"),
    OptimizerEntry("momentum", partial(_SGD, momentum=0.9), 0.1, "SGD, momentum 0.9"),
    OptimizerEntry("nesterov", partial(_SGD, momentum=0.9, nesterov=True), 0.1, "SGD, Nesterov momentum 0.9"),
    OptimizerEntry("adagrad", torch.optim.Adagrad, 1e-2, "Adagrad"),
    OptimizerEntry("rmsprop", torch.optim.RMSprop, 1e-2, "RMSprop"),
    OptimizerEntry("adam", torch.optim.Adam, 1e-3, "Adam"),
    OptimizerEntry("adamw", torch.optim.AdamW, 1e-3, "AdamW"),
)

OPTIMIZERS: dict[str, OptimizerEntry] = {entry.name: entry for entry in _ENTRIES}


def optimizer_entry(name: str) -> OptimizerEntry:
    """Return the catalog entry of ``name``.

    Args:
        name: A key of :data:`OPTIMIZERS`, for example ``"adamw"``.

    Returns:
        The entry.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest.

    Example:
        >>> optimizer_entry("adamw").default_lr
        0.001
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]
