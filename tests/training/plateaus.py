"""A weight under a bound schedule and a plateau controller, whose rates can be read off: for the tests of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from stepsize.curves.plateau import PlateauRule
from stepsize.schedules import Schedule, constant
from stepsize.training import BoundScheduler, Plateau, bind
from stepsize.training.binding import Counts

FLAT = [1.5, 1.4, 1.6, 1.5, 1.4, 1.5, 1.6, 1.4, 1.5, 1.6, 1.4, 1.5]  # as many as the default rule needs, then a drop
FALLING = [3.0, 2.9, 2.7, 2.6, 2.5, 2.3, 2.2, 2.1, 1.9, 1.8, 1.7, 1.5, 1.4, 1.3, 1.1, 1.0]
SHORT = PlateauRule(window=4, cooldown=0)  # drops at the fourth of four equal values
EPOCH = 5  # updates between two observations


@dataclass
class Training:
    """A bound schedule on one weight of value 0, whose gradient is −1: each update adds its rate to the weight."""

    optimizer: SGD
    bound: BoundScheduler

    @classmethod
    def under(cls, schedule: Schedule, lr: float = 1.0, counts: Counts = "updates") -> Training:
        optimizer = SGD([nn.Parameter(torch.zeros((), dtype=torch.float64))], lr=lr)
        return cls(optimizer, bind(schedule, optimizer, counts=counts))

    @property
    def weight(self) -> nn.Parameter:
        found: nn.Parameter = self.optimizer.param_groups[0]["params"][0]
        return found

    def update(self) -> float:
        """Make one update and return the rate that it was made at."""
        before = self.weight.item()
        self.weight.grad = -torch.ones_like(self.weight)
        self.optimizer.step()
        self.bound.step()
        return self.weight.item() - before

    def epoch(self) -> float:
        """Make the updates of an epoch and return the rate of the last."""
        return [self.update() for _ in range(EPOCH)][-1]


def drops_at(values: list[float], **options: Any) -> list[int]:
    """Return at which observations a controller lowers the rate."""
    plateau = Plateau(Training.under(constant()).bound, **options)
    for value in values:
        plateau.observe(value)
    return [drop.observation for drop in plateau.drops]
