"""The store: opened by path or URL, read by anyone, written by one writer a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, distinct, func, select

from stepsize.errors import DataUnavailableError, InputError, StoreCorruptError, StoreReadOnlyError, UnknownStudyError
from stepsize.store import schema
from stepsize.store.address import Address, as_address, engine_for
from stepsize.store.failures import guarded, understood
from stepsize.store.locks import file_lock_held, server_lock_held
from stepsize.store.packing import unpack
from stepsize.store.parcels import unpack_arrays
from stepsize.store.records import Curve, FindingRecord, SignalsRecord, StudyRecord, Tally, WatchRecord
from stepsize.store.rows import evaluation_of, finding_of, run_of, study_of, trials_of, watch_of
from stepsize.store.tables import CURVES, EVALUATIONS, FINDINGS, RUNS, SIGNALS, STUDIES, WATCHES
from stepsize.store.writer import LOSSES, Writer
from stepsize.training.runs import Evaluation, Run, Trial

__all__ = ["Store"]


class Store:
    """Studies with their trials, runs, curves and findings, in SQLite or PostgreSQL.

    Anyone may read at any time; each study has one writer at a time, from :meth:`begin`. Made by :meth:`open`;
    a context manager.

    Attributes:
        address: Where it is; shown without its password.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from stepsize.training import Setting
        >>> with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "stepsize.db") as store:
        ...     with store.begin("digits", "sweep", {"lr": [1e-3, 1.0]}) as writer:
        ...         run = writer.add_run(Run(Setting(0.1, seed=0, steps=2), np.array([2.0, 0.5]), value=0.25))
        ...         writer.finish("done")
        ...     [run] = store.runs("digits")
        ...     run.lr, run.value, run.losses
        (0.1, 0.25, array([2. , 0.5]))
    """

    def __init__(self, address: Address, engine: Engine) -> None:
        self.address = address
        self._engine = engine

    @classmethod
    def open(cls, where: str | Path = "stepsize.db", *, create: bool = True, wait: float = 30.0) -> Self:
        """Open a store; an older one is brought to the version of this stepsize.

        Args:
            where: A path of an SQLite file, on a local disk; or a URL such as ``postgresql://user@host/database``.
            create: Whether an SQLite file that is not there is made.
            wait: How long to wait for others who write, in seconds.

        Returns:
            The store. A file that may not be written is opened for reading.

        Raises:
            InputError: If ``where`` is no such path or URL, or ``wait`` is negative.
            DataUnavailableError: If the file is not there and is not to be made, or its folder is not there.
            MissingExtraError: If it is PostgreSQL and psycopg is not installed.
            StoreError: If it cannot be reached, is locked, damaged, from a newer stepsize, or would have to be
                written and may not.
        """
        if not 0 <= wait < 1e6:
            raise InputError("wait", wait, "must be a number of seconds >= 0")
        address = as_address(where)
        _check_file(address, create)
        store = cls(address, engine_for(address, wait=wait, read_only=address.read_only))
        with store._reading() as connection:
            ready = schema.check(connection, address, schema.MIGRATIONS)
        if not ready:
            with store._writing() as connection:
                schema.bring_up(connection, address, schema.MIGRATIONS)
        return store

    @property
    def where(self) -> str:
        """The path or URL, without its password."""
        return str(self.address)

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    def study(self, name: str) -> StudyRecord | None:
        """Return the study of that name; None where there is none."""
        with self._reading() as connection:
            row = connection.execute(select(STUDIES).where(STUDIES.c.name == name)).first()
            return None if row is None else study_of(row)

    def studies(self) -> tuple[StudyRecord, ...]:
        """Return all studies, the oldest first."""
        with self._reading() as connection:
            rows = connection.execute(select(STUDIES).order_by(STUDIES.c.id)).all()
            return tuple(map(study_of, rows))

    def trials(self, name: str) -> tuple[Trial, ...]:
        """Return the trials of a study by number, also those without a run; raises UnknownStudyError."""
        with self._reading() as connection:
            return tuple(trials_of(connection, self._id(connection, name)).values())

    def tallies(self) -> dict[str, Tally]:
        """Return how many trials and runs each study with runs has, and their cost, by name."""
        counts = func.count(distinct(RUNS.c.trial)), func.count(), func.sum(RUNS.c.cost)
        query = select(RUNS.c.study, *counts).group_by(RUNS.c.study)  # along its index
        with self._reading() as connection:
            names = {row.id: row.name for row in connection.execute(select(STUDIES.c.id, STUDIES.c.name))}
            return {names[study]: Tally(*rest) for study, *rest in connection.execute(query)}

    def runs(self, name: str) -> tuple[Run, ...]:
        """Return the runs of a study in the order in which they were told; raises UnknownStudyError."""
        with self._reading() as connection:
            study = self._id(connection, name)
            trials = trials_of(connection, study)
            rows = connection.execute(select(RUNS).where(RUNS.c.study == study).order_by(RUNS.c.position)).all()
            curves = self._curves(connection, study)
            evaluations = _evaluations(connection, study)
            return tuple(run_of(row, trials, curves.get(row.id), evaluations.get(row.id, ())) for row in rows)

    def _curves(self, connection: Connection, study: int) -> dict[int, Curve]:
        query = select(CURVES).join(RUNS, RUNS.c.id == CURVES.c.run)
        query = query.where(RUNS.c.study == study, CURVES.c.kind == LOSSES)
        found: dict[int, Curve] = {}
        for row in connection.execute(query):
            try:
                found[row.run] = unpack({str(name): value for name, value in row._mapping.items()})
            except (AssertionError, LookupError, TypeError, ValueError) as error:
                raise StoreCorruptError(f"{self.where}: the {LOSSES} curve of run {row.run} is damaged") from error
        return found

    def findings(self, name: str) -> tuple[FindingRecord, ...]:
        """Return the findings of a study in the order of their adding; raises UnknownStudyError."""
        with self._reading() as connection:
            query = select(FINDINGS).where(FINDINGS.c.study == self._id(connection, name)).order_by(FINDINGS.c.id)
            rows = connection.execute(query).all()
            return tuple(map(finding_of, rows))

    def watched(self, name: str) -> WatchRecord | None:
        """Return how far a watched training is; None where nothing was written yet. Raises UnknownStudyError."""
        with self._reading() as connection:
            query = select(WATCHES).where(WATCHES.c.study == self._id(connection, name))
            row = connection.execute(query).first()
            return None if row is None else watch_of(row)

    def signals(self, name: str, after: int = -1) -> tuple[SignalsRecord, ...]:
        """Return the signals of a watched training in the order of writing; raises UnknownStudyError.

        Args:
            name: Of the study.
            after: Only those at later positions.
        """
        with self._reading() as connection:
            wanted = SIGNALS.c.study == self._id(connection, name), SIGNALS.c.position > after
            rows = connection.execute(select(SIGNALS).where(*wanted).order_by(SIGNALS.c.position)).all()
        try:
            return tuple(SignalsRecord(row.position, row.kind, unpack_arrays(row.payload)) for row in rows)
        except (AssertionError, TypeError, ValueError) as error:
            raise StoreCorruptError(f"{self.where}: the signals of study '{name}' are damaged") from error

    def being_written(self, name: str) -> bool:
        """Return whether a writer of the study is at work, here or in another process.

        A writer that was killed is none, from the same moment on; a server may take a while to notice.
        """
        if self.address.path is not None:
            return file_lock_held(self.address, name)
        with self._reading() as connection:
            return server_lock_held(connection, name)

    def begin(self, name: str, kind: str, spec: Mapping[str, Any]) -> Writer:
        """Begin a study or reopen it, and be its one writer until the writer is closed or the process ends.

        Args:
            name: Of the study, printable, at most 200 characters.
            kind: What makes it, such as ``"sweep"``.
            spec: What it is asked for, as plain values for JSON.

        Returns:
            The writer; a context manager.

        Raises:
            InputError: If a value breaks these rules, or the study is there with another kind or specification.
            StoreLockedError: If somebody else writes it.
            StoreReadOnlyError: If the store may not be written.
        """
        if self.address.read_only:
            raise StoreReadOnlyError(f"{self.where} may not be written; give a store where you may write")
        return Writer.begin(self.address, self._engine, name, kind, spec)

    def close(self) -> None:
        """Give back what is open; writers close on their own."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
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


def _evaluations(connection: Connection, study: int) -> dict[int, list[Evaluation]]:
    """Return the evaluations of the runs of a study by the id of the run, in their order."""
    query = select(EVALUATIONS).join(RUNS, RUNS.c.id == EVALUATIONS.c.run).where(RUNS.c.study == study)
    found: dict[int, list[Evaluation]] = {}
    for row in connection.execute(query.order_by(EVALUATIONS.c.run, EVALUATIONS.c.position)):
        found.setdefault(row.run, []).append(evaluation_of(row))
    return found


def _check_file(address: Address, create: bool) -> None:
    path = address.path
    if path is None:
        return
    if path.exists():  # asked first: a file may appear between two looks, but it does not go away
        if not path.is_file():
            raise InputError("where", str(path), "must be a file of SQLite, or not there yet")
        return
    if not path.parent.is_dir():
        raise DataUnavailableError(
            f"no folder at {path.parent} for the store {path.name}; make it, or give another path"
        )
    if not create:
        raise DataUnavailableError(f"no store at {path}; give the path of one, or begin a study there")
    if address.read_only:
        raise StoreReadOnlyError(f"{path} cannot be made: its folder may not be written; give one where you may write")
