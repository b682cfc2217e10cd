"""The data of the sixteen trainings: images, tables and text, each split into training and validation data once."""

from __future__ import annotations

import csv
from functools import cache
from typing import TypeAlias

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor

from stepsize.tasks.folder import data_files, unpacked
from stepsize.tasks.parts import split_rows, standardize

__all__ = [
    "MNIST_FILES",
    "PLAYS_FILES",
    "SHOPPERS_FILES",
    "Split",
    "docs_bytes",
    "mnist",
    "photo_pixels",
    "plays_bytes",
    "shoppers",
    "sklearn_table",
    "split",
    "windows",
]

MNIST_FILES = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
SHOPPERS_FILES = ("online_shoppers_intention.csv.gz",)
PLAYS_FILES = ("tinyshakespeare.txt",)
Split: TypeAlias = tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]


@cache
def mnist(side: int = 28) -> tuple[Tensor, Tensor]:
    """Return standardized images ``(10000, 1, side, side)`` and their digits; ``side`` is 28, 14 or 7."""
    images, labels = data_files(MNIST_FILES)
    x = torch.from_numpy(np.frombuffer(unpacked(images), np.uint8, offset=16).copy()).view(-1, 1, 28, 28).float()
    x = torch.nn.functional.avg_pool2d(x, 28 // side)
    y = torch.from_numpy(np.frombuffer(unpacked(labels), np.uint8, offset=8).copy()).long()
    return (x - x.mean()) / x.std(), y


def sklearn_table(name: str) -> tuple[Tensor, Tensor]:
    """Return the features and targets of a data set that comes with scikit-learn, unscaled."""
    x, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return torch.from_numpy(x).float(), torch.from_numpy(y)


@cache
def shoppers() -> tuple[Tensor, Tensor]:
    """Return the category numbers of visits to a shop, one vocabulary over all 17 columns, and whether they bought.

    Columns with more than 20 different values are cut into eight parts of about the same size.
    """
    (path,) = data_files(SHOPPERS_FILES)
    rows = list(csv.reader(unpacked(path).decode("ascii").splitlines()))[1:]
    *columns, bought = zip(*rows, strict=True)
    numbers, seen = [], 0
    for column in columns:
        if len(set(column)) > 20:
            values = np.array(column, float)
            codes = np.searchsorted(np.unique(np.quantile(values, np.linspace(0, 1, 9)[1:-1])), values)
        else:
            codes = np.unique(column, return_inverse=True)[1]
        numbers.append(codes + seen)
        seen += int(codes.max()) + 1
    return torch.from_numpy(np.stack(numbers, 1)), torch.tensor([float(one == "TRUE") for one in bought])


@cache
def plays_bytes() -> Tensor:
    """Return Shakespeare's plays as numbers of their 65 characters or so."""
    return _numbered(data_files(PLAYS_FILES)[0].read_text(encoding="utf-8"))


@cache
def docs_bytes() -> Tensor:
    """Return 300,000 printable characters of Python's own documentation as numbers."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in sorted(topics))
    return _numbered("".join(character for character in text if character == "\n" or " " <= character <= "~")[:300_000])


def _numbered(text: str) -> Tensor:
    codes = np.frombuffer(text.encode("ascii", "ignore"), np.uint8)
    return torch.from_numpy(np.where(codes < 32, 31, codes).astype(np.int64) - 31)


def windows(symbols: Tensor, length: int, val: int) -> Split:
    """Return ``(symbols, those that follow)`` in windows of ``length``; the text's last tenth validates."""
    cut = len(symbols) * 9 // 10
    parts = []
    for part in (symbols[:cut], symbols[cut:]):
        made = part[: len(part) // (length + 1) * (length + 1)].view(-1, length + 1)
        parts.append(made)
    train, unseen = parts
    unseen = unseen[:: max(1, len(unseen) // val)][:val]
    return (train[:, :-1], train[:, 1:]), (unseen[:, :-1], unseen[:, 1:])


def photo_pixels(every: int = 6) -> Split:
    """Return (positions in [-1, 1]², standardized colors) of a photograph, every ``every``-th row and column."""
    image = sklearn.datasets.load_sample_images().images[0][::every, ::every].astype(np.float32)
    rows, columns = np.meshgrid(np.linspace(-1, 1, image.shape[0]), np.linspace(-1, 1, image.shape[1]), indexing="ij")
    x = torch.from_numpy(np.stack([rows, columns], -1).reshape(-1, 2)).float()
    y = torch.from_numpy(image.reshape(-1, 3))
    return split(x, (y - y.mean(0)) / y.std(0), 0.25)


def split(x: Tensor, y: Tensor, val: float, *, train: int | None = None, scale: bool = False) -> Split:
    """Return ``(x, y)`` to train on and to validate on, by a fixed permutation.

    Args:
        x: Features.
        y: Targets.
        val: The fraction for validation.
        train: How many of the others are trained on; None takes all.
        scale: Whether the features are standardized with the training rows' statistics.
    """
    rows, unseen = split_rows(len(x), val)
    rows = rows[:train]
    seen, validated = standardize(x[rows], x[unseen]) if scale else (x[rows], x[unseen])
    return (seen, y[rows]), (validated, y[unseen])
