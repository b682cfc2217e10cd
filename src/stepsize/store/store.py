"""The store: opened by path or URL, read by anyone, written by one writer per study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, PoolProxiedConnection, distinct, func, insert, inspect, select, text

from stepsize.checks import check_text
from stepsize.errors import (
    DataUnavailableError,
    InputError,
    StoreCorruptError,
    StoreReadOnlyError,
    StoreVersionError,
    UnknownStudyError,
)
from stepsize.store.address import Address, as_address, engine_for
from stepsize.store.failures import guarded, understood
from stepsize.store.locks import file_lock_held, server_lock_held
from stepsize.store.orders import MOST_WAITING, check_order
from stepsize.store.records import (
    FindingRecord,
    OrderRecord,
    ProgressRecord,
    SignalsRecord,
    StudyRecord,
    Tally,
    WatchRecord,
)
from stepsize.store.tables import (
    FINDINGS,
    ORDERS,
    PROGRESS,
    RUNS,
    SIGNALS,
    STUDIES,
    TABLES,
    VERSION,
    VERSIONS,
    WATCHES,
    record_of,
    row_of,
    run_of,
)
from stepsize.store.writer import RUNNING, Writer, stored_orders, stored_trials
from stepsize.training.runs import Run, Trial

_KEY = 0x73746570  # of the advisory lock under which one at a time makes the tables


class Store:
    """Studies with their trials, runs and findings, in SQLite or PostgreSQL.

    It can be read at any time; each study has one writer at a time, from :meth:`begin`. Made by :meth:`open`;
    a context manager.

    Attributes:
        address: Its path or URL, shown without the password.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from stepsize.training import Setting
        >>> with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "stepsize.db") as store:
        ...     with store.begin("digits", "sweep", {"lr": [1e-3, 1.0]}) as writer:
        ...         writer.add_run(Run(Setting(0.1, seed=0, steps=2), np.array([2.0, 0.5]), value=0.25))
        ...         writer.finish("done")
        ...     [run] = store.runs("digits")
        ...     run.lr, run.value, run.losses
        (0.1, 0.25, array([2. , 0.5]))
    """

    def __init__(self, address: Address, engine: Engine) -> None:
        self.address = address
        self._engine = engine
        self._asked: PoolProxiedConnection | None = None  # which is asked for the version of the file

    @classmethod
    def open(cls, where: str | Path = "stepsize.db", *, create: bool = True, wait: float = 30.0) -> Self:
        """Open a store.

        Args:
            where: Path of an SQLite file on a local disk, or a URL such as ``postgresql://user@host/database``.
            create: Whether to create an SQLite file that does not exist.
            wait: Seconds to wait for other writers.

        Returns:
            The store. A file that cannot be written is opened for reading.

        Raises:
            InputError: If ``where`` is neither a path nor such a URL, or ``wait`` is negative.
            DataUnavailableError: If the file does not exist and is not to be created, or its folder does not exist.
            MissingExtraError: If it is PostgreSQL and psycopg is not installed.
            StoreError: If it is unreachable, locked, damaged, or written by another version of stepsize.
        """
        if not 0 <= wait < 1e6:
            raise InputError("wait", wait, "must be a number of seconds >= 0")
        address = as_address(where)
        _check_file(address, create)
        store = cls(address, engine_for(address, wait=wait, read_only=address.read_only))
        with store._reading() as connection:
            ready = _has_tables(connection, address)
        if not ready:
            with store._writing() as connection:
                _make_tables(connection, address)
        return store

    @property
    def where(self) -> str:
        """The path or URL, without its password."""
        return str(self.address)

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    def study(self, name: str) -> StudyRecord | None:
        """Return the study of that name; None if there is none."""
        with self._reading() as connection:
            row = connection.execute(select(STUDIES).where(STUDIES.c.name == name)).first()
            return None if row is None else record_of(StudyRecord, row)

    def known(self, name: str) -> StudyRecord:
        """Return the study of that name; raises UnknownStudyError if there is none."""
        with self._reading() as connection:
            return record_of(
                StudyRecord, connection.execute(select(STUDIES).where(STUDIES.c.id == self._id(connection, name))).one()
            )

    def studies(self) -> tuple[StudyRecord, ...]:
        """Return all studies, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(select(STUDIES).order_by(STUDIES.c.id)).all()
            return tuple(record_of(StudyRecord, row) for row in rows)

    def trials(self, name: str) -> tuple[Trial, ...]:
        """Return the trials of a study by number, also those without a run; raises UnknownStudyError."""
        with self._reading() as connection:
            return tuple(stored_trials(connection, self._id(connection, name)).values())

    def tallies(self) -> dict[str, Tally]:
        """Return the number of trials and runs of each study with runs, and their cost, by name."""
        counts = func.count(distinct(RUNS.c.trial)), func.count(), func.sum(RUNS.c.cost)
        query = select(RUNS.c.study, *counts).group_by(RUNS.c.study)  # along its index
        with self._reading() as connection:
            names = {row.id: row.name for row in connection.execute(select(STUDIES.c.id, STUDIES.c.name))}
            return {names[study]: Tally(*rest) for study, *rest in connection.execute(query)}

    def progress(self) -> dict[str, ProgressRecord]:
        """Return the last progress of each search and sweep, by name."""
        query = select(STUDIES.c.name, PROGRESS).join(PROGRESS, PROGRESS.c.study == STUDIES.c.id)
        with self._reading() as connection:
            return {row.name: record_of(ProgressRecord, row) for row in connection.execute(query)}

    def runs(self, name: str, *, curves: bool = True) -> tuple[Run, ...]:
        """Return the runs of a study in the order in which they were added; raises UnknownStudyError.

        Args:
            name: Name of the study.
            curves: Whether to read their training losses, too; they take about 40% of the time.
        """
        columns = [one for one in RUNS.c if curves or one is not RUNS.c.losses]
        with self._reading() as connection:
            query = select(*columns).where(RUNS.c.study == self._id(connection, name)).order_by(RUNS.c.id)
            return tuple(map(run_of, connection.execute(query).all()))

    def findings(self, name: str) -> tuple[FindingRecord, ...]:
        """Return the findings of a study in the order in which they were added; raises UnknownStudyError."""
        with self._reading() as connection:
            query = select(FINDINGS).where(FINDINGS.c.study == self._id(connection, name)).order_by(FINDINGS.c.id)
            return tuple(record_of(FindingRecord, row) for row in connection.execute(query))

    def watched(self, name: str) -> WatchRecord | None:
        """Return the state of a watched run; None before the first write. Raises UnknownStudyError."""
        with self._reading() as connection:
            query = select(WATCHES).where(WATCHES.c.study == self._id(connection, name))
            row = connection.execute(query).first()
            return None if row is None else record_of(WatchRecord, row)

    def watches(self) -> dict[str, tuple[WatchRecord, int]]:
        """Return the state of each watched run and the number of its findings, by name."""
        query = (
            select(STUDIES.c.name, WATCHES, func.count(FINDINGS.c.id).label("found"))
            .join(WATCHES, WATCHES.c.study == STUDIES.c.id)
            .outerjoin(FINDINGS, FINDINGS.c.study == STUDIES.c.id)
            .group_by(STUDIES.c.name, *WATCHES.c)
        )
        with self._reading() as connection:
            return {row.name: (record_of(WatchRecord, row), row.found) for row in connection.execute(query)}

    def signals(self, name: str, after: int = -1) -> tuple[SignalsRecord, ...]:
        """Return the signals of a watched run in the order of writing; raises UnknownStudyError.

        Args:
            name: Name of the study.
            after: Only those at later positions.
        """
        with self._reading() as connection:
            wanted = SIGNALS.c.study == self._id(connection, name), SIGNALS.c.position > after
            rows = connection.execute(select(SIGNALS).where(*wanted).order_by(SIGNALS.c.position)).all()
            return tuple(record_of(SignalsRecord, row) for row in rows)

    def send(self, name: str, verb: str, arguments: Mapping[str, Any] | None = None, who: str = "code") -> int:
        """Send an order to a running training, which applies it before one of its next updates.

        Args:
            name: Name of the run, started with ``watch(..., control=True)``.
            verb: ``"scale"`` multiplies the learning rate by ``factor`` (of one ``group``, by its name or number, or
                of all); beyond a factor of 10 at once it needs ``confirmed=True``. ``"hold"`` keeps the present rate,
                ``"resume"`` continues along the schedule, ``"cooldown"`` decreases the rate to zero over ``steps`` and
                then stops, ``"extend"`` adds ``steps`` to the horizon, ``"undo"`` restores the state before the last
                change, ``"snapshot"`` saves a state for it, ``"stop"`` stops.
            arguments: Arguments of the verb.
            who: Who sends it, for the journal.

        Returns:
            Number of the order; :meth:`orders` has what became of it.

        Raises:
            InputError: If the verb is not known, an argument breaks its rule, or the run takes no orders; then nothing
                is sent.
            UnknownStudyError: If there is no run of that name.
            StoreError: If the store cannot be written.
        """
        given = check_order(verb, {} if arguments is None else arguments)
        check_text("who", who)
        state = self.watched(name)  # which raises if there is no such run
        if state is None or not state.control:
            raise InputError("name", name, "must be a run that was started with control=True")
        if self.address.read_only:
            raise StoreReadOnlyError(f"{self.where} may not be written; give a store where you may write")
        written = self.being_written(name)
        with self._writing() as connection:  # two senders at once get numbers one after the other
            query = select(STUDIES.c.id, STUDIES.c.status).where(STUDIES.c.name == name).with_for_update()
            study, status = connection.execute(query).one()
            if not written or status != RUNNING:
                raise InputError("name", name, "must be a run that is still running; this one has ended")
            last = connection.scalar(select(func.max(ORDERS.c.number)).where(ORDERS.c.study == study)) or 0
            waiting = ORDERS.c.study == study, ORDERS.c.state == "sent"
            if (connection.scalar(select(func.count()).select_from(ORDERS).where(*waiting)) or 0) >= MOST_WAITING:
                raise InputError(
                    "name", name, f"must have answered some of the {MOST_WAITING} orders that wait", "Wait"
                )
            order = OrderRecord(last + 1, verb, given, who, datetime.now(UTC))
            connection.execute(insert(ORDERS), {"study": study, **row_of(order)})
        return order.number

    def orders(self, name: str, after: int = 0) -> tuple[OrderRecord, ...]:
        """Return the orders to a run, in the order of sending; raises UnknownStudyError.

        Args:
            name: Name of the run.
            after: Only those with a greater number.
        """
        with self._reading() as connection:
            return stored_orders(connection, self._id(connection, name), after)

    def being_written(self, name: str) -> bool:
        """Return whether a writer of the study is at work, here or in another process.

        A writer that was killed no longer counts; a server may take a while to notice.
        """
        if self.address.path is not None:
            return file_lock_held(self.address, name)
        with self._reading() as connection:
            return server_lock_held(connection, name)

    def status(self, study: StudyRecord) -> str:
        """Return the status of a study; ``"interrupted"`` if it says that it runs and nobody writes it."""
        if study.status != RUNNING or self.being_written(study.name):
            return study.status
        again = self.study(study.name)  # a writer says that it ends, then lets go
        return "interrupted" if again is None or again.status == RUNNING else again.status

    def statuses(self) -> dict[str, str]:
        """Return the status of every study, as :meth:`status` does."""
        studies = self.studies()
        free = {one.name for one in studies if one.status == RUNNING and not self.being_written(one.name)}
        again = self.studies() if free else studies
        killed = {one.name for one in again if one.name in free and one.status == RUNNING}
        return {one.name: "interrupted" if one.name in killed else one.status for one in again}

    def begin(self, name: str, kind: str, spec: Mapping[str, Any]) -> Writer:
        """Begin a study or reopen it, and be its only writer until the writer is closed or the process ends.

        Args:
            name: Name of the study, printable, at most 200 characters.
            kind: What makes it, such as ``"sweep"``.
            spec: What it is asked for, as plain values for JSON.

        Returns:
            The writer; a context manager.

        Raises:
            InputError: If a value breaks these rules, or the study exists with another kind or specification.
            StoreLockedError: If another writer has the study.
            StoreReadOnlyError: If the store cannot be written.
        """
        if self.address.read_only:
            raise StoreReadOnlyError(f"{self.where} may not be written; give a store where you may write")
        return Writer.begin(self.address, self._engine, name, kind, spec)

    def data_version(self) -> int | None:
        """Return a number that changes when a connection has written the SQLite file; None for a server.

        Not for several threads at the same time.
        """
        if self.address.path is None:
            return None
        with guarded(self.address):
            if self._asked is None:
                self._asked = self._engine.raw_connection()
            cursor = self._asked.cursor()
            try:
                return int(cursor.execute("PRAGMA data_version").fetchone()[0])
            finally:
                cursor.close()

    def close(self) -> None:
        """Close the connections; writers close on their own."""
        if self._asked is not None:
            self._asked.close()
            self._asked = None
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with guarded(self.address), understood(self.address), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with guarded(self.address), self._engine.connect() as connection:
            connection.execution_options(writes=True)
            with connection.begin():
                yield connection

    def _id(self, connection: Connection, name: str) -> int:
        found = connection.scalar(select(STUDIES.c.id).where(STUDIES.c.name == name))
        if found is None:
            raise UnknownStudyError(name, self.where, connection.scalars(select(STUDIES.c.name)))
        return int(found)


def _check_file(address: Address, create: bool) -> None:
    path = address.path
    if path is None:
        return
    if path.exists():  # checked first: a file may appear between two checks, but it does not disappear
        if not path.is_file():
            raise InputError("where", str(path), "must be an SQLite file, or a path where none exists yet")
        return
    if not path.parent.is_dir():
        raise DataUnavailableError(
            f"no folder at {path.parent} for the store {path.name}; make it, or give another path"
        )
    if not create:
        raise DataUnavailableError(f"no store at {path}; give the path of one, or begin a study there")
    if address.read_only:
        raise StoreReadOnlyError(f"{path} cannot be made: its folder may not be written; give one where you may write")


def _has_tables(connection: Connection, address: Address) -> bool:
    """Return whether the tables exist; raises StoreError if they are of another version, or cannot be made."""
    if not inspect(connection).has_table(VERSIONS.name):
        if address.read_only:
            raise StoreReadOnlyError(f"{address} holds no studies, and may not be written; make it writable")
        return False
    versions = connection.scalars(select(VERSIONS.c.version)).all()
    if len(versions) != 1 or not isinstance(versions[0], int) or versions[0] < 1:
        raise StoreCorruptError(f"{address} does not say which version it has; was its table {VERSIONS.name} changed?")
    if versions[0] > VERSION:
        raise StoreVersionError(
            f"{address} was written by a newer stepsize (tables of version {versions[0]}; this one knows {VERSION}); "
            "upgrade stepsize, or give another store"
        )
    if versions[0] < VERSION:
        raise StoreVersionError(
            f"{address} was written by an older stepsize (tables of version {versions[0]}; this one knows {VERSION}); "
            "read it with stepsize 0.1, or give another store"
        )
    return True


def _make_tables(connection: Connection, address: Address) -> None:
    """Make the tables within the transaction of ``connection``, unless another process just made them."""
    if address.path is None:  # SQLite has taken its write lock already
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KEY})
    if not _has_tables(connection, address):
        TABLES.create_all(connection, checkfirst=False)
        connection.execute(insert(VERSIONS).values(version=VERSION))
