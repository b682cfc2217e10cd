"""Watched runs as a store holds them: those that ended, those that were killed, and those still running."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from stepsize.errors import InputError, UnknownNameError
from stepsize.monitor.finding import Finding
from stepsize.monitor.guarding.action import GuardAction
from stepsize.monitor.recorder import BLOCKS, KIND
from stepsize.monitor.report import Report
from stepsize.monitor.trace import Blocks
from stepsize.monitor.verdict import RateVerdict
from stepsize.store import OrderRecord, Store, StudyRecord, WatchRecord
from stepsize.store.writer import RUNNING

_NOT_FINITE = ("nan", "inf", "-inf")  # as the recorder spells them


@dataclass(frozen=True)
class RunSummary:
    """A line of the list of watched runs.

    Attributes:
        name: Name in the store.
        what: Description of the model.
        optimizer: Class of the optimizer.
        status: ``"running"``, ``"done"``, ``"diverged"``, ``"stopped"`` by a guard or an order, ``"failed"`` with an
            error, ``"broken"`` if the watch met an error of its own, or ``"interrupted"``: by Ctrl-C, or killed.
        begun: Start time in UTC.
        updated: Time of the last write in UTC; None before the first.
        steps: Number of steps made.
        planned: Number of planned steps, with those that orders have added; None if unknown.
        verdict: Verdict on the learning rate.
        findings: Number of findings.
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
            **asdict(self),
            "begun": self.begun.isoformat(timespec="seconds"),
            "updated": None if self.updated is None else self.updated.isoformat(timespec="seconds"),
            "verdict": self.verdict.code,
        }


@dataclass(frozen=True, eq=False)
class SavedRun:
    """A watched run, as far as it was saved.

    Attributes:
        head: Summary.
        report: Findings, verdict and signals at the time of the last write.
        actions: Actions of a guard; empty without one.
        orders: Orders to it, in order; empty if it took none.
    """

    head: RunSummary
    report: Report
    actions: tuple[GuardAction, ...]
    orders: tuple[OrderRecord, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        report = self.report.to_json()
        summary = report.pop("status")
        return {
            **self.head.to_json(),
            "summary": summary,
            **report,
            "actions": [one.to_json() for one in self.actions],
            "orders": [one.to_json() for one in self.orders],
        }


def read_run(store: Store, name: str) -> SavedRun:
    """Return the watched run ``name``, as far as it was saved.

    Args:
        store: Store that holds it.
        name: Name of the run.

    Returns:
        Its state, with the same report as :meth:`stepsize.Watch.report` gave at the last write.

    Raises:
        UnknownNameError: If the store holds nothing of that name.
        InputError: If it is not a watched run.

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
        ...         saved = read_run(store, "net")
        >>> saved.head.status, saved.report.steps, len(saved.report.signals["loss"].values)
        ('done', 20, 20)
    """
    return RunReader(store, name).read()


def list_runs(store: Store) -> list[RunSummary]:
    """Return all watched runs of a store, the newest last."""
    statuses, states = store.statuses(), store.watches()
    studies = [one for one in store.studies() if one.kind == KIND and one.name in statuses]
    unknown: tuple[WatchRecord | None, int] = (None, 0)
    return [
        summary_of(one, statuses[one.name], *states.get(one.name, unknown), orders_to(store, one.name, states))
        for one in studies
    ]


def orders_to(store: Store, name: str, states: Mapping[str, tuple[WatchRecord, int]]) -> tuple[OrderRecord, ...]:
    """Return the orders to a run, of which ``states`` say whether it takes any."""
    return store.orders(name) if name in states and states[name][0].control else ()


def read_findings(store: Store, name: str) -> tuple[Finding, ...]:
    """Return the findings of a watched run, the earliest first."""
    return tuple(
        Finding(one.code, one.severity, evidence=_numbers(one.evidence), **_numbers(one.told))  # type: ignore[arg-type]
        for one in store.findings(name)
    )


def actions_of(state: WatchRecord | None) -> tuple[GuardAction, ...]:
    """Return the actions of a guard."""
    return () if state is None else tuple(GuardAction.from_json(_numbers(one)) for one in state.acts)


class RunReader:
    """Reads a watched run again and again while another process writes it; each time only what is new."""

    def __init__(self, store: Store, name: str) -> None:
        study = store.study(name)
        if study is None:
            raise UnknownNameError("run", name, [one.name for one in store.studies() if one.kind == KIND])
        if study.kind != KIND:
            raise InputError("run", name, f"must be a watched run, not a {study.kind}", "stepsize runs lists them")
        self._store, self._name = store, name
        self._position = -1
        self._blocks: dict[str, Blocks] = {}

    def read(self) -> SavedRun:
        """Return its present state."""
        study = self._store.study(self._name)
        assert study is not None  # studies are never deleted
        status = self._store.status(study)  # before the signals: a run that has ended has written all of them
        for part in self._store.signals(self._name, after=self._position):
            self._position = part.position
            if part.kind == BLOCKS:  # the state of everything up to here
                self._blocks = {name: Blocks.from_arrays(*arrays) for name, arrays in part.arrays.items()}
                continue
            for name, (steps, values) in part.arrays.items():
                self._blocks.setdefault(name, Blocks()).extend(steps, values)
        findings = read_findings(self._store, self._name)
        state = self._store.watched(self._name)
        orders = self._store.orders(self._name) if state is not None and state.control else ()
        head = summary_of(study, status, state, len(findings), orders)
        signals = {name: blocks.history() for name, blocks in self._blocks.items()}
        report = Report(head.steps, head.planned, head.optimizer, head.verdict, findings, signals)
        return SavedRun(head, report, actions_of(state), orders)


def summary_of(
    study: StudyRecord, status: str, state: WatchRecord | None, findings: int, orders: Sequence[OrderRecord]
) -> RunSummary:
    """Return the line of the list for a watched run, with the journal of its orders."""
    steps = study.spec["steps"]
    return RunSummary(
        name=study.name,
        what=study.spec["what"],
        optimizer=study.spec["optimizer"],
        status=status,
        begun=study.created,
        updated=None if state is None else state.updated,
        steps=0 if state is None else state.steps,
        planned=None if steps is None else steps + _added(orders),
        verdict=_verdict(_numbers(state.verdict) if state is not None else {}),
        findings=findings,
    )


def _added(orders: Sequence[OrderRecord]) -> int:
    """Return the steps that orders have added to the horizon, without those that were undone."""
    added = [0]
    for order in orders:
        if order.state == "applied" and order.verb == "undo":
            added.pop()
        elif order.state == "applied" and order.verb != "stop":
            added.append(order.arguments["steps"] if order.verb == "extend" else 0)
    return sum(added)


def _verdict(values: dict[str, Any]) -> RateVerdict:
    if not values:
        return RateVerdict.unknown("Nothing was measured yet.")
    pairs = {name: None if values[name] is None else tuple(values[name]) for name in ("between", "chances")}
    return RateVerdict(**{**values, **pairs})


def _numbers(value: Any) -> Any:
    """Return plain values with the numbers that the recorder spelled as text."""
    if isinstance(value, dict):
        return {name: _numbers(one) for name, one in value.items()}
    return float(value) if isinstance(value, str) and value in _NOT_FINITE else value
