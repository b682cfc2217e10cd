"""Watched trainings as a store holds them: those that ended, those that were killed, and those that go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stepsize.errors import InputError, UnknownNameError
from stepsize.monitor.blocks import Blocks
from stepsize.monitor.guarding.journal import Entry
from stepsize.monitor.keeping import BLOCKS, KIND
from stepsize.monitor.kept_form import act_of, finding_of, verdict_of
from stepsize.monitor.reporting import Report, Signal
from stepsize.monitor.verdict import RateVerdict
from stepsize.store import Store, StudyRecord
from stepsize.store.writer import RUNNING

__all__ = ["Follower", "StoredWatch", "WatchHead", "list_watched", "read_watched"]

_INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class WatchHead:
    """What a list of watched trainings shows of one.

    Attributes:
        name: In its store.
        what: What was trained, in a few words.
        optimizer: The class of the optimizer.
        status: ``"running"``, ``"done"``, ``"diverged"``, ``"stopped"`` by a guard, ``"failed"`` with an error,
            ``"broken"`` where the watching met one of its own, or ``"interrupted"``: by Ctrl-C, or killed.
        begun: When, in UTC.
        updated: When it was last written, in UTC; None before the first time.
        steps: How many were made.
        planned: Of how many; None where unknown.
        verdict: On the rate.
        findings: How many there are.
    """

    name: str
    what: str
    optimizer: str
    status: str
    begun: datetime
    updated: datetime | None
    steps: int
    planned: int | None
    verdict: RateVerdict
    findings: int

    @property
    def over(self) -> bool:
        """Whether nothing more will be written."""
        return self.status != RUNNING

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {
            "name": self.name,
            "what": self.what,
            "optimizer": self.optimizer,
            "status": self.status,
            "begun": self.begun.isoformat(timespec="seconds"),
            "updated": None if self.updated is None else self.updated.isoformat(timespec="seconds"),
            "steps": self.steps,
            "planned": self.planned,
            "verdict": self.verdict.code,
            "findings": self.findings,
        }


@dataclass(frozen=True, eq=False)
class StoredWatch:
    """A watched training, as far as it was written down.

    Attributes:
        head: What it was, and how it stands.
        report: What the watch saw: findings, verdict and signals, as at the time of the last write.
        acts: What a guard did; empty without one.
    """

    head: WatchHead
    report: Report
    acts: tuple[Entry, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        acts = [{"kind": one.kind, "step": one.step, "back_to": one.back_to, "why": one.why} for one in self.acts]
        told = self.report.to_json()
        acts = [{"kind": one.kind, "step": one.step, "back_to": one.back_to, "why": one.why} for one in self.acts]
        return {**self.head.to_json(), "summary": told.pop("status"), **told, "acts": acts}


def read_watched(store: Store, name: str) -> StoredWatch:
    """Return the watched training ``name``, as far as it was written down.

    Args:
        store: Where it is kept.
        name: Of the training.

    Returns:
        Its state, with the same report as :meth:`stepsize.Watch.report` gave at the last write.

    Raises:
        UnknownNameError: If the store holds nothing of that name.
        InputError: If it is no watched training.

    Example:
        >>> import tempfile, torch, stepsize
        >>> net = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with stepsize.watch(net, optimizer, store=f"{folder}/runs.db", name="net") as watching:
        ...         for x in torch.randn(20, 8, 4):
        ...             loss = net(x).square().mean()
        ...             optimizer.zero_grad(); _ = loss.backward(); _ = optimizer.step()
        ...             watching.step(loss)
        ...     with Store.open(f"{folder}/runs.db") as store:
        ...         kept = read_watched(store, "net")
        >>> kept.head.status, kept.report.steps, len(kept.report.signals["loss"].values)
        ('done', 20, 20)
    """
    return Follower(store, name).look()


def list_watched(store: Store) -> list[WatchHead]:
    """Return all watched trainings of a store, the newest last."""
    written = {one.name: store.being_written(one.name) for one in store.studies()}  # before the status, as below
    return [_head(store, one, written.get(one.name, True)) for one in store.studies() if one.kind == KIND]


class Follower:
    """Reads a watched training again and again while another process writes it; each time only what is new.

    Args:
        store: Where it is kept.
        name: Of the training.

    Raises:
        UnknownNameError: If the store holds nothing of that name.
        InputError: If it is no watched training.
    """

    def __init__(self, store: Store, name: str) -> None:
        study = store.study(name)
        if study is None:
            raise UnknownNameError("run", name, [one.name for one in store.studies() if one.kind == KIND])
        if study.kind != KIND:
            raise InputError("run", name, f"must be a watched run, not a {study.kind}", "stepsize runs lists them")
        self._store, self._name = store, name
        self._position = -1
        self._blocks: dict[str, Blocks] = {}

    def look(self) -> StoredWatch:
        """Return how it stands now."""
        written = self._store.being_written(self._name)  # before the status: whoever ends says so, then lets go
        study = self._store.study(self._name)
        assert study is not None  # nothing takes studies away
        self._read_on()
        head = _head(self._store, study, written)
        findings = tuple(map(finding_of, self._store.findings(self._name)))
        state = self._store.watched(self._name)
        signals = {name: Signal(*blocks.history()) for name, blocks in self._blocks.items()}
        report = Report(head.steps, head.planned, head.optimizer, head.verdict, findings, signals)
        return StoredWatch(head, report, () if state is None else tuple(map(act_of, state.acts)))

    def _read_on(self) -> None:
        for part in self._store.signals(self._name, after=self._position):
            self._position = part.position
            if part.kind == BLOCKS:  # the state of everything up to here
                self._blocks = {name: Blocks.from_arrays(*arrays) for name, arrays in part.arrays.items()}
                continue
            for name, (steps, values) in part.arrays.items():
                self._blocks.setdefault(name, Blocks()).extend(steps, values)


def _head(store: Store, study: StudyRecord, written: bool) -> WatchHead:
    state = store.watched(study.name)
    killed = study.status == RUNNING and not written
    return WatchHead(
        name=study.name,
        what=study.spec["what"],
        optimizer=study.spec["optimizer"],
        status=_INTERRUPTED if killed else study.status,
        begun=study.created,
        updated=None if state is None else state.updated,
        steps=0 if state is None else state.steps,
        planned=study.spec["steps"],
        verdict=verdict_of({} if state is None else state.verdict),
        findings=len(store.findings(study.name)),
    )
