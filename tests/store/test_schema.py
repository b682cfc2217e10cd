"""Older tables are brought up in one transaction, newer ones are left alone."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from tests.store.examples import a_run

from stepsize.errors import StoreCorruptError, StoreError, StoreVersionError
from stepsize.store import FindingRecord, Store, WatchRecord, schema
from stepsize.store.address import as_address, engine_for
from stepsize.store.tables import TABLES

NOW = schema.MIGRATIONS
NEWEST = 1 + len(NOW)


@contextmanager
def by_hand(where: str) -> Iterator[Connection]:
    """Give a connection that writes beside the store."""
    engine = engine_for(as_address(where), wait=5, read_only=False)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def with_host(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE stepsize_runs ADD COLUMN host TEXT DEFAULT 'here'"))


def with_hosts(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE stepsize_hosts (name TEXT)"))
    connection.execute(text("INSERT INTO stepsize_hosts SELECT DISTINCT host FROM stepsize_runs"))


def broken(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE stepsize_half (name TEXT)"))
    connection.execute(text("INSERT INTO stepsize_nowhere VALUES (1)"))


def state(where: str) -> tuple[int | None, set[str], set[str]]:
    """Return the version, the tables and the columns of the runs."""
    with by_hand(where) as connection:
        seen = inspect(connection)
        columns = {column["name"] for column in seen.get_columns("stepsize_runs")}
        return schema.version_of(connection, as_address(where)), set(seen.get_table_names()), columns


def filled(where: str) -> None:
    with Store.open(where) as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())


def test_a_new_store_has_the_newest_tables_at_once(where: str) -> None:
    Store.open(where).close()

    version, tables, _ = state(where)
    assert version == 1 + len(schema.MIGRATIONS)
    assert tables == set(TABLES.tables)


def test_opening_a_store_again_changes_nothing(where: str) -> None:
    filled(where)
    before = state(where)

    Store.open(where).close()

    assert state(where) == before


def test_an_older_store_goes_through_every_migration(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    monkeypatch.setattr(schema, "MIGRATIONS", (*NOW, with_host, with_hosts))

    with Store.open(where) as store:
        assert len(store.runs("digits")) == 1

    version, tables, columns = state(where)
    assert version == NEWEST + 2
    assert "host" in columns
    assert "stepsize_hosts" in tables
    with by_hand(where) as connection:
        assert connection.scalars(text("SELECT name FROM stepsize_hosts")).all() == ["here"]


def test_a_store_in_between_goes_through_the_rest(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    for migrations in ((with_host,), (with_host, with_hosts)):
        monkeypatch.setattr(schema, "MIGRATIONS", (*NOW, *migrations))
        Store.open(where).close()

    assert state(where)[0] == NEWEST + 2


def test_a_migration_that_fails_leaves_the_store_as_it_was(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    before = state(where)
    monkeypatch.setattr(schema, "MIGRATIONS", (*NOW, with_host, broken))

    with pytest.raises(StoreError, match="stepsize_nowhere"):
        Store.open(where)

    assert state(where) == before


def test_a_newer_store_is_refused_and_left_alone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*NOW, with_host))
        Store.open(where).close()
    before = state(where)

    told = rf"written by a newer stepsize \(tables of version {NEWEST + 1}; this one knows up to {NEWEST}\); upgrade"
    with pytest.raises(StoreVersionError, match=told):
        Store.open(where)

    assert state(where) == before


@pytest.mark.parametrize("change", ["DELETE FROM stepsize_version", "UPDATE stepsize_version SET version = 0"])
def test_a_store_without_a_version_is_refused(where: str, change: str) -> None:
    filled(where)
    with by_hand(where) as connection:
        connection.execute(text(change))

    with pytest.raises(StoreCorruptError, match="does not say which version it has"):
        Store.open(where)


def test_many_may_make_a_store_at_once(where: str) -> None:
    errors: list[BaseException] = []
    together = threading.Barrier(4)

    def make() -> None:
        together.wait(10)
        try:
            Store.open(where).close()
        except (StoreError, DBAPIError) as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert errors == []
    assert state(where)[0] == NEWEST


def shape(where: str) -> dict[str, list[tuple[str, str, bool]]]:
    """Return name, type and whether it may be empty of each column of each table."""
    with by_hand(where) as connection:
        seen = inspect(connection)
        return {
            table: [(one["name"], str(one["type"]), one["nullable"]) for one in seen.get_columns(table)]
            for table in sorted(seen.get_table_names())
        }


def check_as_new(where: str, fresh: str) -> None:
    """Check that a store of version 1 that was brought up is like a new one, and holds what it held."""
    with Store.open(where) as store:
        [run] = store.runs("digits")
        assert store.findings("digits") == (FindingRecord("too-high", "warning", {"alpha": 0.5}, run.id),)
        assert run.losses.tolist() == [2.0, 1.0, 0.5]
        with store.begin("net", "watch", {}) as writer:
            writer.add_signals(WatchRecord(3, datetime.now(UTC)), ("points", {"loss": [np.arange(3), np.ones(3)]}))
        assert [one.kind for one in store.signals("net")] == ["points"]
    Store.open(fresh).close()
    assert shape(where) == shape(fresh)
    assert state(where)[0] == NEWEST


def test_a_store_of_version_1_is_brought_up_and_is_as_a_new_one(sqlite: str, tmp_path: Path) -> None:
    with closing(sqlite3.connect(sqlite)) as connection:  # as the last stepsize of version 1 wrote it
        connection.executescript(Path(__file__).with_name("version_1.sql").read_text())

    check_as_new(sqlite, str(tmp_path / "fresh.db"))


def test_a_server_of_version_1_is_brought_up_and_is_as_before(postgres: str) -> None:
    with Store.open(postgres) as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())
        writer.add_finding(FindingRecord("too-high", "warning", {"alpha": 0.5}))
    new = shape(postgres)
    with by_hand(postgres) as connection:  # PostgreSQL's tables of version 1 are those of today without these
        for change in ("TABLE stepsize_watches", "TABLE stepsize_signals"):
            connection.execute(text(f"DROP {change}"))
        connection.execute(text("ALTER TABLE stepsize_findings DROP COLUMN told"))
        connection.execute(text("UPDATE stepsize_version SET version = 1"))

    with Store.open(postgres) as store:
        assert [one.code for one in store.findings("digits")] == ["too-high"]
    assert shape(postgres) == new


def test_a_store_stands_beside_the_tables_of_others(where: str) -> None:
    with by_hand(where) as connection:
        connection.execute(text("CREATE TABLE trials (mine TEXT)"))

    filled(where)

    assert "trials" in state(where)[1]
