"""Claim 8, local minima: descent with and without momentum on functions that have many, each at its own tuned rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.combos import rounded

__all__ = ["FUNCTIONS", "descended", "measure_landscape"]

Array = NDArray[np.float64]
_STEPS, _STARTS = 300, 200
_RATES = 10 ** np.arange(-4.0, 0.51, 0.25)
_REACH = 4.0  # starts are uniform in a square of twice this side
_FAR = 1e3
_TUNING = 10_000  # the seed that tunes, of no judge


def rastrigin(x: Array) -> Array:
    """Return the function of L. Rastrigin, 1974: a bowl with a grid of dents, shape ``(n, 2)`` to ``(n,)``."""
    return np.asarray((x**2 - 10 * np.cos(2 * math.pi * x) + 10).sum(1))


def ackley(x: Array) -> Array:
    """Return the function of D. Ackley, 1987: nearly flat outside, with a funnel."""
    bowl = -20 * np.exp(-0.2 * np.sqrt((x**2).mean(1)))
    return np.asarray(bowl - np.exp(np.cos(2 * math.pi * x).mean(1)) + 20 + math.e)


def tilted_wells(x: Array) -> Array:
    """Return the sum over both coordinates of (x² - 4)² / 8 + x: of the two wells the left one is deeper."""
    return np.asarray(((x**2 - 4) ** 2 / 8 + x).sum(1))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "Rastrigin": rastrigin, "Ackley": ackley, "tilted wells": tilted_wells,
}  # fmt: skip
_LOWEST = {"Rastrigin": 0.0, "Ackley": 0.0, "tilted wells": -4.2247}
_NEAR = {"Rastrigin": 0.5, "Ackley": 0.5, "tilted wells": 0.5}  # above the lowest value: within its basin


def descended(name: str, lr: float, momentum: float, seed: int) -> float:
    """Return the share of random starts that end in the basin of the lowest minimum."""
    function = FUNCTIONS[name]
    x = np.random.default_rng(seed).uniform(-_REACH, _REACH, (_STARTS, 2))
    velocity = np.zeros_like(x)
    for _ in range(_STEPS):
        velocity = momentum * velocity - lr * _slope(function, x)
        x = np.clip(x + velocity, -_FAR, _FAR)
    return float((function(x) < _LOWEST[name] + _NEAR[name]).mean())


def measure_landscape(job: tuple[str, float, int]) -> dict[str, Any]:
    """Return the share at the rate that other starts find best, as a row."""
    name, momentum, seed = job
    shares = [descended(name, float(lr), momentum, _TUNING) for lr in _RATES]
    lr = float(_RATES[int(np.argmax(shares))])
    share = descended(name, lr, momentum, seed)
    return {
        "study": "landscapes",
        "task": name,
        "momentum": momentum,
        "lr": rounded(lr),
        "seed": seed,
        "share": rounded(share),
    }


def _slope(function: Callable[[Array], Array], x: Array) -> Array:
    width = 1e-5
    columns = []
    for column in range(x.shape[1]):
        shift = np.zeros_like(x)
        shift[:, column] = width
        columns.append((function(x + shift) - function(x - shift)) / (2 * width))
    return np.stack(columns, axis=1)
