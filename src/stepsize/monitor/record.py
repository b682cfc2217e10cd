"""What is known of a training: the signals so far, and what was said about it. Rules read nothing else."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from stepsize.curves.divergence import DivergenceRule
from stepsize.monitor.trace import Points, Trace

__all__ = ["GLOBAL", "Facts", "Point", "Record"]

Point: TypeAlias = tuple[str, int, float]
"""Of which signal, at which step, how much."""

GLOBAL = {
    "loss": "training loss of each step",
    "grad_norm": "length of the gradient before clipping, estimated on a sample of coordinates",
    "clipped": "by which factor clipping shortened the gradient; 1 where it did not",
    "cosine": "cosine between this gradient and the last one",
    "slope_then": "slope of the loss along the last step, at its beginning",
    "slope_now": "slope of the loss along the last step, at its end, on the next batch",
    "update_ratio": "length of the last step over the length of the weights",
    "equilibrium": "update_ratio that weight decay leads to in layers whose scale does not matter",
    "straightness": "cosine between the ways of the second and of the last quarter of the steps so far",
    "distance": "largest distance of a tensor from its start, over its length at the start",
    "noise": "gradient noise scale over the batch size, from micro-batches",
    "headroom": "critical learning rate along the update over the rate in use",
    "val_loss": "loss on unseen data",
    "sharpness": "largest eigenvalue of the Hessian, where it was asked for",
}
"""The signals of the whole model; ``lr/0``, ``lr/1``, … are those of each group, ``update_ratio/NAME`` of a layer."""

_FIRST = 12  # losses from which the start is read


@dataclass(frozen=True)
class Facts:
    """What is said about a training rather than measured.

    Attributes:
        steps: The horizon in updates; None where unknown.
        optimizer: The class of the optimizer, or of several, joined by ``+``.
        momentum: Of the SGD family; the first beta of Adam and its kin.
        weight_decay: The largest of the groups.
        learning_rate_free: Whether the optimizer finds its rate by itself.
        schedule: The factors of the whole schedule on up to 1,000 steps where it can be looked at ahead; else empty.
        scheduler: Of torch schedulers: name, and how often it was stepped at the first and the last look.
    """

    steps: int | None = None
    optimizer: str = ""
    momentum: float = 0.0
    weight_decay: float = 0.0
    learning_rate_free: bool = False
    schedule: tuple[float, ...] = ()
    scheduler: Mapping[str, Any] = field(default_factory=dict)


class Record:
    """The signals of one training.

    Attributes:
        facts: What was said about it.
        traces: By name: those of :data:`GLOBAL`, ``lr/N`` and ``update_ratio/NAME``.
        step: How many steps were made.
        skipped: How many of them made no update.
        lost: Since which step and why the training counts as diverged; None where it does not.
        told: Where every point is told too, for who keeps them; None where nobody does.
        first: The first finite losses.
        divergence: Says when the training is lost.
    """

    def __init__(self, facts: Facts | None = None) -> None:
        self.facts = facts or Facts()
        self.traces: dict[str, Trace] = {}
        self.step = 0
        self.skipped = 0
        self.lost: tuple[int, str] | None = None
        self.told: deque[Point] | None = None
        self.first: list[float] = []
        self._begin: tuple[float, float] | None = None  # start and its noise, once they no longer change
        self.divergence = DivergenceRule(self.facts.steps)

    def add_loss(self, step: int, loss: float) -> None:
        """Take the training loss of a step."""
        self.add("loss", step, loss)
        self._judge(step, loss)

    def add_losses(self, steps: Sequence[int], losses: Sequence[float]) -> None:
        """Take the training losses of several steps."""
        self.extend("loss", steps, losses)
        for step, loss in zip(steps, losses, strict=True):
            self._judge(step, loss)

    def _judge(self, step: int, loss: float) -> None:
        if len(self.first) < _FIRST and math.isfinite(loss):
            self.first.append(loss)
        if self.lost is None and (reason := self.divergence.update(loss)):
            self.lost = (step, reason)

    def extend(self, name: str, steps: Sequence[int], values: Sequence[float]) -> None:
        """Take several values of a signal."""
        trace = self.traces.get(name)
        if trace is None:
            trace = self.traces[name] = Trace()
        trace.extend(steps, values)
        told = self.told
        if told is not None:
            told.extend((name, step, value) for step, value in zip(steps, values, strict=True))

    def mark(self) -> Any:
        """Return what :meth:`go_back` needs to take a divergence back."""
        return copy.deepcopy(self.divergence)

    def go_back(self, mark: Any) -> None:
        """Forget that the training diverged: it went back to where ``mark`` was taken. Its signals stay."""
        self.lost = None
        self.divergence = copy.deepcopy(mark)

    def add(self, name: str, step: int, value: float) -> None:
        """Take one value of a signal."""
        trace = self.traces.get(name)
        if trace is None:
            trace = self.traces[name] = Trace()
        trace.add(step, value)
        told = self.told  # looked at once: who keeps the points may stop at any moment, in its own thread
        if told is not None:
            told.append((name, step, value))

    def __contains__(self, name: str) -> bool:
        return name in self.traces

    def recent(self, name: str, most: int = 512) -> Points:
        """Return the last values of a signal; none where there is no such signal."""
        return self.traces[name].recent(most) if name in self.traces else Trace().recent()

    def history(self, name: str) -> Points:
        """Return a signal from the beginning, in blocks where it is long."""
        return self.traces[name].history() if name in self.traces else Trace().recent()

    def last(self, name: str) -> float:
        """Return the last value of a signal; NaN where there is none."""
        return self.traces[name].last if name in self.traces else math.nan

    def median(self, name: str, most: int = 64) -> float:
        """Return the median of the last finite values; NaN where there are none."""
        values = self.recent(name, most).finite().values
        return float(np.median(values)) if values.size else math.nan

    def rates(self) -> list[str]:
        """Return the names of the rates of all groups."""
        return sorted((name for name in self.traces if name.startswith("lr/")), key=lambda name: int(name[3:]))

    def layers(self) -> list[str]:
        """Return the names of the layer groups."""
        return [name.removeprefix("update_ratio/") for name in self.traces if name.startswith("update_ratio/")]

    @property
    def start(self) -> float:
        """The median of the first five finite losses; NaN before the first."""
        return self._beginning()[0]

    @property
    def start_noise(self) -> float:
        """The spread of the first losses, from their differences; 0 of fewer than three."""
        return self._beginning()[1]

    def _beginning(self) -> tuple[float, float]:
        if self._begin is not None:
            return self._begin
        level = float(np.median(self.first[:5])) if self.first else math.nan
        enough = len(self.first) > 2
        noise = 1.4826 * float(np.median(np.abs(np.diff(self.first)))) / math.sqrt(2) if enough else 0.0
        if len(self.first) == _FIRST:
            self._begin = (level, noise)
        return level, noise

    @property
    def lr(self) -> float:
        """The largest rate of the groups at the last update; NaN before the first."""
        rates = [self.last(name) for name in self.rates()]
        return max(rates) if rates else math.nan

    @property
    def peak_lr(self) -> float:
        """The largest rate so far."""
        return max((self.traces[name].peak for name in self.rates()), default=math.nan)

    @property
    def progress(self) -> float:
        """The share of the horizon that is done; NaN where the horizon is unknown."""
        return self.step / self.facts.steps if self.facts.steps else math.nan
