"""What a claim is decided by: effects with an interval, the tests on them, and the verdict of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

__all__ = ["CONFIRMED", "LEVEL", "NOT_CONFIRMED", "PARTLY", "Check", "Effect", "Part", "Unit", "log_ratio", "paired"]

LEVEL = 0.95
CONFIRMED, PARTLY, NOT_CONFIRMED = "confirmed", "confirmed under these conditions", "not confirmed"
_LEAST_TASKS = 3  # of a group that may be the condition of a verdict

Wanted = Literal["above", "below", "not above", "apart"]
Scale = Literal["ratio", "share", "percent", "decades", "number"]


@dataclass(frozen=True)
class Effect:
    """A mean over seeds with its 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Check:
    """An effect and where its interval has to lie.

    Attributes:
        name: What is measured.
        effect: The figure.
        wanted: ``above`` or ``below`` ask for the whole interval there, ``apart`` for it on either side, ``not above``
            for an interval that is not wholly above.
        threshold: Above or below what.
        scale: How people read it: ``ratio`` is a natural logarithm, ``share`` a difference of fractions,
            ``percent`` a fraction.
    """

    name: str
    effect: Effect
    wanted: Wanted
    threshold: float = 0.0
    scale: Scale = "ratio"

    @property
    def holds(self) -> bool:
        """Whether the interval lies where it has to."""
        above, below = self.effect.low > self.threshold, self.effect.high < self.threshold
        return {"above": above, "below": below, "not above": not above, "apart": above or below}[self.wanted]

    @property
    def opposed(self) -> bool:
        """Whether the whole interval lies on the wrong side."""
        above, below = self.effect.low > self.threshold, self.effect.high < self.threshold
        return {"above": below, "below": above, "not above": above, "apart": False}[self.wanted]


@dataclass(frozen=True)
class Unit:
    """One place where a statement is tried: a task with an optimizer, a method, ...

    Attributes:
        name: Of the place.
        checks: All must hold; the first is the one that is drawn.
        labels: Properties that were known before: those whose units all hold name the condition of a verdict.
        tasks: The names of the tasks behind it.
    """

    name: str
    checks: tuple[Check, ...]
    labels: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether all tests hold."""
        return all(check.holds for check in self.checks)

    @property
    def opposed(self) -> bool:
        """Whether a test is opposed."""
        return any(check.opposed for check in self.checks)


@dataclass(frozen=True)
class Part:
    """One half of a statement, and the places where it was tried."""

    name: str
    units: tuple[Unit, ...]

    @property
    def holding(self) -> int:
        """In how many places it holds."""
        return sum(unit.holds for unit in self.units)

    @property
    def opposed(self) -> int:
        """In how many places the opposite is true."""
        return sum(unit.opposed for unit in self.units)

    @property
    def conditions(self) -> tuple[str, ...]:
        """The labels whose units all hold, where they stand for three tasks or more and not for all of them."""
        labels = dict.fromkeys(label for unit in self.units for label in unit.labels)
        return tuple(label for label in labels if self._is_condition(label))

    def _is_condition(self, label: str) -> bool:
        own = [unit for unit in self.units if label in unit.labels]
        tasks = {task for unit in own for task in unit.tasks}  # two optimizers on a task are one task
        return len(own) < len(self.units) and len(tasks) >= _LEAST_TASKS and all(unit.holds for unit in own)

    @property
    def verdict(self) -> str:
        """Confirmed where it holds everywhere; under conditions where it holds mostly, or for all units of a label."""
        if self.units and self.holding == len(self.units):
            return CONFIRMED
        mostly = 2 * self.holding >= len(self.units) and self.holding > self.opposed
        return PARTLY if self.units and (mostly or self.conditions) else NOT_CONFIRMED


def verdict_of(parts: Sequence[Part]) -> str:
    """Return the verdict on a statement of several parts: confirmed if all are, not confirmed if none is in part."""
    verdicts = {part.verdict for part in parts}
    return verdicts.pop() if len(verdicts) == 1 else PARTLY


def paired(values: Sequence[float], others: Sequence[float] | None = None) -> Effect:
    """Return the mean of ``values``, or of their differences to ``others`` seed by seed, with Student's interval."""
    data = np.asarray(values, dtype=np.float64)
    if others is not None:
        data = data - np.asarray(others, dtype=np.float64)
    mean = float(data.mean())
    if len(data) < 2:
        return Effect(mean, -math.inf, math.inf, len(data))
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, len(data) - 1) * data.std(ddof=1) / math.sqrt(len(data)))
    return Effect(mean, mean - reach, mean + reach, len(data))


def log_ratio(values: Sequence[float], others: Sequence[float]) -> Effect:
    """Return the mean of log(value / other) over the seeds, with its interval."""
    return paired([math.log(value) for value in values], [math.log(other) for other in others])
