"""The usual rate of an optimizer: every search for a rate begins around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.optim import Optimizer

from stepsize.optimizers.catalog import OPTIMIZERS


class Usual(NamedTuple):
    """Usual absolute rate of an optimizer, and its family in the record of curves ("" if unknown)."""

    lr: float
    family: str


PLAIN = ("sgd", "momentum", "nesterov")
"""Families that do not scale coordinates by their gradients."""

UNKNOWN = Usual(1e-3, "")
"""For an optimizer that is in no table."""


def usual_rate(optimizer: str | Callable[..., Any]) -> Usual:
    """Return the usual rate of an optimizer and its family; a factory is called on a small parameter to see both."""
    if isinstance(optimizer, str):
        entry = OPTIMIZERS[optimizer]
        return Usual(entry.default_lr, entry.family)
    try:
        built = optimizer([torch.nn.Parameter(torch.zeros(2, 2))], UNKNOWN.lr)
        return usual_of(built)
    except Exception:  # noqa: BLE001  a factory that needs the real parameters is no error: only its name is unknown
        return UNKNOWN


def usual_of(optimizer: Optimizer) -> Usual:
    """Return the usual rate and the family of an optimizer that is built, by the name of its class or of a parent."""
    group = optimizer.param_groups[0]
    for kind in type(optimizer).__mro__:
        if kind.__name__ == "SGD" and group.get("momentum", 0) > 0:
            return usual_rate("nesterov" if group.get("nesterov") else "momentum")
        found = [entry for entry in OPTIMIZERS.values() if kind.__name__.lower() in (entry.name, entry.kind.lower())]
        if found:
            return usual_rate(found[0].name)
    return UNKNOWN
