"""The one writer of a study: what it has added is in the store when the call returns."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, Engine, Table, delete, func, insert, select, union, update

from stepsize.checks import check_text
from stepsize.errors import InputError, StoreError
from stepsize.store.address import Address
from stepsize.store.failures import guarded
from stepsize.store.locks import FileLock, Lock, ServerLock
from stepsize.store.records import (
    Arrays,
    FindingRecord,
    OrderRecord,
    ProgressRecord,
    SignalsRecord,
    StudyRecord,
    WatchRecord,
)
from stepsize.store.tables import (
    FINDINGS,
    ORDERS,
    PROGRESS,
    RUNS,
    SIGNALS,
    STUDIES,
    TRIALS,
    WATCHES,
    as_json,
    record_of,
    row_of,
    run_row,
    trial_of,
    trial_row,
)
from stepsize.training.runs import Run, Trial

RUNNING = "running"
"""The status of a study from its first run until its writer says otherwise."""

_CHECKPOINT = 5.0  # seconds
_SHOWN = 5  # differences of two specifications
_ABSENT = object()


class Writer:
    """Adds to one study; made by :meth:`Store.begin`. A study has one writer at a time.

    Every call is one transaction: when it returns, what was added survives the end of the process, however it ends;
    when it raises, nothing was added. For one thread. A context manager, which lets others write at its end.

    Attributes:
        study: The study as it was when this writer began it.
    """

    def __init__(self, address: Address, connection: Connection, lock: Lock, study: StudyRecord, key: int) -> None:
        self.study = study
        self._address = address
        self._connection = connection
        self._lock = lock
        self._study = {"study": key}
        self._status = study.status
        self._trials = stored_trials(connection, key)
        keys = select(RUNS.c.trial, RUNS.c.share, RUNS.c.seed).where(RUNS.c.study == key)
        self._keys = {(trial, share, seed) for trial, share, seed in connection.execute(keys)}
        names = [column.name for column in RUNS.c if column.name != "id"]
        # Given to the driver as it is: otherwise most of the overhead of a short run would be this.
        driver = connection.connection.driver_connection
        self._raw = driver if isinstance(driver, sqlite3.Connection) else None
        self._add_run = insert(RUNS).compile(dialect=connection.dialect, column_keys=names)
        self._next_checkpoint = 0.0
        self._position: int | None = None  # of the last signals, once known: nobody else writes any
        self._closed = False

    @classmethod
    def begin(cls, address: Address, engine: Engine, name: str, kind: str, spec: Mapping[str, Any]) -> Self:
        """Lock the study, begin or reopen it, and return its writer; see :meth:`Store.begin`."""
        for argument, value in (("name", name), ("kind", kind)):
            check_text(argument, value)
        if not isinstance(spec, Mapping):
            raise InputError("spec", spec, "must be a mapping of names to plain values")
        wanted = json.loads(as_json("spec", dict(spec)))
        lock: Lock | None = None
        with guarded(address):
            connection = engine.connect().execution_options(writes=True)
            try:
                with connection.begin():
                    lock = FileLock(address, name) if address.path else ServerLock(connection, address, name)
                    study, key = _begun(connection, address, name, kind, wanted)
                    return cls(address, connection, lock, study, key)
            except BaseException:
                if isinstance(lock, FileLock):  # a server's lock ends with the connection
                    lock.release()
                connection.close()
                raise

    def add_trial(self, trial: Trial) -> None:
        """Add a trial before it has runs; adding it again does nothing.

        Raises:
            InputError: If there is a trial of that number with other values, or a value cannot be stored.
            StoreError: If the store cannot be written.
        """
        if self._is_new(trial):
            row = {**self._study, **trial_row(trial)}
            with self._transaction() as connection:
                connection.execute(insert(TRIALS), row)
            self._trials[trial.number] = trial

    def add_run(self, run: Run) -> None:
        """Add a run, with its trial.

        Args:
            run: What came out. Its losses are thinned to 2,000 points; its model is not stored.

        Raises:
            InputError: If the study has a run of that trial, share and seed, or a value cannot be stored.
            StoreError: If the store cannot be written.
        """
        self._is_new(run.trial)
        if run.key in self._keys:
            raise InputError("run", run.key, "must be new: its trial, share and seed are stored already")
        row = {**self._study, **run_row(run)}
        order = self._add_run.positiontup
        values = row if order is None else tuple(row[name] for name in order)
        if self._raw is not None and self._status == RUNNING:
            self._check()
            with guarded(self._address):  # one statement is one transaction, and a tenth of the time
                self._raw.execute(self._add_run.string, values)
            self._checkpoint()
        else:
            with self._transaction() as connection:
                connection.exec_driver_sql(self._add_run.string, values)
        self._trials[run.trial.number] = run.trial
        self._keys.add(run.key)

    def set_progress(self, progress: ProgressRecord) -> None:
        """Write the progress of the study, in place of what was written before."""
        row = row_of(progress)
        with self._transaction() as connection:
            self._put(connection, PROGRESS, row)

    def add_signals(
        self,
        state: WatchRecord,
        signals: tuple[str, Arrays] | None = None,
        findings: Sequence[FindingRecord] = (),
        *,
        withdrawn: Iterable[str] = (),
        instead: bool = False,
        status: str = RUNNING,
    ) -> None:
        """Write the state of a watched run, with its new signals and findings, all or nothing.

        Args:
            state: Replaces the state that was written before.
            signals: Kind and arrays of the new signals; None if there are none.
            findings: The new ones.
            withdrawn: Codes of findings that do not hold any more; they are removed.
            instead: Whether these signals replace all that were written before, which bounds the size of the store.
            status: Status of the study from here on.

        Raises:
            InputError: If a value cannot be stored.
            StoreError: If the store cannot be written.
        """
        head = row_of(state)
        rows = [{**self._study, **row_of(one)} for one in findings]
        packed = None if signals is None else row_of(SignalsRecord(0, *signals), "position")
        mine, gone = SIGNALS.c.study == self._study["study"], sorted(withdrawn)
        position = self._position
        with self._transaction(status) as connection:
            self._put(connection, WATCHES, head)
            if rows:
                connection.execute(insert(FINDINGS), rows)
            if gone:
                refuted = FINDINGS.c.code.in_(gone)
                connection.execute(delete(FINDINGS).where(FINDINGS.c.study == self._study["study"], refuted))
            if packed is not None:
                if position is None:
                    last = connection.scalar(select(func.max(SIGNALS.c.position)).where(mine))
                    position = -1 if last is None else last
                if instead:
                    connection.execute(delete(SIGNALS).where(mine))
                position += 1
                connection.execute(insert(SIGNALS), {**self._study, "position": position, **packed})
        self._position = position  # what is rolled back has taken none

    def orders(self, after: int = 0) -> tuple[OrderRecord, ...]:
        """Return the orders with a greater number, as :meth:`Store.orders`, without a connection of their own."""
        self._check()
        self._connection.execution_options(writes=False)  # reading waits for nobody
        try:
            with guarded(self._address), self._connection.begin():
                return stored_orders(self._connection, self._study["study"], after)
        finally:
            self._connection.execution_options(writes=True)

    def answer(self, orders: Sequence[OrderRecord]) -> None:
        """Write what became of orders to the run, in place of what the journal had of them."""
        rows = [row_of(one, "number") for one in orders]
        with self._transaction(self._status) as connection:
            for order, row in zip(orders, rows, strict=True):
                mine = ORDERS.c.study == self._study["study"], ORDERS.c.number == order.number
                connection.execute(update(ORDERS).where(*mine).values(row))

    def finish(self, status: str) -> None:
        """Set the status of the study, such as ``"done"``; adding to it sets it back to ``"running"``."""
        with self._transaction(status):
            pass

    def close(self) -> None:
        """Let others write the study; may be called twice."""
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

    def __exit__(self, *error: object) -> None:
        self.close()

    def _put(self, connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
        """Write the one row that a table has of the study."""
        changed = connection.execute(update(table).where(table.c.study == self._study["study"]).values(row))
        if not changed.rowcount:
            connection.execute(insert(table), {**self._study, **row})

    def _check(self) -> None:
        # A lost connection would be made anew automatically, but without the lock.
        if self._closed or self._connection.invalidated:
            why = "is closed" if self._closed else "is disconnected and no longer holds its lock"
            raise StoreError(f"the writer of study '{self.study.name}' of {self._address} {why}; begin it again")

    @contextmanager
    def _transaction(self, status: str = RUNNING) -> Iterator[Connection]:
        self._check()
        with guarded(self._address), self._connection.begin():
            if status != self._status:
                key = self._study["study"]
                self._connection.execute(update(STUDIES).where(STUDIES.c.id == key).values(status=status))
            yield self._connection
        self._status = status
        self._checkpoint()

    def _checkpoint(self) -> None:
        """Bring what the write-ahead log holds into the file itself now and then: some copy the file alone."""
        if self._raw is not None and time.monotonic() > self._next_checkpoint:
            with suppress(sqlite3.Error):  # it is all in the log, and that is what was promised
                self._raw.execute("PRAGMA wal_checkpoint(PASSIVE)").close()
            self._next_checkpoint = time.monotonic() + _CHECKPOINT

    def _is_new(self, trial: Trial) -> bool:
        """Return whether a trial is not stored; raises InputError if it is stored with other values."""
        known = self._trials.get(trial.number)
        if known is not None and (differs := differences(known.values, trial.values)):
            raise InputError("trial", trial.number, f"must have the values that are stored ({differs})")
        return known is None


def stored_orders(connection: Connection, study: int, after: int) -> tuple[OrderRecord, ...]:
    """Return the orders to a run with a greater number."""
    wanted = ORDERS.c.study == study, ORDERS.c.number > after
    rows = connection.execute(select(ORDERS).where(*wanted).order_by(ORDERS.c.number)).all()
    return tuple(record_of(OrderRecord, row) for row in rows)


def stored_trials(connection: Connection, study: int) -> dict[int, Trial]:
    """Return the trials of a study by number, also those without a run."""
    each = union(*(select(one.c.trial, one.c["values"]).where(one.c.study == study) for one in (RUNS, TRIALS)))
    return {row.trial: trial_of(row) for row in connection.execute(each.order_by("trial"))}


def _begun(
    connection: Connection, address: Address, name: str, kind: str, spec: dict[str, Any]
) -> tuple[StudyRecord, int]:
    """Return the study, made if it is new; raises InputError if it exists with another specification."""
    row = connection.execute(select(STUDIES).where(STUDIES.c.name == name)).first()
    if row is not None:
        known = record_of(StudyRecord, row)
        differs = differences({"kind": known.kind, "spec": known.spec}, {"kind": kind, "spec": spec})
        if differs:
            rule = f"is a study of {address} with another specification ({differs})"
            raise InputError("name", name, rule, "Give another name, or what the study was begun with")
        return known, row.id
    study = StudyRecord(name, kind, datetime.now(UTC), spec, RUNNING)
    key = connection.execute(insert(STUDIES), row_of(study)).inserted_primary_key
    assert key is not None  # one row was added
    return study, int(key[0])


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return in words how two mappings of plain values differ; empty if they are equal.

    Example:
        >>> differences({"lr": [0.001, 1.0], "seeds": 3}, {"lr": [0.001, 0.5], "trials": 9})
        'lr[1]: 1.0 there, 0.5 here; seeds: 3 there, absent here; trials: absent there, 9 here'
    """
    found = [f"{path}: {_shown(old)} there, {_shown(new)} here" for path, old, new in _unequal("", stored, given)]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _unequal(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            here = f"{path}.{name}" if path else str(name)
            yield from _unequal(here, old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _unequal(f"{path}[{at}]", left, right)
    elif isinstance(old, bool) != isinstance(new, bool) or old != new:
        yield path, old, new


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
