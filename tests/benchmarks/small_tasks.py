"""Two trainings of a second: one in the usual form, one whose loss takes the model and a dict."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from stepsize.training import Task


def _data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(96, 4, generator=generator)
    noise = torch.randn(96, 1, generator=generator)
    return x, x @ torch.tensor([[1.0], [-2.0], [0.5], [3.0]]) + 0.3 * noise


def _model() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))


def plain_task(optimizer: str = "adamw", seed: int = 100, steps: int = 200) -> Task:
    x, y = _data()
    return Task(
        model=_model,
        loss=nn.functional.mse_loss,
        train=(x[:64], y[:64]),
        val=(x[64:], y[64:]),
        optimizer=optimizer,
        steps=steps,
        batch_size=16,
        seed=seed,
        name="plain",
    )


def dict_task() -> Task:
    x, y = _data()
    batches = [{"x": x[k : k + 16], "deep": {"y": y[k : k + 16]}} for k in range(0, 64, 16)]

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.mse_loss(model(batch["x"]), batch["deep"]["y"])

    return Task(model=_model, loss=loss, train=batches, val=batches, optimizer="adamw", steps=200, seed=100)
