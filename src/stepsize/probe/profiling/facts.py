"""What was measured, as plain numbers: what readings and advice are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stepsize.probe.profiling.edge import Edge
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.layers import Layer
from stepsize.probe.profiling.noise import NoiseScale
from stepsize.probe.profiling.scale import Classes, LossScale, TargetScale

__all__ = ["Facts", "Moment", "WarmUp"]


@dataclass(frozen=True, eq=False)
class Moment:
    """The gradients at one moment of the training.

    Attributes:
        step: How many updates came before.
        loss: The mean training loss.
        noise: The gradient noise scale; None where it cannot be told.
        norms: The norm of the unclipped gradient of each batch, shape ``(batches,)``.
    """

    step: int
    loss: float
    noise: NoiseScale | None
    norms: NDArray[np.float64]


@dataclass(frozen=True)
class WarmUp:
    """The short training in between: ``steps`` updates whose rate rises in a line from 0 to ``lr``."""

    steps: int
    lr: float


@dataclass(frozen=True, eq=False)
class Facts:
    """Everything that was measured about one task.

    Attributes:
        task: Its name.
        optimizer: What to call its optimizer.
        horizon: Updates of a full training.
        batch_size: Examples an update.
        population: Training examples; None where that is not known.
        momentum: m of SGD or RMSprop; 0 without.
        exponent: a of eta(B) = eta_max / (1 + B_noise / B)^a: 1 for SGD, 1/2 for Adam and its kin; None for others.
        clip: The task's own largest gradient norm.
        source: Which data were looked at, in words.
        moments: At the start and after the warm-up, as far as it came.
        edges: The critical rate at the start, within and after the warm-up.
        warmup: What was trained in between; None where nothing could be trained.
        loss: The loss before training; None where it is not finite.
        target: The scale of a target of numbers.
        classes: The balance of a target of classes.
        features: Each input of the model.
        layers: Each layer of the model, at the start.
        silent: Parameters that get no gradient.
        untold: By subject, why something could not be told.
    """

    task: str
    optimizer: str
    horizon: int
    batch_size: int
    population: int | None
    momentum: float
    exponent: float | None
    clip: float | None
    source: str = ""
    moments: tuple[Moment, ...] = ()
    edges: tuple[Edge, ...] = ()
    warmup: WarmUp | None = None
    loss: LossScale | None = None
    target: TargetScale | None = None
    classes: Classes | None = None
    features: tuple[Features, ...] = ()
    layers: tuple[Layer, ...] = ()
    silent: tuple[str, ...] = ()
    untold: Mapping[str, str] | None = None

    @property
    def noise(self) -> NoiseScale | None:
        """The noise scale of the latest moment that has one."""
        return next((moment.noise for moment in reversed(self.moments) if moment.noise is not None), None)

    @property
    def matrices(self) -> tuple[Layer, ...]:
        """The layers that hold matrices and move: gains and biases have other sizes by their nature."""
        return tuple(layer for layer in self.layers if layer.matrix and layer.ratio is not None)

    @property
    def steady(self) -> tuple[float, ...]:
        """The critical rates times 1 - m: those whose steady updates with momentum are as long as the critical one."""
        return tuple(edge.lr * (1 - self.momentum) for edge in self.edges)
