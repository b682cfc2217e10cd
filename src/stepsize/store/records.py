"""What the store keeps beside runs and trials, as plain data: it knows nothing of tasks, samplers or torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Arrays",
    "Curve",
    "FindingRecord",
    "SignalsRecord",
    "StudyRecord",
    "Tally",
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
class Tally:
    """How many trials and runs a study has, and what its runs cost, in full runs."""

    trials: int = 0
    runs: int = 0
    cost: float = 0.0


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
