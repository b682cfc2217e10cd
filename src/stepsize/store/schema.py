"""The version of the tables, and how older ones are brought up to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, insert, inspect, select, text, update

from stepsize.errors import StoreCorruptError, StoreReadOnlyError, StoreVersionError
from stepsize.store.address import Address
from stepsize.store.tables import TABLES, VERSION

__all__ = ["MIGRATIONS", "Migration", "bring_up", "check", "version_of"]

Migration: TypeAlias = Callable[[Connection], None]


def _with_watches(connection: Connection) -> None:
    """Version 2: what watched trainings tell, and all that a finding says."""
    payload = "BYTEA" if connection.dialect.name == "postgresql" else "BLOB"
    study = "study INTEGER NOT NULL REFERENCES stepsize_studies (id)"
    connection.execute(text("ALTER TABLE stepsize_findings ADD COLUMN told JSON"))
    connection.execute(
        text(
            f"CREATE TABLE stepsize_watches ({study}, steps BIGINT NOT NULL, updated TEXT NOT NULL, "
            "verdict JSON NOT NULL, acts JSON NOT NULL, PRIMARY KEY (study))"
        )
    )
    connection.execute(
        text(
            f"CREATE TABLE stepsize_signals ({study}, position INTEGER NOT NULL, kind TEXT NOT NULL, "
            f"payload {payload} NOT NULL, PRIMARY KEY (study, position))"
        )
    )


MIGRATIONS: tuple[Migration, ...] = (_with_watches,)
"""The n-th (from 1) takes version n to n + 1; its SQL is its own, since ``tables.py`` holds the newest only."""

_KEY = 0x73746570  # of the advisory lock under which one at a time changes the tables


def bring_up(connection: Connection, address: Address, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Make the tables, or bring them to the newest version, within the transaction of ``connection``.

    An empty database gets the newest tables at once. An older one goes through every migration in between; if one
    fails, the transaction is rolled back, and the database is as it was.

    Raises:
        StoreVersionError: If a newer stepsize wrote them.
        StoreCorruptError: If the version cannot be read.
    """
    if address.path is None:  # SQLite has taken its write lock already
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _KEY})
    newest = 1 + len(migrations)
    version = version_of(connection, address)
    if version is None:
        TABLES.create_all(connection)
        connection.execute(insert(VERSION).values(version=newest))
        return
    _refuse_newer(address, version, newest)
    for migrate in migrations[version - 1 :]:
        migrate(connection)
    if version < newest:
        connection.execute(update(VERSION).values(version=newest))


def check(connection: Connection, address: Address, migrations: Sequence[Migration] = MIGRATIONS) -> bool:
    """Return whether the tables are there and of the newest version; of a database that may only be read, they must be.

    Raises:
        StoreVersionError: If a newer stepsize wrote them.
        StoreCorruptError: If the version cannot be read.
        StoreReadOnlyError: If they would have to be made or changed, and may not.
    """
    newest = 1 + len(migrations)
    version = version_of(connection, address)
    if version is not None:
        _refuse_newer(address, version, newest)
    if version != newest and address.read_only:
        what = "holds no studies" if version is None else f"has tables of version {version}, older than {newest}"
        raise StoreReadOnlyError(f"{address} {what}, and may not be written; make it writable, or copy it")
    return version == newest


def version_of(connection: Connection, address: Address) -> int | None:
    """Return the version of the tables; None where there are none.

    Raises:
        StoreCorruptError: If it cannot be read.
    """
    if not inspect(connection).has_table(VERSION.name):
        return None
    versions = connection.scalars(select(VERSION.c.version)).all()
    if len(versions) != 1 or not isinstance(versions[0], int) or versions[0] < 1:
        raise StoreCorruptError(f"{address} does not say which version it has; was its table {VERSION.name} changed?")
    return versions[0]


def _refuse_newer(address: Address, version: int, newest: int) -> None:
    if version > newest:
        raise StoreVersionError(
            f"{address} was written by a newer stepsize (tables of version {version}; this one knows up to {newest}); "
            "upgrade stepsize, or give another store"
        )
