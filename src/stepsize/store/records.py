"""What the store holds besides runs and trials, as plain data: it knows nothing of tasks, samplers or torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from numpy.typing import NDArray

Arrays: TypeAlias = Mapping[str, Sequence[NDArray[Any]]]
"""One-dimensional arrays of integers or floats, by name."""


@dataclass(frozen=True)
class StudyRecord:
    """A study: what its runs belong to.

    Attributes:
        name: Unique in its store.
        kind: What made it, such as ``"sweep"``.
        created: When it began, in UTC.
        spec: What was asked for, as plain values; a study is only reopened with equal ones.
        status: ``"running"`` until its maker says otherwise, also after the maker was killed.
    """

    name: str
    kind: str
    created: datetime
    spec: Mapping[str, Any]
    status: str


@dataclass(frozen=True)
class Tally:
    """Number of trials and runs of a study, and the cost of its runs in full runs."""

    trials: int = 0
    runs: int = 0
    cost: float = 0.0


@dataclass(frozen=True)
class FindingRecord:
    """A diagnosis of a run or of the whole study.

    Attributes:
        code: Stable name of the finding.
        severity: How bad it is.
        evidence: The numbers, as plain values.
        run: Id of the run; None for the whole study.
        told: What else it says, as plain values.
    """

    code: str
    severity: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    run: int | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WatchRecord:
    """State of a watched run.

    Attributes:
        steps: Number of steps made.
        updated: When this was written, in UTC.
        verdict: Verdict on its rate, as plain values; empty before there is one.
        acts: Actions taken, as plain values.
    """

    steps: int
    updated: datetime
    verdict: Mapping[str, Any] = field(default_factory=dict)
    acts: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class SignalsRecord:
    """A part of the signals of a watched run.

    Attributes:
        position: Rises in the order of writing.
        kind: What the arrays are, in one word chosen by their maker.
        arrays: Arrays by name.
    """

    position: int
    kind: str
    arrays: Arrays
