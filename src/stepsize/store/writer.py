"""The one writer of a study: what it has added is in the store when the call returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, CursorResult, Engine, delete, func, insert, select, update

from stepsize.errors import InputError, StoreError
from stepsize.store.address import Address
from stepsize.store.failures import guarded
from stepsize.store.locks import FileLock, Lock, ServerLock
from stepsize.store.packing import pack
from stepsize.store.parcels import pack_arrays
from stepsize.store.records import (
    Arrays,
    FindingRecord,
    StudyRecord,
    WatchRecord,
)
from stepsize.store.rows import (
    evaluation_columns,
    finding_columns,
    plain,
    run_columns,
    study_of,
    trials_of,
    watch_columns,
)
from stepsize.store.specs import differences
from stepsize.store.tables import CURVES, EVALUATIONS, FINDINGS, RUNS, SIGNALS, STUDIES, TRIALS, WATCHES
from stepsize.training.runs import Run, Trial

__all__ = ["LOSSES", "RUNNING", "Writer"]

LOSSES = "train_loss"
"""The kind of the curve that holds a run's training loss of each update."""

RUNNING = "running"
"""The status of a study from its first run until its writer says otherwise."""


class Writer:
    """Adds to one study; made by :meth:`Store.begin`, of which there is one a study at a time.

    Every call is one transaction: when it returns, what was added survives the end of the process, however it ends;
    when it raises, nothing was added. For one thread. A context manager, which lets others write at its end.

    Attributes:
        study: The study as it was when this writer began it.
    """

    def __init__(self, address: Address, connection: Connection, lock: Lock, study: StudyRecord, id: int) -> None:  # noqa: A002
        self.study = study
        self._address = address
        self._connection = connection
        self._lock = lock
        self._id = id
        self._status = study.status
        self._trials = {number: trial.values for number, trial in trials_of(connection, id).items()}
        keys = select(RUNS.c.trial, RUNS.c.share, RUNS.c.seed).where(RUNS.c.study == id)
        self._keys = {(trial, share, seed) for trial, share, seed in connection.execute(keys)}
        last = connection.scalar(select(func.max(RUNS.c.position)).where(RUNS.c.study == id))
        self._position = 0 if last is None else last + 1
        self._closed = False

    @classmethod
    def begin(cls, address: Address, engine: Engine, name: str, kind: str, spec: Mapping[str, Any]) -> Self:
        """Lock the study, begin or reopen it, and return its writer; see :meth:`Store.begin`."""
        for argument, value in (("name", name), ("kind", kind)):
            if not (isinstance(value, str) and 0 < len(value) <= 200 and value.isprintable()):
                raise InputError(argument, value, "must be printable text of 1 to 200 characters")
        wanted = plain("spec", spec)
        lock: Lock | None = None
        with guarded(address):
            connection = engine.connect().execution_options(writes=True)
            try:
                with connection.begin():
                    lock = FileLock(address, name) if address.path else ServerLock(connection, address, name)
                    id, study = _begun(connection, address, name, kind, wanted)  # noqa: A001
                    return cls(address, connection, lock, study, id)
            except BaseException:
                if isinstance(lock, FileLock):  # a server's lock ends with the connection
                    lock.release()
                connection.close()
                raise

    def add_trial(self, trial: Trial) -> None:
        """Add a trial before it has runs; the same one again does nothing.

        Raises:
            InputError: If there is a trial of that number with other values, or a value breaks a rule.
            StoreError: If it cannot be written.
        """
        values = self._new_values(trial)
        if values is None:
            return
        with self._transaction() as connection:
            connection.execute(_ADD_TRIAL, {"study": self._id, "number": trial.number, "values": values})
        self._trials[trial.number] = values

    def add_run(self, run: Run) -> Run:
        """Add a run with its losses and evaluations, and its trial where that is new, all or nothing.

        Args:
            run: What came out. Its losses are kept as the curve ``"train_loss"``, thinned to 2,000 points; its model
                is not kept.

        Returns:
            The run with its id.

        Raises:
            InputError: If a run of that trial, share and seed is there, or a value breaks a rule.
            StoreError: If it cannot be written.
        """
        values = self._new_values(run.trial)
        if run.key in self._keys:
            raise InputError("run", run.key, "must be new: its trial, share and seed are stored already")
        curve = pack(run.losses, None if run.counted else run.steps) if len(run.losses) else None
        row = run_columns(run, self._id, self._position)
        with self._transaction() as connection:
            if values is not None:
                connection.execute(_ADD_TRIAL, {"study": self._id, "number": run.trial.number, "values": values})
            number = _new_id(connection.execute(_ADD_RUN, row))
            if curve is not None:
                connection.execute(_ADD_CURVE, {"run": number, "kind": LOSSES, **curve})
            if run.evaluations:
                rows = [evaluation_columns(seen, number, at) for at, seen in enumerate(run.evaluations)]
                connection.execute(_ADD_EVALUATION, rows)
        if values is not None:
            self._trials[run.trial.number] = values
        self._keys.add(run.key)
        self._position += 1
        return dataclasses.replace(run, id=number)

    def add_finding(self, finding: FindingRecord) -> None:
        """Add a finding on the study or on one of its runs."""
        row = finding_columns(finding, self._id)
        with self._transaction() as connection:
            connection.execute(insert(FINDINGS), row)

    def add_signals(
        self,
        state: WatchRecord,
        signals: tuple[str, Arrays] | None = None,
        findings: Sequence[FindingRecord] = (),
        *,
        instead: bool = False,
        status: str = RUNNING,
    ) -> None:
        """Write down how far a watched training is, with its new signals and findings, all or nothing.

        Args:
            state: How far it is; it takes the place of what was written before.
            signals: Their kind, a word by which their maker knows them again, and the arrays; None where none are new.
            findings: The new ones.
            instead: Whether these signals take the place of all that were written before, which bounds the store.
            status: Of the study from here on.

        Raises:
            InputError: If a value breaks a rule.
            StoreError: If it cannot be written.
        """
        head = watch_columns(state)
        rows = [finding_columns(one, self._id) for one in findings]
        payload = None if signals is None else pack_arrays(signals[1])
        with self._transaction(status) as connection:
            told = connection.execute(update(WATCHES).where(WATCHES.c.study == self._id).values(head))
            if not told.rowcount:
                connection.execute(insert(WATCHES), {"study": self._id, **head})
            if rows:
                connection.execute(insert(FINDINGS), rows)
            if signals is not None:
                last = connection.scalar(select(func.max(SIGNALS.c.position)).where(SIGNALS.c.study == self._id))
                if instead:
                    connection.execute(delete(SIGNALS).where(SIGNALS.c.study == self._id))
                row = {"study": self._id, "position": 0 if last is None else last + 1, "kind": signals[0]}
                connection.execute(insert(SIGNALS), {**row, "payload": payload})

    def finish(self, status: str) -> None:
        """Say how the study stands, such as ``"done"`` or ``"interrupted"``; adding to it makes it running again."""
        with self._transaction(status):
            pass

    def close(self) -> None:
        """Let others write the study; doing so twice does no harm."""
        if self._closed:
            return
        self._closed = True
        try:
            with guarded(self._address):
                self._lock.release()
        finally:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _transaction(self, status: str = RUNNING) -> Iterator[Connection]:
        # A lost connection would be made anew by itself, but without the lock.
        if self._closed or self._connection.invalidated:
            why = "is closed" if self._closed else "lost its connection, and with it its lock"
            raise StoreError(f"the writer of study '{self.study.name}' of {self._address} {why}; begin it again")
        with guarded(self._address), self._connection.begin():
            if status != self._status:
                self._connection.execute(update(STUDIES).where(STUDIES.c.id == self._id).values(status=status))
            yield self._connection
        self._status = status

    def _new_values(self, trial: Trial) -> dict[str, Any] | None:
        """Return the values of a trial that is new, None of one that is known; checks that they are the same."""
        known = self._trials.get(trial.number)
        if known is not None and known == trial.values:
            return None
        values = plain("values", trial.values)
        if known is None:
            return values
        if differs := differences(known, values):
            raise InputError("trial", trial.number, f"is there with other values ({differs})")
        return None


_ADD_TRIAL = insert(TRIALS)
_ADD_RUN = insert(RUNS)
_ADD_CURVE = insert(CURVES)
_ADD_EVALUATION = insert(EVALUATIONS)


def _begun(
    connection: Connection, address: Address, name: str, kind: str, spec: dict[str, Any]
) -> tuple[int, StudyRecord]:
    """Return the study, made where it is new; raises InputError where it is there with another specification."""
    row = connection.execute(select(STUDIES).where(STUDIES.c.name == name)).first()
    if row is not None:
        differs = differences({"kind": row.kind, "spec": row.spec}, {"kind": kind, "spec": spec})
        if differs:
            rule = f"is a study of {address} with another specification ({differs})"
            raise InputError("name", name, rule, "Give another name, or what the study was begun with")
        return row.id, study_of(row)
    study = StudyRecord(name, kind, datetime.now(UTC), spec, RUNNING)
    made = connection.execute(
        insert(STUDIES), {**dataclasses.asdict(study), "created": study.created.isoformat(timespec="microseconds")}
    )
    return _new_id(made), study


def _new_id(made: CursorResult[Any]) -> int:
    key = made.inserted_primary_key
    assert key is not None  # each of these inserts adds one row
    return int(key[0])
