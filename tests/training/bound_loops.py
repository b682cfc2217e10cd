"""What the tests of bound schedules share: optimizers whose updates can be watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

Seen = list[dict[str, Any]]


def sgd(*rates: float, momentum: float = 0.9, weight_decay: float = 0.01) -> SGD:
    """Return SGD with a parameter group for each rate."""
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": lr} for lr in rates or (0.1,)]
    return SGD(groups, momentum=momentum, weight_decay=weight_decay)


def adamw(*rates: float) -> AdamW:
    """Return AdamW with a parameter group for each rate."""
    return AdamW([{"params": [nn.Parameter(torch.ones(2))], "lr": lr} for lr in rates or (0.1,)], weight_decay=0.1)


def update(*optimizers: Optimizer) -> None:
    """Make one update with gradients of one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()


def idle(optimizer: Optimizer, updates: int) -> None:
    """Make updates that move nothing, as fast as can be: the hooks run, there are no gradients."""
    for _ in range(updates):
        optimizer.step()


@contextmanager
def watched(optimizer: Optimizer) -> Iterator[list[Seen]]:
    """Collect what the groups hold while each update is made: one list of groups an update."""
    seen: list[Seen] = []

    def look(*_: object) -> None:
        seen.append([{k: float(v) if k == "lr" else v for k, v in g.items()} for g in optimizer.param_groups])

    handle = optimizer.register_step_pre_hook(look)  # behind those of a bound schedule
    try:
        yield seen
    finally:
        handle.remove()


def rates(seen: Sequence[Seen], group: int = 0) -> list[float]:
    """Return the rates of one group, update by update."""
    return [groups[group]["lr"] for groups in seen]
