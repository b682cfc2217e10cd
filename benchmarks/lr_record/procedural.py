"""Data that formulas make: tables with a class or a number to predict, and small textures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

__all__ = ["TABLES", "textures"]

Array: TypeAlias = NDArray[Any]
Table: TypeAlias = tuple[Array, Array]


def _count(rng: Generator) -> int:
    return int(10 ** rng.uniform(2.1, 3.5))


def _teacher(rng: Generator, outputs: int) -> Table:
    """Return inputs and the answers of a random network with one hidden layer."""
    features, hidden = int(rng.integers(2, 33)), int(rng.integers(2, 33))
    inputs = rng.standard_normal((_count(rng), features))
    first = rng.standard_normal((features, hidden)) * rng.uniform(0.7, 3) / np.sqrt(features)
    inner = np.tanh(inputs @ first + rng.standard_normal(hidden))
    return inputs, inner @ rng.standard_normal((hidden, outputs)) / np.sqrt(hidden)


def _teacher_classes(rng: Generator) -> Table:
    inputs, answers = _teacher(rng, int(rng.integers(2, 9)))
    return inputs, answers.argmax(axis=1)


def _teacher_values(rng: Generator) -> Table:
    return _teacher(rng, int(rng.integers(1, 4)))


def _linear_values(rng: Generator) -> Table:
    """Return a noisy linear relation; the features' scales differ, so that the problem is badly conditioned."""
    features = int(rng.integers(2, 41))
    inputs = rng.standard_normal((_count(rng), features)) @ rng.standard_normal((features, features))
    values = inputs @ rng.standard_normal(features)
    return inputs, values + rng.uniform(0, 1) * values.std() * rng.standard_normal(len(values))


def _spirals(rng: Generator) -> Table:
    arms, count = int(rng.integers(2, 6)), _count(rng)
    classes, radius = rng.integers(0, arms, count), rng.random(count)
    angle = 2 * np.pi * (classes / arms + rng.uniform(0.4, 2) * radius)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points + 0.03 * rng.standard_normal(points.shape), classes


def _sines(rng: Generator) -> Table:
    features, waves = int(rng.integers(1, 6)), int(rng.integers(1, 8))
    inputs = rng.uniform(-1, 1, (_count(rng), features))
    pitch = rng.standard_normal((features, waves)) * rng.uniform(1, 6)
    values = np.sin(inputs @ pitch + rng.uniform(0, 6, waves)) @ rng.standard_normal(waves)
    return inputs, values + rng.choice([0.0, 0.1, 0.3]) * rng.standard_normal(len(values))


def _parity(rng: Generator) -> Table:
    bits, of = int(rng.integers(4, 17)), int(rng.integers(2, 5))
    inputs = rng.integers(0, 2, (_count(rng), bits))
    return 2.0 * inputs - 1, inputs[:, :of].sum(axis=1) % 2


def _blobs(rng: Generator) -> Table:
    classes, features, count = int(rng.integers(2, 11)), int(rng.integers(2, 41)), _count(rng)
    centers = rng.standard_normal((classes, features)) * rng.uniform(0.7, 3) / np.sqrt(features)
    labels = rng.integers(0, classes, count)
    return centers[labels] + rng.standard_normal((count, features)), labels


def _rings(rng: Generator) -> Table:
    classes, features = int(rng.integers(2, 5)), int(rng.integers(2, 7))
    inputs = rng.standard_normal((_count(rng), features))
    radius = np.linalg.norm(inputs, axis=1)
    return inputs, np.searchsorted(np.quantile(radius, np.arange(1, classes) / classes), radius)


def _friedman(rng: Generator) -> Table:
    x = rng.random((_count(rng), int(rng.integers(5, 13))))
    values = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return x, values + rng.uniform(0, 2) * rng.standard_normal(len(x))


def _polynomial(rng: Generator) -> Table:
    features = int(rng.integers(2, 9))
    x = rng.standard_normal((_count(rng), features))
    return x, np.einsum("ni,ij,nj->n", x, rng.standard_normal((features, features)), x)


def _modular(rng: Generator) -> Table:
    base = int(rng.integers(3, 14))
    pairs = np.stack(np.meshgrid(np.arange(base), np.arange(base)), axis=-1).reshape(-1, 2)
    pairs = np.tile(pairs, (max(1, 200 // len(pairs) + 1), 1))
    return np.concatenate([np.eye(base)[pairs[:, 0]], np.eye(base)[pairs[:, 1]]], axis=1), pairs.sum(axis=1) % base


def _steps(rng: Generator) -> Table:
    """Return the leaf values of a random tree of axis-aligned cuts."""
    features, depth = int(rng.integers(2, 13)), int(rng.integers(2, 6))
    x = rng.random((_count(rng), features))
    axes, cuts = rng.integers(0, features, depth), rng.uniform(0.2, 0.8, depth)
    leaf = ((x[:, axes] > cuts) * 2 ** np.arange(depth)).sum(axis=1)
    return x, rng.standard_normal(2**depth)[leaf] + 0.1 * rng.standard_normal(len(x))


TABLES: dict[str, Callable[[Generator], Table]] = {
    "blobs": _blobs,
    "friedman": _friedman,
    "linear": _linear_values,
    "modular addition": _modular,
    "parity": _parity,
    "polynomial": _polynomial,
    "rings": _rings,
    "sines": _sines,
    "spirals": _spirals,
    "teacher classes": _teacher_classes,
    "teacher values": _teacher_values,
    "tree": _steps,
}


def textures(rng: Generator, side: int = 8) -> Table:
    """Return noisy waves as flattened images; the class is the pair of direction and wave length."""
    classes, count = int(rng.integers(3, 11)), _count(rng)
    directions, lengths = rng.uniform(0, np.pi, classes), rng.uniform(2, 8, classes)
    labels, phases = rng.integers(0, classes, count), rng.uniform(0, 2 * np.pi, (count, 1))
    rows, columns = (grid.reshape(-1) for grid in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    along = np.cos(directions)[labels, None] * rows + np.sin(directions)[labels, None] * columns
    waves = np.sin(2 * np.pi * along / lengths[labels, None] + phases)
    return waves + rng.uniform(0.1, 1) * rng.standard_normal(waves.shape), labels
