"""Cells that somebody edited, links in the way, and Ctrl-C in the middle of a write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import OperationalError
from tests.store.examples import a_run

from stepsize.errors import StepsizeError, StoreError
from stepsize.store import Store, WatchRecord
from stepsize.store.failures import guarded
from stepsize.store.locks import _beside
from stepsize.training import Evaluation

_JUNK = [b"\xff\x00", "text", "[1, 2", "null", 2**62]


def filled(where: str) -> None:
    with Store.open(where) as store, store.begin("digits", "sweep", {"lr": [1.0]}) as writer:
        writer.add_run(a_run(losses=[0.5, 0.25], evaluations=(Evaluation(2, 0.5, {"accuracy": 0.75}),)))
        signals = {"loss": [np.arange(3), np.array([1.0, 0.5, 0.2])]}
        writer.add_signals(WatchRecord(3, datetime.now(UTC), {"code": "fine"}), ("points", signals))


def cells(where: str) -> list[tuple[str, str]]:
    """Return table and column of every cell that stepsize writes."""
    with closing(sqlite3.connect(where)) as raw:
        tables = [name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            (table, column[1])
            for table in tables
            if table.startswith("stepsize_")
            for column in raw.execute(f"PRAGMA table_info({table})")
            if not column[5]  # of no key
        ]


def read_everything(where: str) -> None:
    with Store.open(where, create=False) as store:
        store.tallies()
        for study in store.studies():
            store.trials(study.name)
            store.runs(study.name)
            store.findings(study.name)
            store.signals(study.name)
            store.watched(study.name)


def test_cells_that_were_edited_are_read_or_named_in_a_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.db"
    filled(str(whole))
    with closing(sqlite3.connect(whole)) as raw:
        raw.execute("PRAGMA journal_mode = DELETE")
    tried = 0
    for table, column in cells(str(whole)):
        for number, junk in enumerate(_JUNK):
            path = tmp_path / f"{table}-{column}-{number}.db"
            path.write_bytes(whole.read_bytes())
            with closing(sqlite3.connect(path)) as raw, raw:
                raw.execute("PRAGMA synchronous = OFF")  # the file needs to survive no loss of power
                raw.execute("PRAGMA ignore_check_constraints = ON")
                try:
                    raw.execute(f"UPDATE {table} SET {column} = ?", (junk,))
                except sqlite3.Error:
                    continue
            tried += 1
            try:
                read_everything(str(path))
            except StepsizeError as error:
                assert str(error).strip(), (table, column, junk)  # noqa: PT017  an error is allowed, not asked for
            path.unlink()
    assert tried > 100


def test_a_lock_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    where, target = str(tmp_path / "a.db"), tmp_path / "precious.txt"
    target.write_text("precious")
    with Store.open(where) as store:
        _beside(store.address, "digits").symlink_to(target)
        with pytest.raises(StoreError, match="is a link, which was left as it is"):
            store.begin("digits", "sweep", {})
        assert not store.being_written("digits")
    assert target.read_text() == "precious"


def test_ctrl_c_during_a_write_is_ctrl_c(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:

        def write() -> None:
            with guarded(store.address):
                try:
                    raise KeyboardInterrupt
                except KeyboardInterrupt:  # sqlite tells of it as an error of its own
                    raise OperationalError("INSERT", None, sqlite3.OperationalError("interrupted"))  # noqa: B904

        with pytest.raises(KeyboardInterrupt):
            write()
