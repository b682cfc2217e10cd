"""Slow, plain computations of the signals, from full gradients and weights."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from stepsize.monitor import Record

__all__ = ["Twin", "held_to"]


@dataclass
class Twin:
    """Sees the full gradient and weights before each update."""

    net: nn.Module
    gradients: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)

    def look(self, scale: float = 1.0) -> None:
        parameters = list(self.net.parameters())
        gradients = [p.grad.flatten().double() / scale for p in parameters if p.grad is not None]
        self.gradients.append(torch.cat(gradients).double())
        self.weights.append(torch.cat([p.detach().flatten().clone() for p in parameters]).double())

    def cosine(self, step: int) -> float:
        one, two = self.gradients[step - 1], self.gradients[step]
        return float(one @ two / one.norm() / two.norm())

    def slopes(self, step: int) -> tuple[float, float]:
        moved = self.weights[step] - self.weights[step - 1]
        return float(self.gradients[step - 1] @ moved), float(self.gradients[step] @ moved)

    def update_ratio(self, step: int) -> float:
        return float((self.weights[step] - self.weights[step - 1]).norm() / self.weights[step].norm())

    def layer_ratios(self, step: int) -> list[float]:
        """The same of each layer, which is a weight and a bias."""
        sizes = [p.numel() for p in self.net.parameters()]
        sizes = [sum(pair) for pair in zip(sizes[::2], sizes[1::2], strict=True)]
        now, then = (torch.split(self.weights[n], sizes) for n in (step, step - 1))
        return [float((one - other).norm() / one.norm()) for one, other in zip(now, then, strict=True)]


def held_to(
    twin: Twin, record: Record, losses: list[float] | None, *, clipped: list[float] | None = None, layers: bool = True
) -> None:
    """Assert that the signals of every update are those of the twin, which saw the gradients that were applied."""
    count = len(twin.gradients)
    times = clipped or [1.0] * count  # signals are those of gradients before clipping
    if losses is not None:
        assert record.recent("loss").values == pytest.approx(losses, rel=1e-4)
    norms = [float(gradient.norm()) / factor for gradient, factor in zip(twin.gradients, times, strict=True)]
    assert record.recent("grad_norm").values == pytest.approx(norms, rel=1e-3)
    steps = range(1, count)
    assert record.recent("cosine").values == pytest.approx([twin.cosine(n) for n in steps], rel=2e-3, abs=1e-4)
    then = [twin.slopes(n)[0] / times[n - 1] for n in steps]
    now = [twin.slopes(n)[1] / times[n] for n in steps]
    assert record.recent("slope_then").values == pytest.approx(then, rel=2e-3, abs=1e-7)
    assert record.recent("slope_now").values == pytest.approx(now, rel=2e-3, abs=1e-7)
    assert record.recent("update_ratio").values == pytest.approx([twin.update_ratio(n) for n in steps], rel=1e-3)
    of_layers = [record.recent(f"update_ratio/{layer}") for layer in record.layers()] if layers else []
    for step, *ratios in zip(of_layers[0].steps, *(one.values for one in of_layers), strict=True) if layers else ():
        assert ratios == pytest.approx(twin.layer_ratios(step), rel=1e-3)
