"""Fine-tunings of the record: what a network was trained on before, and how its weights are trained further."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import Generator

from benchmarks.lr_record.data import Array, Data
from benchmarks.lr_record.texts import draw_text

__all__ = ["PRETRAINING", "draw_start", "fewer", "related"]

PRETRAINING: dict[str, Any] = {
    "optimizer": "adamw", "usual_lr": 2e-3, "weight_decay": 0.01, "beta2": 0.999, "schedule": "cosine warmup=5%",
    "clip": 1.0, "batch": 32, "start": "scratch", "lora": 0,
}  # fmt: skip
"""Facts of the training before: at all rates, of which the best is taken. Its steps depend on what they cost."""

_LORA = ("mlp", "autoencoder", "char-mlp", "gpt", "vit", "mixer")  # models with hidden linear layers
_FEWEST = 24  # examples


def draw_start(rng: Generator, model: str, depth: int) -> dict[str, Any]:
    """Draw what a fine-tuning begins with: all weights of before or a new head, and low-rank adapters or none."""
    facts: dict[str, Any] = {"start": "new head" if rng.random() < 0.5 else "pretrained", "lora": 0}
    if model in _LORA and depth > 0 and rng.random() < 0.4:
        facts |= {"lora": int(rng.choice([1, 2, 4, 8])), "lora_scale": float(rng.choice([1.0, 2.0]))}
    return facts


def fewer(data: Data, rng: Generator) -> Data:
    """Return data with a part of the training examples, at least a tenth: fine-tuning has few."""
    count = len(data.inputs)
    kept = max(min(_FEWEST, count), round(count * 10 ** rng.uniform(-1, 0)))
    chosen = np.sort(rng.permutation(count)[:kept])
    return replace(data, inputs=data.inputs[chosen], targets=data.targets[chosen])


def related(data: Data, rng: Generator) -> Data:
    """Return what the network was trained on before: another text, turned images, or a table with mixed columns."""
    if data.kind == "sequence":
        return _another_text(data, rng)
    held_out, targets = data.validation
    shift = _turned(data.facts["side"]) if data.facts.get("side") else _mixed(data.inputs.shape[1], rng)
    inputs, held_out = shift(data.inputs), shift(held_out)
    if data.kind == "reconstruction":
        return replace(data, inputs=inputs, targets=inputs, validation=(held_out, held_out))
    return replace(data, inputs=inputs, validation=(held_out, targets))


def _another_text(data: Data, rng: Generator) -> Data:
    """Return windows of another text; ids are ranks of frequency, and rare characters become the rarest one here."""
    _, ids, _ = draw_text(rng)
    ids, length = np.minimum(ids, data.outputs - 1), data.facts["length"]
    windows = np.lib.stride_tricks.sliding_window_view(ids, length + 1)
    targets = windows[:, 1:] if data.targets.ndim == 2 else windows[:, -1]
    cut, few = int(0.8 * len(windows)), slice(None, None, max(1, len(windows) // 320))
    held_out = windows[cut:, :-1][few], targets[cut:][few]
    return replace(data, inputs=windows[:cut, :-1], targets=targets[:cut], validation=held_out)


def _turned(side: int) -> Callable[[Array], Array]:
    def turn(images: Array) -> Array:
        turned = np.rot90(images.reshape(-1, side, side), axes=(1, 2))
        return np.ascontiguousarray(turned.reshape(images.shape))

    return turn


def _mixed(columns: int, rng: Generator) -> Callable[[Array], Array]:
    mixing = np.eye(columns) + 0.4 / np.sqrt(columns) * rng.standard_normal((columns, columns))

    def mix(table: Array) -> Array:
        mixed: Array = (table @ mixing).astype(table.dtype)
        return mixed

    return mix
