"""Slow, plain computations of the signals, from full gradients and weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

__all__ = ["Twin"]


@dataclass
class Twin:
    """Sees the full gradient and weights before each update."""

    net: nn.Module
    gradients: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def look(self) -> None:
        parameters = list(self.net.parameters())
        self.gradients.append(torch.cat([p.grad.flatten().clone() for p in parameters if p.grad is not None]).double())
        self.weights.append(torch.cat([p.detach().flatten().clone() for p in parameters]).double())

    def cosine(self, step: int) -> float:
        one, two = self.gradients[step - 1], self.gradients[step]
        return float(one @ two / one.norm() / two.norm())

    def slopes(self, step: int) -> tuple[float, float]:
        moved = self.weights[step] - self.weights[step - 1]
        return float(self.gradients[step - 1] @ moved), float(self.gradients[step] @ moved)

    def update_ratio(self, step: int) -> float:
        return float((self.weights[step] - self.weights[step - 1]).norm() / self.weights[step].norm())
