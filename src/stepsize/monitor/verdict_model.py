"""The learned part of the verdict: from the signals of a run to what its learning rate will turn out to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MODEL_FILE = Path(__file__).parent / "verdict_model.npz"
"""Written by ``python -m benchmarks verdict-model``."""

SIDES = ("too low", "fine", "too high")
_CLIP = 4.0  # spreads: what lies further out counts as this far
_MOST_UNLIKE = 6  # signals beyond all that was recorded: with more of them a run is like nothing that is known


@dataclass(frozen=True)
class Judgment:
    """What the model says of a run.

    Attributes:
        chances: Probabilities that the learning rate is too low, fine and too high.
        between: Multiples of the learning rate in use: 10%, 50% and 90% quantiles of the best one.
        unlike: Signals that lie beyond all that was recorded.
        telling: Names of the signals that speak most for the likeliest side, the strongest first.
    """

    chances: tuple[float, float, float]
    between: tuple[float, float, float]
    unlike: tuple[str, ...]
    telling: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether there are recorded runs like this one."""
        return len(self.unlike) <= _MOST_UNLIKE


@dataclass(frozen=True, eq=False)
class VerdictModel:
    """Small networks, whose outputs are averaged, and what they need.

    Attributes:
        names: Signals that they read.
        middle: Mean of each signal.
        spread: Standard deviation of each signal.
        lowest: Value of each signal below which nothing was recorded.
        highest: The same above.
        layers: Weights and biases, each with a leading axis of networks.
        widening: What the distance of the outer quantiles from the median is multiplied by.
        least: Probability from which each side is reported, then that of a one-sided statement.
    """

    names: tuple[str, ...]
    middle: Array
    spread: Array
    lowest: Array
    highest: Array
    layers: tuple[tuple[Array, Array], ...]
    widening: float
    least: Array

    def judge(self, signals: Mapping[str, float]) -> Judgment:
        """Return what the signals of a run say; those that are unknown are NaN."""
        values = np.array([signals[name] for name in self.names])
        inputs = self.prepared(values)
        size = len(values)
        trials = np.repeat(inputs[None], size + 1, axis=0)
        trials[1:, :size][np.eye(size, dtype=bool)] = 0.0  # each signal in turn as if it were the mean
        chances, quantiles = self.outputs(trials)
        side = int(chances[0].argmax())
        gain = np.log(chances[0, side]) - np.log(chances[1:, side])
        order = [n for n in np.argsort(-gain) if gain[n] > 0 and not np.isnan(values[n])]
        with np.errstate(invalid="ignore"):
            beyond = (values < self.lowest) | (values > self.highest)
        low, fine, high = chances[0].tolist()
        least, middle, most = (10.0 ** quantiles[0]).tolist()
        return Judgment(
            (low, fine, high),
            (least, middle, most),
            tuple(name for name, out in zip(self.names, beyond, strict=True) if out),
            tuple(self.names[n] for n in order),
        )

    def prepared(self, values: Array) -> Array:
        """Return standardized signals, and which of them are unknown, along the last axis."""
        scaled = np.clip((values - self.middle) / self.spread, -_CLIP, _CLIP)
        return np.concatenate([np.nan_to_num(scaled), np.isnan(values)], axis=-1)

    def outputs(self, inputs: Array) -> tuple[Array, Array]:
        """Return probabilities of the sides and the quantiles of log10(best / rate in use), a row for each input."""
        hidden = np.broadcast_to(inputs, (len(self.layers[0][0]), *inputs.shape))
        for number, (weights, biases) in enumerate(self.layers):
            hidden = hidden @ weights + biases[:, None]
            if number < len(self.layers) - 1:
                hidden = np.maximum(hidden, 0)
        logits = hidden[..., :3]
        shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
        chances = (shifted / shifted.sum(axis=-1, keepdims=True)).mean(axis=0)
        quantiles = hidden[..., 3:].mean(axis=0)
        middle = quantiles[:, 1:2]
        return np.maximum(chances, 1e-9), np.sort(middle + self.widening * (quantiles - middle), axis=1)

    def save(self, path: Path) -> None:
        """Write it as arrays, without pickles."""
        layers = {
            f"{kind}{number}": part.astype(np.float16)
            for number, pair in enumerate(self.layers)
            for kind, part in zip(("weights", "biases"), pair, strict=True)
        }
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS} | layers
        arrays |= {"names": np.array(self.names), "widening": self.widening, "count": len(self.layers)}
        np.savez_compressed(path, **arrays)


_ARRAYS = ("middle", "spread", "lowest", "highest", "least")


@cache
def verdict_model(path: Path = MODEL_FILE) -> VerdictModel:
    """Read the model."""
    with np.load(path, allow_pickle=False) as file:
        layers = tuple(
            (file[f"weights{n}"].astype(np.float64), file[f"biases{n}"].astype(np.float64))
            for n in range(int(file["count"]))
        )
        arrays = {name: file[name] for name in _ARRAYS}
        return VerdictModel(
            names=tuple(file["names"].tolist()), layers=layers, widening=float(file["widening"]), **arrays
        )
