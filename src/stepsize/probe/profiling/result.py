"""What `profile` returns: measured quantities, what follows from them, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import numpy as np

from stepsize.probe.profiling.facts import Facts
from stepsize.views import Chart

__all__ = ["Advice", "Measured", "Profile", "ProfileCost"]


@dataclass(frozen=True)
class Measured:
    """One measured quantity.

    Attributes:
        name: A stable name for machines and people.
        value: The number; None where it could not be told (then ``evidence`` says why), may be infinite.
        unit: What it counts; empty for a pure number.
        interval: How uncertain it is; None where it is exact for the data that were looked at.
        evidence: How it was measured.
        follows: What it means for the learning rate.
        confirm: An experiment, as code, that would show whether that is so; empty where nothing is claimed.
    """

    name: str
    value: float | None
    unit: str
    interval: tuple[float, float] | None
    evidence: str
    follows: str
    confirm: str = ""


@dataclass(frozen=True)
class Advice:
    """One thing to do.

    Attributes:
        about: ``"rate"``, ``"batch size"``, ``"warm-up"``, ``"clipping"``, ``"features"``, ``"target"``, ``"start"``,
            ``"classes"``, ``"layers"`` or ``"data"``.
        sentence: What to do.
        evidence: The measured numbers behind it.
        confirm: An experiment, as code, that would confirm it.
    """

    about: str
    sentence: str
    evidence: str
    confirm: str


@dataclass(frozen=True)
class ProfileCost:
    """What a profile cost.

    Attributes:
        trainings: Forward and backward passes spent, over those of one full training without its evaluation.
        passes: Forward passes of one batch; a backward pass counts two.
        seconds: Wall time.
    """

    trainings: float
    passes: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Profile:
    """What about data and model makes the learning rate what it is.

    Attributes:
        facts: The plain numbers.
        measured: Each quantity with its uncertainty, evidence, and what follows.
        advice: What to do, with evidence, the most consequential first.
        untold: What could not be told, and why, a sentence each.
        cost: What it cost.
        restored: Whether data and random generators are proven to be where they were.
    """

    facts: Facts
    measured: tuple[Measured, ...]
    advice: tuple[Advice, ...]
    untold: tuple[str, ...]
    cost: ProfileCost
    restored: bool

    @property
    def status(self) -> str:
        """How much could be told, as a sentence."""
        known = sum(each.value is not None for each in self.measured)
        missing = f"; {len(self.untold)} could not be told" if self.untold else ""
        return f"{known} quantities measured at the price of {self.cost.trainings:.2f} trainings{missing}."

    def __getitem__(self, name: str) -> Measured:
        """Return the measured quantity called ``name``."""
        return {each.name: each for each in self.measured}[name]

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain values for ``json.dumps``; a number that is not finite becomes None."""
        return {
            "task": self.facts.task,
            "status": self.status,
            "measured": [_plain(each) for each in self.measured],
            "advice": [_plain(each) for each in self.advice],
            "untold": list(self.untold),
            "facts": _plain(self.facts),
            "cost": _plain(self.cost),
            "restored": self.restored,
        }

    def plot(self, title: str = "Profile") -> Chart:
        """Return the chart: how the rate may grow with the batch size, and how far an update moves each layer."""
        from stepsize.probe.profiling.plotting import drawn

        return drawn(self, title)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
