"""Fine-tuning with layer-wise rates: layers closer to the input have lower rates, and one search finds their level.

A network learns the digits 0 to 4, then its trunk is fine-tuned on 5 to 9 from few examples. The optimizer of the task
gives each layer a fraction of the rate; `find` searches the level and keeps the ratios. Whether this helps is measured
too, each variant at its own rate; on this small network it does not.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import stepsize
from stepsize import schedules

DECAY = 0.5  # of the rate, per layer


def layer_wise(params: Iterable[Any], lr: float) -> torch.optim.Optimizer:
    """AdamW whose last layer has the rate ``lr`` and each layer before it a fraction of the next one's."""
    tensors = list(params)
    layers = [tensors[at : at + 2] for at in range(0, len(tensors), 2)]  # weight and bias
    shares = [DECAY ** (len(layers) - 1 - number) for number in range(len(layers))]
    return torch.optim.AdamW(
        [{"params": layer, "lr": lr * share} for layer, share in zip(layers, shares, strict=True)], lr=lr
    )


def data(low: int, high: int) -> tuple[torch.Tensor, torch.Tensor]:
    images, digits = load_digits(return_X_y=True)
    chosen = (digits >= low) & (digits < high)
    return torch.tensor(images[chosen], dtype=torch.float32) / 16, torch.tensor(digits[chosen] - low)


def pretrained() -> nn.Module:
    """A network that reads the digits 0 to 4."""
    task = stepsize.Task(
        model=lambda: nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 5)),
        loss=F.cross_entropy,
        train=data(0, 5),
        optimizer="adamw",
        steps=200,
        schedule="cosine",
    )
    model = stepsize.train(task, lr=3e-3).model
    assert model is not None
    return model


def main() -> None:
    torch.manual_seed(0)
    start = pretrained()
    x, y = data(5, 10)

    def new_model() -> nn.Module:
        model = copy.deepcopy(start)
        model[4] = nn.Linear(96, 5)  # a new head
        return model

    for name, optimizer in (("layer-wise", layer_wise), ("one rate", "adamw")):
        task = stepsize.Task(
            model=new_model,
            loss=F.cross_entropy,
            train=(x[:100], y[:100]),
            val=(x[100:], y[100:]),
            optimizer=optimizer,
            schedule=schedules.cosine(warmup="10%"),
            steps=200,
            batch_size=20,
            name=name,
        )
        found = stepsize.find(task, budget=6)
        assert found.lr is not None
        run = stepsize.train(task, found.lr)
        print(f"{name}: lr {found.lr:.2g} for the head, validation loss {run.val_loss:.3f}. {found.answer}")


if __name__ == "__main__":
    main()
