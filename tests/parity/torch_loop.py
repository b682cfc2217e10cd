"""What a torch scheduler does to an optimizer, update by update."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from tests.parity.cases import Evaluate

PEAK = 0.5  # a power of two: dividing by it is exact


def optimizer(lr: float = PEAK, groups: tuple[float, ...] = ()) -> torch.optim.Optimizer:
    """An optimizer whose default rate is ``lr``, with one group a rate in ``groups``."""
    rates = groups or (lr,)
    return torch.optim.SGD(
        [{"params": [torch.zeros(1, requires_grad=True)], "lr": rate} for rate in rates], lr=lr, momentum=0.9
    )


def rates(make: Callable[[Any], Any], *, groups: tuple[float, ...] = (), group: int = 0) -> Evaluate:
    """The rates that updates of one group really use, over its peak; NaN from where the scheduler raises."""

    def evaluate(count: int) -> list[float]:
        on = optimizer(groups=groups)
        peak = on.param_groups[group]["lr"]
        return [value / peak for value in _walk(on, make(on), count, "lr", group)]

    return evaluate


def momenta(make: Callable[[Any], Any]) -> Evaluate:
    """The momenta that updates really use."""

    def evaluate(count: int) -> list[float]:
        on = optimizer()
        return _walk(on, make(on), count, "momentum", 0)

    return evaluate


def _walk(on: torch.optim.Optimizer, scheduler: Any, count: int, key: str, group: int) -> list[float]:
    values: list[float] = []
    for _ in range(count):
        values.append(float(on.param_groups[group][key]))
        on.step()
        try:
            scheduler.step()
        except (ValueError, NotImplementedError):
            break
    return values + [math.nan] * (count - len(values))
