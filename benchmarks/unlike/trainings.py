"""The sixteen trainings: eight that a search may be designed on, eight that are held out of its design.

None is like another or like a built-in task: other models, other optimizers (their moments and weight decay too), other
schedules, batches of 5 to 512, horizons of 80 to 1,000 steps, one of 110 examples, one from pretrained weights and one
that trains adapters beside frozen weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from benchmarks.unlike import data, models
from stepsize.tasks.parts import standardize
from stepsize.training import Task, TensorBatches, train

__all__ = ["DESIGN", "HELD_OUT", "TRAININGS", "Unlike"]

_SGD, _ADAMW = torch.optim.SGD, torch.optim.AdamW
_entropy, _squares = nn.functional.cross_entropy, nn.functional.mse_loss
_VAL_BATCH = 1_024


@dataclass(frozen=True)
class Unlike:
    """One training.

    Attributes:
        name: Of its file of ground truth too.
        optimizer: What to call the optimizer.
        usual: The rate that people start from with it.
        held_out: Whether it is held out of the design of searches.
        make: Builds the task, without optimizer and name; reads the data.
        build: The optimizer: a name of the catalog, or ``f(params, lr)``.
    """

    name: str
    optimizer: str
    usual: float
    held_out: bool
    make: Callable[[], dict[str, Any]]
    build: str | Callable[..., torch.optim.Optimizer]

    def task(self, *, seed: int = 0) -> Task:
        """Return the task, to be run under ``seed``; its data are read once."""
        parts = _parts(self)
        return Task(**parts, optimizer=self.build, name=self.name, seed=seed)


@cache
def _parts(one: Unlike) -> dict[str, Any]:
    made = one.make()
    return made | {"val": TensorBatches(made["val"], _VAL_BATCH, shuffle=False)}


def _digits_logistic() -> dict[str, Any]:
    """A linear classifier of pixels that are left as they come, 0 to 16."""
    train_rows, val = data.split(*data.sklearn_table("digits"), 0.3)
    return {
        "model": lambda: nn.Linear(64, 10), "loss": _entropy, "train": train_rows, "val": val,
        "batch_size": 16, "steps": 1_000, "schedule": "constant",
    }  # fmt: skip


def _mnist_batch_norm() -> dict[str, Any]:
    """A wide MLP with BatchNorm on large batches."""
    x, y = data.mnist(14)
    train_rows, val = data.split(x.flatten(1), y, 0.2)
    return {
        "model": lambda: models.plain([196, 256, 256, 10], norm=True), "loss": _entropy, "train": train_rows,
        "val": val, "batch_size": 256, "steps": 150, "schedule": "step every=40% gamma=0.2",
    }  # fmt: skip


def _wine_tanh() -> dict[str, Any]:
    """A deep tanh MLP on 110 wines, five at a time."""
    train_rows, val = data.split(*data.sklearn_table("wine"), 0.382, train=110, scale=True)
    return {
        "model": lambda: models.plain([13, *[24] * 7, 3], nn.Tanh), "loss": _entropy, "train": train_rows, "val": val,
        "batch_size": 5, "steps": 600, "schedule": "constant",
    }  # fmt: skip


def _plays_lstm() -> dict[str, Any]:
    """Two LSTM layers on plays, clipped."""
    train_rows, val = data.windows(data.plays_bytes(), 24, 128)
    return {
        "model": lambda: models.WordLSTM(96, 24, 64), "loss": _entropy, "train": train_rows, "val": val,
        "batch_size": 16, "steps": 150, "clip": 0.5, "schedule": "linear warmup=5%",
    }  # fmt: skip


def _mnist_mixer() -> dict[str, Any]:
    """An MLP-mixer with strong weight decay."""
    train_rows, val = data.split(*data.mnist(14), 0.1, train=3_000)
    return {
        "model": lambda: models.Mixer(14, 2, 24, 2, 10), "loss": _entropy, "train": train_rows,
        "val": tuple(part[:512] for part in val), "batch_size": 24, "steps": 120,
        "schedule": "wsd warmup=5% cooldown=20%",
    }  # fmt: skip


def _mnist_denoiser() -> dict[str, Any]:
    """A convolutional autoencoder that learns to take noise away."""
    x, _ = data.mnist(28)
    train_rows, val = data.split(x, x, 0.2)
    return {
        "model": lambda: models.Denoiser(8, 16, 28), "loss": _squares, "train": train_rows,
        "val": tuple(part[:512] for part in val), "batch_size": 32, "steps": 150, "schedule": "cosine warmup=10%",
    }  # fmt: skip


def _docs_gpt() -> dict[str, Any]:
    """A decoder with RMSNorm and tied embedding, for 90 updates only."""
    train_rows, val = data.windows(data.docs_bytes(), 48, 64)
    return {
        "model": lambda: models.TinyGPT(96, 48, 48, 4, 2), "loss": _entropy, "train": train_rows, "val": val,
        "batch_size": 8, "steps": 90, "clip": 1.0, "schedule": "cosine warmup=10%",
    }  # fmt: skip


def _digits_fine_tuned() -> dict[str, Any]:
    """A network that knows 0 to 4 of MNIST, fine-tuned on 300 examples of 5 to 9."""
    x, y = data.mnist(14)
    low, high = y < 5, y >= 5
    known = Task(
        model=_small_cnn, loss=_entropy, train=(x[low], y[low]), optimizer="adam", steps=300, batch_size=64,
        schedule="linear", name="pretraining",
    )  # fmt: skip
    pretrained = _weights(known, 2e-3)

    def model() -> nn.Module:
        network: nn.Sequential = copy.deepcopy(pretrained)
        head = network[-1]
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        return network

    train_rows, val = data.split(x[high], y[high] - 5, 0.3, train=300)
    return {
        "model": model, "loss": _entropy, "train": train_rows, "val": tuple(part[:1_000] for part in val),
        "batch_size": 20, "steps": 300, "schedule": "linear",
    }  # fmt: skip


def _small_cnn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 5),
    )  # fmt: skip


def _weights(task: Task, lr: float) -> Any:
    """Return the model of a finished training; the same weights on every call on one machine."""
    return train(task, lr, seed=0).model


def _diabetes_linear() -> dict[str, Any]:
    """A linear model on all products of ten measurements, with a loss that forgives outliers."""
    x, y = data.sklearn_table("diabetes")
    (x, *_) = standardize(x)
    first, second = torch.triu_indices(10, 10)
    features = torch.cat([x, x[:, first] * x[:, second]], 1)
    train_rows, val = data.split(features, (y.float()[:, None] - 152) / 77, 0.3)
    return {
        "model": lambda: nn.Linear(65, 1), "loss": nn.functional.smooth_l1_loss, "train": train_rows, "val": val,
        "batch_size": 10, "steps": 1_000, "schedule": "step every=30% gamma=0.3",
    }  # fmt: skip


def _shoppers_machine() -> dict[str, Any]:
    """A factorization machine on categories, most of which are rare, and one visit in six that buys."""
    x, y = data.shoppers()
    train_rows, val = data.split(x, y, 0.2)
    symbols = int(x.max()) + 1
    return {
        "model": lambda: models.FactorizationMachine(symbols, 16),
        "loss": nn.functional.binary_cross_entropy_with_logits, "train": train_rows, "val": val,
        "batch_size": 128, "steps": 500, "schedule": "constant",
    }  # fmt: skip


def _mnist_vit() -> dict[str, Any]:
    """A vision transformer with a long warmup."""
    train_rows, val = data.split(*data.mnist(28), 0.1)
    return {
        "model": lambda: models.VisionTransformer(28, 7, 32, 4, 2, 10), "loss": _entropy, "train": train_rows,
        "val": tuple(part[:512] for part in val), "batch_size": 16, "steps": 100,
        "schedule": "cosine warmup=20%",
    }  # fmt: skip


def _mnist_rows() -> dict[str, Any]:
    """A GRU that reads images row by row, clipped."""
    train_rows, val = data.split(*data.mnist(14), 0.2)
    return {
        "model": lambda: models.RowReader(14, 48, 10), "loss": _entropy, "train": train_rows,
        "val": tuple(part[:1_000] for part in val), "batch_size": 24, "steps": 150, "clip": 1.0,
        "schedule": "wsd warmup=10% cooldown=30%",
    }  # fmt: skip


def _plays_adapters() -> dict[str, Any]:
    """Adapters of rank 4 that carry a decoder from documentation to plays."""
    length = 32
    known = Task(
        model=lambda: models.TinyGPT(96, length, 48, 4, 2), loss=_entropy,
        train=data.windows(data.docs_bytes(), length, 64)[0], optimizer="adam", steps=300, batch_size=16,
        schedule="linear warmup=10%", name="pretraining",
    )  # fmt: skip
    pretrained = _weights(known, 3e-3)
    train_rows, val = data.windows(data.plays_bytes(), length, 96)
    return {
        "model": lambda: models.with_adapters(copy.deepcopy(pretrained), 4), "loss": _entropy, "train": train_rows,
        "val": val, "batch_size": 8, "steps": 80, "schedule": "constant",
    }  # fmt: skip


def _cancer_residual() -> dict[str, Any]:
    """A residual MLP without normalization on all 398 tumors at once, for 80 updates."""
    train_rows, val = data.split(*data.sklearn_table("breast_cancer"), 0.3, scale=True)

    def model() -> nn.Module:
        blocks = [models.Residual(nn.Linear(48, 48), nn.Softplus(), nn.Linear(48, 48)) for _ in range(4)]
        return nn.Sequential(nn.Linear(30, 48), *blocks, nn.Linear(48, 2))

    return {
        "model": model, "loss": _entropy, "train": train_rows, "val": val,
        "batch_size": len(train_rows[0]), "steps": 80, "schedule": "linear warmup=10%",
    }  # fmt: skip


def _digits_smoothed() -> dict[str, Any]:
    """A CNN without normalization on smoothed labels, four batches of eight an update."""
    x, y = data.sklearn_table("digits")
    train_rows, val = data.split(x.view(-1, 1, 8, 8) / 8 - 1, y, 0.3)

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ELU(), nn.Conv2d(12, 12, 3, padding=1), nn.ELU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(192, 10),
        )  # fmt: skip

    return {
        "model": model, "loss": partial(_entropy, label_smoothing=0.1), "train": train_rows, "val": val,
        "batch_size": 8, "accumulate": 4, "steps": 150, "schedule": "multi-step milestones=50%|75% gamma=0.1",
    }  # fmt: skip


def _photo_sine() -> dict[str, Any]:
    """Sine layers that learn a photograph, and color the pixels that they have not seen."""
    train_rows, val = data.photo_pixels()
    return {
        "model": lambda: models.Sine(48, 3, 20.0), "loss": _squares, "train": train_rows, "val": val,
        "batch_size": 512, "steps": 250, "schedule": "linear",
    }  # fmt: skip


_DECAY: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
_ALL = (
    Unlike("digits-logistic", "SGD", 0.1, False, _digits_logistic, "sgd"),
    Unlike("mnist-batch-norm", "Nesterov, weight decay 5e-4", 0.1, False, _mnist_batch_norm, partial(_SGD, **_DECAY)),
    Unlike("wine-tanh", "RMSprop", 1e-2, False, _wine_tanh, "rmsprop"),
    Unlike("plays-lstm", "Adam", 1e-3, False, _plays_lstm, "adam"),
    Unlike("mnist-mixer", "AdamW, weight decay 0.3", 1e-3, False, _mnist_mixer, partial(_ADAMW, weight_decay=0.3)),
    Unlike("mnist-denoiser", "Adam", 1e-3, False, _mnist_denoiser, "adam"),
    Unlike("docs-gpt", "AdamW", 1e-3, False, _docs_gpt, partial(_ADAMW, betas=(0.9, 0.95), weight_decay=0.1)),
    Unlike("digits-fine-tuned", "SGD, momentum 0.9", 0.1, False, _digits_fine_tuned, "momentum"),
    Unlike("diabetes-linear", "SGD", 0.1, True, _diabetes_linear, "sgd"),
    Unlike("shoppers-machine", "Adagrad", 1e-2, True, _shoppers_machine, "adagrad"),
    Unlike("mnist-vit", "AdamW, weight decay 0.05", 1e-3, True, _mnist_vit, partial(_ADAMW, weight_decay=0.05)),
    Unlike("mnist-rows", "RMSprop", 1e-2, True, _mnist_rows, "rmsprop"),
    Unlike("plays-adapters", "Adam", 1e-3, True, _plays_adapters, "adam"),
    Unlike("cancer-residual", "SGD, momentum 0.95", 0.1, True, _cancer_residual, partial(_SGD, momentum=0.95)),
    Unlike("digits-smoothed", "SGD, Nesterov momentum 0.9", 0.1, True, _digits_smoothed, "nesterov"),
    Unlike(
        "photo-sine", "Adam, betas 0.9 and 0.99", 1e-3, True, _photo_sine, partial(torch.optim.Adam, betas=(0.9, 0.99))
    ),
)

TRAININGS: dict[str, Unlike] = {one.name: one for one in _ALL}
DESIGN = tuple(one for one in _ALL if not one.held_out)
HELD_OUT = tuple(one for one in _ALL if one.held_out)
