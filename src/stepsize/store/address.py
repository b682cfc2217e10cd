"""The address of a store: an SQLite file or a PostgreSQL URL; shown without its password everywhere."""

from __future__ import annotations

import importlib
import os
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from stepsize.errors import InputError, MissingExtraError

_POSTGRES = "postgres", "postgresql", "postgresql+psycopg"
_MEANT = re.compile(r"(postgres(?:ql)?(?:\+\w+)?|sqlite|mysql)\s*(?::|//)", re.IGNORECASE)
_FORMS = "Give a path such as stepsize.db, or postgresql://user:password@host/database"
# A client whose machine loses power holds its lock no longer than a minute; the server's own default is two hours.
_KEEPALIVES = "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"


@dataclass(frozen=True)
class Address:
    """Where a store is: the URL for SQLAlchemy, with its password, and the file of SQLite, None for a server."""

    url: URL
    path: Path | None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path)
        user = f"{self.url.username}@" if self.url.username else ""
        port = f":{self.url.port}" if self.url.port else ""
        return f"postgresql://{user}{self.url.host or ''}{port}/{self.url.database or ''}"

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def hide(self, text: str) -> str:
        """Return ``text`` without the password, whoever wrote it."""
        for secret in (self.url.password, self.url.query.get("password")):
            if isinstance(secret, str) and secret:
                text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
        return text

    @property
    def read_only(self) -> bool:
        """Whether the file, or the folder in which SQLite keeps its log beside it, may not be written."""
        if self.path is None:
            return False
        wanted = [self.path, self.path.parent] if self.path.exists() else [self.path.parent]
        effective = os.access in os.supports_effective_ids
        return not all(os.access(place, os.W_OK, effective_ids=effective) for place in wanted)


def as_address(where: str | Path) -> Address:
    """Return the address of a path, or of a URL with ``sqlite`` or ``postgresql`` before ``://``.

    Example:
        >>> str(as_address("sqlite:///runs/all.db"))
        'runs/all.db'
        >>> str(as_address("postgresql://ann:secret@db.example.org/lab"))
        'postgresql://ann@db.example.org/lab'
    """
    text = str(where)
    if "\0" in text:
        raise InputError("where", text, "must not hold a null character", _FORMS)
    meant = _MEANT.match(text)
    if meant is not None and "://" not in text:  # a URL with a typing error: it is not shown, for its password
        raise InputError("where", f"{meant[1]}:…", "must be a database URL with '://'", _FORMS)
    if isinstance(where, Path) or "://" not in text:
        return _file(text)
    scheme = text.partition("://")[0]
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The URL itself is not shown, nor the error that quotes it: there may be a password in it.
        raise InputError("where", f"{scheme}://…", "must be a database URL that can be read", _FORMS) from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _file(url.database or ":memory:")
    if url.drivername not in _POSTGRES:
        raise InputError("where", f"{scheme}://…", "must be SQLite or PostgreSQL through psycopg 3", _FORMS)
    try:
        importlib.import_module("psycopg")
    except ImportError as error:  # also where it finds no libpq
        raise MissingExtraError("psycopg", "postgres") from error
    return Address(url.set(drivername="postgresql+psycopg"), None)


def engine_for(address: Address, *, wait: float, read_only: bool) -> Engine:
    """Return the engine of a store, which connects on first use and waits ``wait`` seconds for other writers.

    SQLite uses a write-ahead log with ``synchronous=NORMAL``. A commit is handed to the operating system before it
    returns, so a killed process loses nothing; a machine that loses power may lose the last commits, never the whole
    store, and the lost runs are trained again. Syncing each commit to the disk would cost more than a small run.
    """
    if address.path is None:
        given = address.url.query.get("options", "")
        options = f"{given} {_KEEPALIVES} -c lock_timeout={round(wait * 1000)}"
        server = {"application_name": "stepsize", "connect_timeout": max(2, round(wait)), "options": options}
        return create_engine(address.url, poolclass=NullPool, connect_args=server)
    file = address.path
    engine = create_engine(
        "sqlite://",
        creator=lambda: _connect(file, wait, read_only),
        poolclass=NullPool,  # nothing stays open between reads, and nothing is carried over a fork
    )
    event.listen(engine, "begin", _begin)
    return engine


def _connect(path: Path, wait: float, read_only: bool) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}{_reading(path) if read_only else ''}"
    # No isolation level: transactions begin in _begin, so that they hold changes of tables too.
    raw = sqlite3.connect(uri, uri=True, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.execute("PRAGMA synchronous = NORMAL")
        if not read_only:
            _log_ahead(raw, wait)
            raw.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB of log: a quarter of the syncs of the default
    except BaseException:
        raw.close()
        raise
    return raw


def _log_ahead(raw: sqlite3.Connection, wait: float) -> None:
    """Switch to the write-ahead log; SQLite itself does not wait here for others that make the same switch."""
    until = time.monotonic() + wait
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                raise
            time.sleep(0.02)
        else:
            return


def _reading(path: Path) -> str:
    """Return how to open a file that may not be written: with its log where there is one, else as unchanging."""
    log = path.with_name(f"{path.name}-wal")
    return "?mode=ro" if log.exists() and log.stat().st_size else "?mode=ro&immutable=1"


def _begin(connection: Connection) -> None:
    # A writer asks for its lock at once: one that reads first cannot wait for another to finish.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _file(text: str) -> Address:
    if not text or text == ":memory:" or text.startswith("file:"):
        raise InputError("where", text, "must be a file on disk: what is in memory ends with the process", _FORMS)
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InputError("where", text, "must not begin with the home of somebody who has none", _FORMS) from None
    return Address(URL.create("sqlite", database=str(path)), path)
