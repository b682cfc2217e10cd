"""Tasks on tables: medicine and web analytics."""

from __future__ import annotations

import csv
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from stepsize.errors import DataUnavailableError
from stepsize.tasks.folder import unpacked
from stepsize.tasks.models import MixedMLP, mlp
from stepsize.tasks.parts import ACCURACY, BINARY_ACCURACY, Parts, binary_loss, split_rows, standardize

SHOPPERS_FILES = ("online_shoppers_intention.csv.gz",)
_NUMERIC = (
    "Administrative",
    "Administrative_Duration",
    "Informational",
    "Informational_Duration",
    "ProductRelated",
    "ProductRelated_Duration",
    "BounceRates",
    "ExitRates",
    "PageValues",
    "SpecialDay",
)
_CATEGORICAL = ("Month", "OperatingSystems", "Browser", "Region", "TrafficType", "VisitorType", "Weekend")


@cache
def _cancer() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_breast_cancer

    features, labels = load_breast_cancer(return_X_y=True)
    return torch.from_numpy(features).float(), torch.from_numpy(labels).long()


def cancer_mlp() -> Parts:
    """Return a classifier of tumors from 30 measurements of cell nuclei."""
    x, y = _cancer()
    train, val = split_rows(len(x), 0.3)
    x_train, x_val = standardize(x[train], x[val])
    model = partial(mlp, (30, 256, 256, 256, 2), nn.GELU, dropout=0.5)
    return Parts(model, nn.functional.cross_entropy, (x_train, y[train]), (x_val, y[val]), ACCURACY)


@cache
def _diabetes() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_diabetes

    features, progression = load_diabetes(return_X_y=True, scaled=False)
    return torch.from_numpy(features).float(), torch.from_numpy(progression).float().unsqueeze(1)


def diabetes_regression() -> Parts:
    """Return a regression of the progression in a year on ten measurements of a patient."""
    x, y = _diabetes()
    train, val = split_rows(len(x), 0.3)
    x_train, x_val = standardize(x[train], x[val])
    y_train, y_val = standardize(y[train], y[val])
    model = partial(mlp, (10, 256, 256, 1), dropout=0.5)  # a few hundred rows are soon known by heart
    return Parts(model, nn.functional.mse_loss, (x_train, y_train), (x_val, y_val))


@cache
def _shoppers(path: Path) -> tuple[Tensor, tuple[tuple[str, ...], ...], Tensor]:
    """Return (logarithms of the numbers, category texts, whether the visit ended in a purchase) a row."""
    table = unpacked(path)
    try:
        rows = list(csv.DictReader(table.decode("ascii").splitlines()))
        numbers = torch.tensor([[float(row[name]) for name in _NUMERIC] for row in rows])
        categories = tuple(tuple(row[name] for name in _CATEGORICAL) for row in rows)
        bought = torch.tensor([float(row["Revenue"] == "TRUE") for row in rows])
    except (KeyError, ValueError) as error:
        raise DataUnavailableError(
            f"{path} is not the table of online shoppers that it should be: {error!r}"
        ) from error
    return numbers.log1p(), categories, bought  # counts and durations have long tails


def _encode(rows: tuple[tuple[str, ...], ...], train: Tensor) -> tuple[Tensor, list[int]]:
    """Return category numbers (n, columns) and their counts; 0 is a category that training rows lack."""
    columns, sizes = [], []
    for values in zip(*rows, strict=True):
        known = {value: number for number, value in enumerate(sorted({values[row] for row in train.tolist()}), start=1)}
        columns.append([known.get(value, 0) for value in values])
        sizes.append(len(known) + 1)
    return torch.tensor(columns).T.contiguous(), sizes


def shoppers_mlp(table: Path) -> Parts:
    """Return a classifier of visits to a shop from ten numbers and seven categories."""
    numbers, rows, bought = _shoppers(table)
    train, val = split_rows(len(bought), 0.2)
    numbers_train, numbers_val = standardize(numbers[train], numbers[val])
    categories, sizes = _encode(rows, train)
    return Parts(
        partial(MixedMLP, len(_NUMERIC), tuple(sizes), 8, (192, 192)),
        binary_loss,
        (numbers_train, categories[train], bought[train]),
        (numbers_val, categories[val], bought[val]),
        BINARY_ACCURACY,
    )
