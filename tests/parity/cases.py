"""The table that holds our schedules against those of other libraries, and how a row is checked."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stepsize.schedules import Schedule

BEYOND = 20  # updates after the end that are compared too
PEERS = ("torch", "transformers", "optax", "keras", "timm", "pytorch_optimizer", "formulas")

Factors = NDArray[np.float64]
Evaluate = Callable[[int], Sequence[float] | Factors]  # from a number of updates to the factor of each of them


@dataclass(frozen=True)
class Case:
    """One schedule of a peer and the schedule of ours that gives the same factors.

    Attributes:
        name: How one writes theirs.
        theirs: What they return for updates 0, 1, ...; NaN where they raise.
        ours: Our schedule.
        steps: N, the planned number of updates; the last of them is N - 1.
        boundary: An update at which a part begins, or the one with the extreme factor.
        agree: How far both must agree; None for up to N + ``BEYOND``. Somewhere behind that they must differ, and
            ``note`` says why.
        since: The update from which on both must agree; they differ before, and ``note`` says why.
        tolerance: Largest absolute difference; factors are of the order of 1.
        note: What to know about the first, boundary and last update.
    """

    name: str
    theirs: Evaluate
    ours: Schedule
    steps: int
    boundary: int
    agree: int | None = None
    tolerance: float = 1e-12
    note: str = ""
    since: int = 0

    def __post_init__(self) -> None:
        assert 0 < self.boundary < self.steps, self.name
        assert self.agree is None or (self.note and self.agree <= self.steps + BEYOND), self.name
        assert self.since == 0 or self.note, self.name

    @functools.cached_property
    def factors(self) -> tuple[Factors, Factors]:
        """Theirs and ours on updates 0 ... N + ``BEYOND``."""
        count = self.steps + BEYOND + 1
        return _evaluated(self.theirs, count), self.ours.factors(count)

    @property
    def difference(self) -> float:
        """The largest absolute difference on the updates that must agree."""
        theirs, ours = self.factors
        return float(np.max(np.abs(theirs - ours)[self.since : self.agree]))


@dataclass(frozen=True)
class Defect:
    """What a peer does that surprises its users, in numbers, and what holds here instead.

    Attributes:
        name: What is wrong, as a sentence.
        where: How one writes theirs.
        updates: Those that show it.
        theirs: As for a case.
        stated: What theirs gives at ``updates``, NaN where it raises; if that changes, it may have been fixed.
        ours: Our schedule for the same wish.
        contract: What ours gives there.
        rule: Our contract, as a sentence.
        source: Where it is known from.
    """

    name: str
    where: str
    updates: tuple[int, ...]
    theirs: Evaluate
    stated: tuple[float, ...]
    ours: Schedule
    contract: tuple[float, ...]
    rule: str
    source: str = ""

    @functools.cached_property
    def factors(self) -> tuple[Factors, Factors]:
        """Theirs and ours at ``updates``."""
        at = np.asarray(self.updates)
        return _evaluated(self.theirs, int(at.max()) + 1)[at], np.asarray(self.ours(at))


@dataclass(frozen=True)
class Peer:
    """A library with its rows.

    Attributes:
        name: Its name for people.
        package: Its distribution on the package index; None if the rows are formulas written here.
        about: How it is evaluated, and at what precision.
        cases: Its schedules.
        defects: Its surprises.
        left_out: What has no row and why.
    """

    name: str
    package: str | None
    about: str
    cases: tuple[Case, ...]
    defects: tuple[Defect, ...] = ()
    left_out: tuple[str, ...] = field(default=())

    @property
    def version(self) -> str | None:
        """The installed version without its build; None if it is absent."""
        if self.package is None:
            return "formulas"
        try:
            return importlib.metadata.version(self.package).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            return None


@functools.cache
def peer(name: str) -> Peer:
    """The rows of one peer; nothing of the peer itself is imported before a row is evaluated."""
    found = importlib.import_module(f"tests.parity.rows_{name}").PEER
    assert isinstance(found, Peer)
    return found


def check_case(case: Case) -> None:
    theirs, ours = case.factors
    assert np.isfinite(ours).all()
    both = slice(case.since, case.agree)
    np.testing.assert_allclose(theirs[both], ours[both], rtol=0, atol=case.tolerance)
    apart = ~(np.abs(theirs - ours) <= case.tolerance)  # NaN, where they raise, is apart too
    assert case.agree is None or bool(apart[case.agree :].any()), "agrees to the end: fixed? Then drop `agree`"
    assert case.since == 0 or bool(apart[: case.since].all()), "agrees from the start: fixed? Then drop `since`"


def check_defect(defect: Defect) -> None:
    theirs, ours = defect.factors
    changed = "the peer has changed: fixed? Then make it a case"
    np.testing.assert_allclose(theirs, defect.stated, rtol=1e-5, atol=5e-7, equal_nan=True, err_msg=changed)
    np.testing.assert_allclose(ours, defect.contract, rtol=1e-5, atol=5e-7)
    assert not np.allclose(theirs, ours, rtol=1e-3, atol=1e-4), "shows nothing"


def _evaluated(evaluate: Evaluate, count: int) -> Factors:
    values = np.asarray(evaluate(count), dtype=np.float64)
    assert values.shape == (count,), f"{values.shape} for {count} updates"
    return values
