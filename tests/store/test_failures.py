"""What goes wrong with a store is said in its words, nothing is lost, and no password is shown."""

from __future__ import annotations

import random
import sqlite3
import sys
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from tests.store.examples import a_run

from stepsize.errors import (
    DataUnavailableError,
    InputError,
    MissingExtraError,
    StepsizeError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreReadOnlyError,
)
from stepsize.store import Store
from stepsize.store.address import as_address

SECRET = "hunter2/@:x"
QUOTED = "hunter2%2F%40%3Ax"


def filled(where: Path | str, runs: int = 40) -> bytes:
    """Make a store with runs, and return the bytes of its file."""
    with Store.open(where) as store, store.begin("digits", "sweep", {}) as writer:
        for number in range(runs):
            writer.add_run(a_run(number, losses=[0.1] * 200))
    return Path(where).read_bytes()


def read_all(where: str) -> None:
    """Read every run and its curve."""
    with Store.open(where) as store:
        store.runs("digits")


def raised(where: str) -> StepsizeError:
    """Return what opening a store and beginning a study raises."""
    try:
        with Store.open(where, wait=1) as store:
            store.begin("digits", "sweep", {}).close()
    except StepsizeError as error:
        return error
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("damage", ["garbage", "text", "head", "half", "last page"])
def test_a_damaged_file_is_refused_and_left_as_it_is(sqlite: str, damage: str) -> None:
    whole = filled(sqlite)
    content = {
        "garbage": random.Random(0).randbytes(5_000),
        "text": b"lr,loss\n0.1,0.5\n",
        "head": whole[:60],
        "half": whole[: len(whole) // 2],
        "last page": whole[:-4096],
    }[damage]
    Path(sqlite).write_bytes(content)

    with pytest.raises(StoreCorruptError, match=r"stepsize.db is damaged or no SQLite database, and was left as it is"):
        Store.open(sqlite)

    assert Path(sqlite).read_bytes() == content
    assert [file.name for file in Path(sqlite).parent.iterdir()] == ["stepsize.db"]


def test_damage_within_a_file_is_an_error_where_it_is_read(sqlite: str) -> None:
    whole = filled(sqlite, runs=800)
    Path(sqlite).write_bytes(whole[: 20 * 4096] + b"\xff" * 20 * 4096 + whole[40 * 4096 :])

    with pytest.raises(StoreCorruptError, match="is damaged"):
        read_all(sqlite)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE stepsize_runs SET losses = x'00'", "is damaged"),
        ("UPDATE stepsize_runs SET evaluations = '[1]'", "holds a value that stepsize did not write"),
        ("UPDATE stepsize_runs SET setting = '{'", "is damaged"),
    ],
)
def test_a_row_that_makes_no_sense_is_damage(sqlite: str, change: str, message: str) -> None:
    filled(sqlite, runs=1)
    with closing(sqlite3.connect(sqlite)) as connection, connection:
        connection.execute(change)

    with pytest.raises(StoreCorruptError, match=message):
        read_all(sqlite)


def test_a_file_that_others_write_is_locked_for_us(sqlite: str) -> None:
    filled(sqlite, runs=1)
    with (
        closing(sqlite3.connect(sqlite, isolation_level=None)) as other,
        Store.open(sqlite, wait=0.05) as store,
        store.begin("digits", "sweep", {}) as writer,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLockedError, match=r"stepsize.db is locked by another program that writes to it"):
            writer.add_run(a_run(1))
        assert len(store.runs("digits")) == 1  # reading goes on
        other.execute("ROLLBACK")
        writer.add_run(a_run(1))

        assert len(store.runs("digits")) == 2


def test_a_table_that_others_lock_is_locked_for_us(postgres: str) -> None:
    engine = create_engine(make_url(postgres).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with Store.open(postgres, wait=0.05) as store, store.begin("digits", "sweep", {}) as writer:
        with engine.connect() as other:
            other.execute(text("LOCK TABLE stepsize_runs IN ACCESS EXCLUSIVE MODE"))
            with pytest.raises(StoreLockedError, match="is locked by another program"):
                writer.add_run(a_run(0))
        writer.add_run(a_run(0))

        assert len(store.runs("digits")) == 1


def test_a_file_that_may_not_be_written_is_read_and_not_written(without_power: Path) -> None:
    file = without_power / "stepsize.db"
    whole = filled(file, runs=2)
    file.chmod(0o444)
    without_power.chmod(0o555)

    with Store.open(file) as store:
        assert len(store.runs("digits")) == 2
        with pytest.raises(
            StoreReadOnlyError, match=r"stepsize.db may not be written; give a store where you may write"
        ):
            store.begin("digits", "sweep", {})

    assert file.read_bytes() == whole
    assert list(without_power.iterdir()) == [file]


def test_a_folder_that_may_not_be_written_takes_no_new_store(without_power: Path) -> None:
    without_power.chmod(0o555)

    with pytest.raises(StoreReadOnlyError, match=r"stepsize.db cannot be made: its folder may not be written"):
        Store.open(without_power / "stepsize.db")


def test_tables_that_would_have_to_be_made_where_nothing_may_be_written_are_an_error(without_power: Path) -> None:
    file = without_power / "stepsize.db"
    filled(file, runs=2)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DELETE FROM stepsize_version")
        connection.execute("DROP TABLE stepsize_version")
        connection.commit()
    file.chmod(0o444)

    with pytest.raises(StoreReadOnlyError, match="holds no studies, and may not be written"):
        Store.open(file)


def test_a_server_that_lets_us_only_read_says_so(postgres: str) -> None:
    Store.open(postgres).close()

    with (
        Store.open(f"{postgres}?options=-c%20default_transaction_read_only%3Don") as store,
        pytest.raises(StoreReadOnlyError, match=r"postgresql://.* may not be written"),
    ):
        store.begin("digits", "sweep", {})


def test_a_server_that_goes_away_is_an_error_and_the_study_goes_on_later(postgres: str) -> None:
    engine = create_engine(
        make_url(postgres).set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    with Store.open(postgres) as store:
        with store.begin("digits", "sweep", {}) as writer:
            writer.add_run(a_run(0))
            with engine.connect() as other:
                other.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'stepsize' AND datname = current_database()"  # others test beside us
                    )
                )
            with pytest.raises(StoreError, match=r"postgresql://.* failed: "):
                writer.add_run(a_run(1))
            with pytest.raises(StoreError, match="is disconnected and no longer holds its lock; begin it again"):
                writer.add_run(a_run(1))
        with store.begin("digits", "sweep", {}) as writer:
            writer.add_run(a_run(1))

        assert [run.trial.number for run in store.runs("digits")] == [0, 1]


def test_what_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match=r"no store at .*stepsize.db; give the path of one"):
        Store.open(tmp_path / "stepsize.db", create=False)
    with pytest.raises(DataUnavailableError, match=r"no folder at .*nowhere for the store stepsize.db"):
        Store.open(tmp_path / "nowhere" / "stepsize.db")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="where must be an SQLite file, or a path where none exists yet"):
        Store.open(tmp_path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (f"mysql://ann:{QUOTED}@host/lab", "where must be SQLite or PostgreSQL through psycopg 3; got 'mysql://…'"),
        (f"postgresql+psycopg2://ann:{QUOTED}@host/lab", "through psycopg 3; got 'postgresql\\+psycopg2://…'"),
        (f"nonsense://ann:{QUOTED}@host/lab", "must be SQLite or PostgreSQL"),
        (f"postgresql://ann:{QUOTED}@host:port/lab", "must be a database URL that can be read; got 'postgresql://…'"),
        ("sqlite://", "must be a file on disk: what is in memory ends with the process"),
        (":memory:", "must be a file on disk"),
        ("", "must be a file on disk"),
    ],
)
def test_what_is_no_place_for_a_store_is_refused_without_its_password(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Store.open(where)

    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert "hunter2" not in shown


@pytest.mark.parametrize("wait", [-1.0, float("nan")])
def test_a_wait_is_a_number_of_seconds(sqlite: str, wait: float) -> None:
    with pytest.raises(InputError, match="wait must be a number of seconds >= 0"):
        Store.open(sqlite, wait=wait)


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    error = raised(f"postgresql://ann:{QUOTED}@127.0.0.1:1/lab?application_name=x&password=also-{QUOTED}")

    assert isinstance(error, StoreError)
    assert str(error).startswith("postgresql://ann@127.0.0.1:1/lab failed: ")
    assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_wrong_password_is_not_shown(postgres: str) -> None:
    error = raised(make_url(postgres).set(password=SECRET).render_as_string(hide_password=False))

    assert "password authentication failed" in str(error)
    assert "hunter2" not in "".join(traceback.format_exception(error))


def test_a_store_shows_no_password_wherever_it_is_shown(postgres: str) -> None:
    password = make_url(postgres).password
    assert isinstance(password, str)
    with Store.open(postgres) as store, store.begin("digits", "sweep", {}) as writer:
        shown = (
            f"{store} {store!r} {store.where} {store.address} {store.address!r} {writer} {vars(store)} {vars(writer)}"
        )
        with pytest.raises(StoreError) as caught:
            store.begin("digits", "sweep", {})
        with pytest.raises(StepsizeError) as unknown:
            store.runs("nothing")

    for text_ in (shown, *("".join(traceback.format_exception(error.value)) for error in (caught, unknown))):
        assert password not in text_


def test_postgresql_without_psycopg_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(MissingExtraError, match=r'pip install "stepsize\[postgres\]"'):
        Store.open("postgresql://ann@host/lab")


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("runs/all.db", "runs/all.db"),
        ("sqlite:///runs/all.db", "runs/all.db"),
        ("sqlite:////runs/all.db", "/runs/all.db"),
        ("sqlite+pysqlite:///all.db", "all.db"),
    ],
)
def test_a_file_may_be_given_in_several_ways(where: str, shown: str) -> None:
    assert str(as_address(where)) == shown


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_server_may_be_given_in_several_ways(scheme: str) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")

    assert str(as_address(f"{scheme}://ann:{QUOTED}@host:99/lab")) == "postgresql://ann@host:99/lab"


def test_a_password_is_taken_out_of_what_others_wrote() -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    address = as_address(f"postgresql://ann:{QUOTED}@host/lab?password=tiger")

    assert address.hide(f"cannot use {SECRET} or {QUOTED} or tiger") == "cannot use *** or *** or ***"
