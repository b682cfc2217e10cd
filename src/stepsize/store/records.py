"""What the store keeps, as plain data: it knows nothing of tasks, samplers or torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Arrays",
    "Curve",
    "EvaluationRecord",
    "FindingRecord",
    "RunRecord",
    "SignalsRecord",
    "StudyRecord",
    "TrialRecord",
    "WatchRecord",
]

Arrays: TypeAlias = Mapping[str, Sequence[NDArray[Any]]]
"""By name, one-dimensional arrays of whole numbers or floats."""


@dataclass(frozen=True)
class StudyRecord:
    """A study: what its runs belong to.

    Attributes:
        name: Unique in its store.
        kind: What made it, such as ``"sweep"``.
        created: When it was begun, in UTC.
        spec: What it was asked for, as plain values; a study is only reopened with an equal one.
        status: ``"running"`` until its maker says otherwise; it stays so when the maker was killed.
    """

    name: str
    kind: str
    created: datetime
    spec: Mapping[str, Any]
    status: str


@dataclass(frozen=True)
class TrialRecord:
    """One point of a study's space: its number from 0, and what was chosen, by name."""

    number: int
    values: Mapping[str, float | int | str]


@dataclass(frozen=True)
class RunRecord:
    """One run of a trial, and what came of it.

    Attributes:
        trial: What was trained.
        share: The rung, as a share of the full horizon.
        seed: Of the run; trial number, share and seed together are unique in a study.
        status: How it ended, as a sentence.
        value: The judged figure, lower is better; infinite if it diverged, NaN where it could not be judged.
        diverged_at: The share of its updates after which it was given up as diverged; None where it was not.
        train_loss: As of the end; NaN where unknown.
        val_loss: On unseen data; NaN where there are none.
        seconds: Wall time.
        passes: Work in forward passes of one batch.
        cost: In trainings.
        initial: A digest of the initial weights.
        setting: What else it was trained with, as plain values.
        position: The order of telling within its study, from 0; the store gives it.
        id: Of its curves and evaluations; the store gives it.
    """

    trial: TrialRecord
    share: float
    seed: int
    status: str = ""
    value: float = math.nan
    diverged_at: float | None = None
    train_loss: float = math.nan
    val_loss: float = math.nan
    seconds: float = 0.0
    passes: float = 0.0
    cost: float = 0.0
    initial: str = ""
    setting: Mapping[str, Any] = field(default_factory=dict)
    position: int | None = None
    id: int | None = None

    @property
    def key(self) -> tuple[int, float, int]:
        """What tells it from all others of its study: trial number, rung, seed."""
        return (self.trial.number, self.share, self.seed)


@dataclass(frozen=True)
class EvaluationRecord:
    """The loss and metrics on unseen data after ``step`` updates."""

    step: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve as it was kept.

    Attributes:
        steps: The update of each point, int64, shape ``(points,)``.
        values: The points, float64, shape ``(points, …)``.
        length: How many points there were before it was thinned.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    length: int


@dataclass(frozen=True)
class FindingRecord:
    """A diagnosis, of a run or of the study.

    Attributes:
        code: Stable.
        severity: How bad it is.
        evidence: The numbers, as plain values.
        run: The run that it is on; None where it is on the study.
        told: What else it says, as plain values.
    """

    code: str
    severity: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    run: int | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchRecord:
    """How far a watched training is.

    Attributes:
        steps: How many were made.
        updated: When this was written, in UTC.
        verdict: On its rate, as plain values; empty before there is one.
        acts: What was done about it, as plain values.
    """

    steps: int
    updated: datetime
    verdict: Mapping[str, Any] = field(default_factory=dict)
    acts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class SignalsRecord:
    """A part of the signals of a watched training.

    Attributes:
        position: Rising in the order of writing.
        kind: What the arrays are, in a word of their maker.
        arrays: By name.
    """

    position: int
    kind: str
    arrays: Arrays
