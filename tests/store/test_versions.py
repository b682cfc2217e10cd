"""A new store has its tables at once; tables of another version are refused and left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError
from tests.store.examples import a_run

from stepsize.errors import StoreCorruptError, StoreError, StoreVersionError
from stepsize.store import Store
from stepsize.store.address import as_address, engine_for
from stepsize.store.tables import TABLES, VERSION


@contextmanager
def by_hand(where: str) -> Iterator[Connection]:
    """Give a connection that writes beside the store."""
    engine = engine_for(as_address(where), wait=5, read_only=False)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def state(where: str) -> tuple[int | None, set[str], int | None]:
    """Return the version, the tables and the number of runs."""
    with by_hand(where) as connection:
        tables = set(inspect(connection).get_table_names())
        version = connection.scalar(text("SELECT version FROM stepsize_version"))
        return version, tables, connection.scalar(text("SELECT count(*) FROM stepsize_runs"))


def filled(where: str) -> None:
    with Store.open(where) as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run())


def test_a_new_store_has_its_tables_at_once(where: str) -> None:
    Store.open(where).close()

    assert state(where) == (VERSION, set(TABLES.tables), 0)


def test_opening_a_store_again_changes_nothing(where: str) -> None:
    filled(where)
    before = state(where)

    Store.open(where).close()

    assert state(where) == before


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (VERSION - 1, r"written by an older stepsize \(.*\); read it with stepsize 0.1"),
        (VERSION + 1, rf"written by a newer stepsize \(tables of version {VERSION + 1}; this .* {VERSION}\); upgrade"),
    ],
)
def test_a_store_of_another_version_is_refused_and_left_alone(where: str, version: int, message: str) -> None:
    filled(where)
    with by_hand(where) as connection:
        connection.execute(text(f"UPDATE stepsize_version SET version = {version}"))
    before = state(where)

    with pytest.raises(StoreVersionError, match=message):
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
    assert state(where)[0] == VERSION


def test_a_store_stands_beside_the_tables_of_others(where: str) -> None:
    with by_hand(where) as connection:
        connection.execute(text("CREATE TABLE trials (mine TEXT)"))

    filled(where)

    assert "trials" in state(where)[1]
