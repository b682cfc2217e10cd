"""Older tables are brought up in one transaction, newer ones are left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from tests.store.examples import a_run

from stepsize.errors import StoreCorruptError, StoreError, StoreVersionError
from stepsize.store import Store, schema
from stepsize.store.address import as_address, engine_for
from stepsize.store.tables import TABLES


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
    monkeypatch.setattr(schema, "MIGRATIONS", (with_host, with_hosts))

    with Store.open(where) as store:
        assert len(store.runs("digits")) == 1

    version, tables, columns = state(where)
    assert version == 3
    assert "host" in columns
    assert "stepsize_hosts" in tables
    with by_hand(where) as connection:
        assert connection.scalars(text("SELECT name FROM stepsize_hosts")).all() == ["here"]


def test_a_store_in_between_goes_through_the_rest(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    for migrations in ((with_host,), (with_host, with_hosts)):
        monkeypatch.setattr(schema, "MIGRATIONS", migrations)
        Store.open(where).close()

    assert state(where)[0] == 3


def test_a_migration_that_fails_leaves_the_store_as_it_was(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    before = state(where)
    monkeypatch.setattr(schema, "MIGRATIONS", (with_host, broken))

    with pytest.raises(StoreError, match="stepsize_nowhere"):
        Store.open(where)

    assert state(where) == before


def test_a_newer_store_is_refused_and_left_alone(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(where)
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (with_host,))
        Store.open(where).close()
    before = state(where)

    with pytest.raises(
        StoreVersionError, match=r"written by a newer stepsize \(tables of version 2; this one knows up to 1\); upgrade"
    ):
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
    assert state(where)[0] == 1


def test_a_store_stands_beside_the_tables_of_others(where: str) -> None:
    with by_hand(where) as connection:
        connection.execute(text("CREATE TABLE trials (mine TEXT)"))

    filled(where)

    assert "trials" in state(where)[1]
