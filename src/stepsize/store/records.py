"""What the store holds besides runs and trials, as plain data: it knows nothing of tasks, samplers or torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

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
        control: Whether the run takes orders: whether it was started with ``control=True``.
    """

    steps: int
    updated: datetime
    verdict: Mapping[str, Any] = field(default_factory=dict)
    acts: Sequence[Mapping[str, Any]] = ()
    control: bool = False


@dataclass(frozen=True)
class ProgressRecord:
    """Progress of a search or sweep that is running.

    Attributes:
        updated: When this was written, in UTC.
        running: What is trained now: the values of each trial, with ``steps``, ``share`` and ``seed`` of its run.
        seconds_left: Time left by the pace so far; None before the first run has ended.
        at_most: Whether that is the rest of a budget, of which an answer may need less.
    """

    updated: datetime
    running: Sequence[Mapping[str, Any]] = ()
    seconds_left: float | None = None
    at_most: bool = False


@dataclass(frozen=True)
class OrderRecord:
    """An order to a running training, and what became of it; the orders of a run are its journal.

    Attributes:
        number: Counts the orders of a run from 1.
        verb: What to do: a name in ``stepsize.store.orders.VERBS``.
        arguments: Arguments of the verb, as plain values, complete: defaults are filled in.
        who: Who sent it.
        sent: When it was sent, in UTC.
        state: ``"sent"``, then ``"applied"`` or ``"refused"``.
        reply: What was done, or why it was refused, in a sentence; empty before.
        step: Number of the first update made with it, as the schedule counts; None unless it was applied.
        loss_before: Mean training loss of the updates before it; None if unknown.
        loss_after: Mean training loss of the first updates with it; None until they were made.
    """

    number: int
    verb: str
    arguments: Mapping[str, Any]
    who: str
    sent: datetime
    state: Literal["sent", "applied", "refused"] = "sent"
    reply: str = ""
    step: int | None = None
    loss_before: float | None = None
    loss_after: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {**asdict(self), "sent": self.sent.isoformat(timespec="seconds")}


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
