"""Seven tiny tasks, of which verdicts have reference runs.

They are as people try things out: small networks on digits, tumors, wines and diabetes, trained for some hundred
steps. Their cliffs are deep: a rate a little too high ends as an untrained model.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn

from benchmarks.combos import OPTIMIZERS
from stepsize import Task

__all__ = ["small_tasks"]


def small_tasks(optimizers: Sequence[str] = OPTIMIZERS) -> Iterator[Task]:
    """Yield every task with every optimizer."""
    images = sklearn.datasets.load_digits()
    digits = _split(images.data / 16.0, images.target)
    pictures = _split(images.images[:, None] / 16.0, images.target)
    tumours = _table(sklearn.datasets.load_breast_cancer())
    wines = _table(sklearn.datasets.load_wine())
    diabetes = _table(sklearn.datasets.load_diabetes(), numbers=True)
    made: list[tuple[str, Callable[[], nn.Module], Any, int, int]] = [
        ("small-digits", lambda: _mlp(64, 64, 2, 10), digits, 500, 32),
        ("deep-tanh", lambda: _mlp(64, 32, 8, 10, nn.Tanh), digits, 600, 32),
        ("small-cnn", _cnn, pictures, 400, 32),
        ("small-cnn-norm", lambda: _cnn(norm=True), pictures, 400, 32),
        ("tumours", lambda: _mlp(30, 64, 2, 2), tumours, 300, 32),
        ("wines", lambda: _mlp(13, 32, 1, 3, nn.Tanh), wines, 200, 16),
        ("small-diabetes", lambda: _mlp(10, 32, 1, 1), diabetes, 200, 32),
    ]
    for name, model, (train, val), steps, batch_size in made:
        loss = nn.functional.mse_loss if name == "small-diabetes" else nn.functional.cross_entropy
        for optimizer in optimizers:
            yield Task(
                model=model, loss=loss, train=train, val=val, optimizer=optimizer, steps=steps, batch_size=batch_size,
                schedule="warmup 5%, cosine", name=f"{name}, {optimizer}",
            )  # fmt: skip


def _split(x: Any, y: Any, *, numbers: bool = False) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return three quarters to train on and a quarter of unseen data."""
    order = np.random.default_rng(0).permutation(len(x))
    unseen, seen = order[: len(x) // 4], order[len(x) // 4 :]
    features = torch.tensor(np.asarray(x), dtype=torch.float32)
    targets = torch.tensor(np.asarray(y), dtype=torch.float32)[:, None] if numbers else torch.tensor(np.asarray(y))
    return (features[seen], targets[seen]), (features[unseen], targets[unseen])


def _table(data: Any, *, numbers: bool = False) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    y = (data.target - data.target.mean()) / data.target.std() if numbers else data.target
    return _split(x, y, numbers=numbers)


def _mlp(inputs: int, width: int, depth: int, outputs: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    sizes = [inputs, *[width] * depth]
    hidden = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), act())]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def _cnn(*, norm: bool = False) -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        between = [nn.BatchNorm2d(outputs)] if norm else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *between, nn.ReLU()]

    return nn.Sequential(*block(1, 8), nn.MaxPool2d(2), *block(8, 16), nn.Flatten(), nn.Linear(256, 10))
