"""What `profile` returns: measured quantities, advice, cost, and the plain numbers of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.plain import plain
from stepsize.probe.profiling.edge import StabilityEdge
from stepsize.probe.profiling.features import Features
from stepsize.probe.profiling.noise import NoiseScale, growth
from stepsize.probe.profiling.scale import Classes, LossScale, TargetScale
from stepsize.views import Chart, Pictured, Series, draw, series_info

_DECADES, _POINTS = 2.0, 41  # of batch sizes on the chart, on both sides of the present one


def when(step: int) -> str:
    """Return in words after how many steps of the warmup something was measured."""
    return "at the start" if step == 0 else f"after {step} steps"


@dataclass(frozen=True, eq=False)
class Moment:
    """The gradients at one moment of the run.

    Attributes:
        step: Number of steps before.
        noise: Gradient noise scale; None if unknown.
    """

    step: int
    noise: NoiseScale | None


@dataclass(frozen=True, eq=False)
class ProfileFacts:
    """Everything that was measured about one task.

    Attributes:
        task: Name of the task.
        optimizer: Name of its optimizer.
        horizon: Steps of a full run.
        batch_size: Examples per update.
        population: Number of training examples; None if unknown.
        momentum: m of SGD or RMSprop; 0 without.
        exponent: a of eta(B) = eta_max / (1 + B_noise / B)^a: 1 for SGD, 1/2 for Adam-type optimizers, None for others.
        source: The data that were measured, in words.
        moments: Gradients at the start and after the warmup, as far as it came.
        edges: Critical rates at the start, within and after the warmup.
        loss: Loss at initialization; None if it is not finite.
        target: Scale of a target of numbers.
        classes: Balance of a target of classes.
        features: Each input of the model.
        silent: Parameters that get no gradient.
        unavailable: Reasons why something could not be measured, by subject.
    """

    task: str
    optimizer: str
    horizon: int
    batch_size: int
    population: int | None
    momentum: float
    exponent: float | None
    source: str = ""
    moments: tuple[Moment, ...] = ()
    edges: tuple[StabilityEdge, ...] = ()
    loss: LossScale | None = None
    target: TargetScale | None = None
    classes: Classes | None = None
    features: tuple[Features, ...] = ()
    silent: tuple[str, ...] = ()
    unavailable: Mapping[str, str] | None = None

    @property
    def noise(self) -> NoiseScale | None:
        """The noise scale of the latest moment that has one."""
        return next((moment.noise for moment in reversed(self.moments) if moment.noise is not None), None)

    @property
    def steady(self) -> tuple[float, ...]:
        """The critical rates times 1 - m: those whose steady updates with momentum are as large as the critical one."""
        return tuple(edge.lr * (1 - self.momentum) for edge in self.edges)


@dataclass(frozen=True)
class ProfileMeasurement:
    """One measured quantity.

    Attributes:
        name: Stable name for machines and people.
        value: The number; may be infinite.
        unit: Unit; empty for a pure number.
        interval: Uncertainty; None if it is exact for the data that were measured.
        evidence: How it was measured.
        follows: What it means for the learning rate.
    """

    name: str
    value: float
    unit: str
    interval: tuple[float, float] | None
    evidence: str
    follows: str


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Attributes:
        about: ``"rate"``, ``"batch size"``, ``"warmup"``, ``"features"``, ``"target"``, ``"start"``,
            ``"classes"`` or ``"data"``.
        sentence: What to do.
        evidence: Its measured numbers.
        confirm: An experiment, as code, that would confirm it.
    """

    about: str
    sentence: str
    evidence: str
    confirm: str


@dataclass(frozen=True)
class ProfileCost:
    """Cost of a profile.

    Attributes:
        full_runs: Cost in full runs.
        passes: Forward passes of one batch; a backward pass counts as two.
        seconds: Wall time.
    """

    full_runs: float
    passes: float
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class Profile(Pictured):
    """The properties of data and model that determine the learning rate.

    Attributes:
        facts: The plain numbers.
        measured: Each quantity with its uncertainty, evidence and meaning.
        advice: What to do, with evidence, the most consequential first.
        unavailable: What could not be measured, and why, one sentence each.
        cost: What it cost.
        restored: Whether data and random generators are verified to be where they were.
    """

    facts: ProfileFacts
    measured: tuple[ProfileMeasurement, ...]
    advice: tuple[Advice, ...]
    unavailable: tuple[str, ...]
    cost: ProfileCost
    restored: bool

    @property
    def status(self) -> str:
        """How much was measured, as a sentence."""
        missing = f"; {len(self.unavailable)} could not be measured" if self.unavailable else ""
        return f"{len(self.measured)} quantities measured at the cost of {self.cost.full_runs:.2f} full runs{missing}."

    def __getitem__(self, name: str) -> ProfileMeasurement:
        """Return the measured quantity called ``name``."""
        return {each.name: each for each in self.measured}[name]

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``; a number that is not finite becomes None."""
        parts = ("measured", "advice", "unavailable", "facts", "cost", "restored")
        return {"task": self.facts.task, "status": self.status, **{name: plain(getattr(self, name)) for name in parts}}

    def plot(self, title: str = "Profile") -> Chart:
        """Return the chart: how the rate may grow with the batch size."""
        facts = self.facts
        sizes = np.maximum(1.0, facts.batch_size * np.logspace(-_DECADES, _DECADES, _POINTS)).tolist()
        exponent = 1.0 if facts.exponent is None else facts.exponent
        curves, places = [], [(float(facts.batch_size), f"batch size {number_text(facts.batch_size)}", "lr")]
        for moment in facts.moments:
            if moment.noise is not None:
                noise, name = moment.noise.examples, when(moment.step)
                factors = [growth(noise, facts.batch_size, size, exponent=exponent) for size in sizes]
                curves.append(Series(name, sizes, factors))
                places.append((noise, f"noise scale {number_text(noise, 2)} {name}", "optimum"))
        label = "best rate ÷ best rate at the present batch size"
        info = series_info(curves, "batch size", title=title, subtitle=self.status, label=label, places=places)
        return draw(info)
