"""A store that is copied, made by many at once, held by a process that stands still, or on a disk that fails."""

from __future__ import annotations

import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from tests.store.examples import a_run

from stepsize.errors import StoreError, StoreLockedError
from stepsize.monitor.saved_runs import list_runs
from stepsize.store import FindingRecord, Store, WatchRecord

_KEYS = ("id", "study", "trial")
_WRITING = """
import sys, time
from stepsize.store import Store
from tests.store.examples import a_run
writer = Store.open(sys.argv[1]).begin("digits", "sweep", {})
for number in range(300):
    writer.add_run(a_run(number))
print("written", flush=True)
time.sleep(60)
"""
_CREATING = """
import sys
from stepsize.store import Store
from tests.store.examples import a_run
with Store.open(sys.argv[1]) as store, store.begin(sys.argv[2], "sweep", {}) as writer:
    writer.add_run(a_run(0))
"""


@pytest.fixture
def writing(sqlite: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has written 300 runs and holds the study."""
    process = subprocess.Popen([sys.executable, "-c", _WRITING, sqlite], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "written"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_file_alone_has_the_runs_of_a_killed_writer_but_the_last_seconds(sqlite: str, tmp_path: Path) -> None:
    with Store.open(sqlite) as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(0))
        shutil.copy(sqlite, tmp_path / "copy.db")  # as after a kill: the log stays behind
        with Store.open(tmp_path / "copy.db") as copy:
            assert len(copy.runs("digits")) == 1
        writer._next_checkpoint = 0.0  # five seconds later
        writer.add_run(a_run(1))
        shutil.copy(sqlite, tmp_path / "later.db")
        with Store.open(tmp_path / "later.db") as copy:
            assert len(copy.runs("digits")) == 2


def test_a_writer_that_stands_still_is_named_and_reading_goes_on(sqlite: str, writing: subprocess.Popen[str]) -> None:
    writing.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with Store.open(sqlite, wait=1.0) as store:
        assert len(store.runs("digits")) == 300
        assert store.being_written("digits")
        with pytest.raises(StoreLockedError, match=f"is being written by process {writing.pid} "):
            store.begin("digits", "sweep", {})
        with store.begin("other", "sweep", {}) as writer:  # another study is not held up
            writer.add_run(a_run(0))
    assert time.monotonic() - began < 30
    writing.kill()
    writing.wait()
    with Store.open(sqlite) as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(300))
        assert len(store.runs("digits")) == 301


def test_a_transaction_that_stands_still_ends_in_a_sentence(sqlite: str) -> None:
    with Store.open(sqlite, wait=0.2) as store, closing(sqlite3.connect(sqlite, isolation_level=None)) as holder:
        with store.begin("digits", "sweep", {}) as writer:
            writer.add_run(a_run(0))
            holder.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreLockedError, match="is locked by another program"):
                writer.add_run(a_run(1))
            holder.execute("ROLLBACK")
            writer.add_run(a_run(1))
        assert len(store.runs("digits")) == 2


@pytest.mark.parametrize("many", [3, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_processes_that_make_one_store_at_once_all_find_their_runs_in_it(sqlite: str, many: int) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", _CREATING, sqlite, f"study-{n}"]) for n in range(many)]
    assert [process.wait(timeout=500) for process in processes] == [0] * many
    with Store.open(sqlite) as store:
        assert sorted(one.name for one in store.studies()) == sorted(f"study-{n}" for n in range(many))
        assert all(len(store.runs(one.name)) == 1 for one in store.studies())


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """Let each write of this process beyond ``size`` bytes of a file fail, as a disk does that is full or broken."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_disk_that_fails_at_any_write_costs_what_was_not_promised_and_says_so(tmp_path: Path) -> None:
    base = tmp_path / "base.db"
    with Store.open(base) as store, store.begin("digits", "sweep", {}) as writer:
        writer.add_run(a_run(0))
    told: list[str] = []
    sizes, failed, passed = range(0, 480_000, 16_000), 0, 0
    for size in sizes:
        where = tmp_path / f"{size}.db"
        shutil.copy(base, where)
        promised = 1
        with no_file_beyond(size):
            try:
                with Store.open(where, wait=1.0) as store, store.begin("digits", "sweep", {}) as writer:
                    for number in range(1, 20):
                        writer.add_run(a_run(number, losses=np.random.default_rng(number).random(400)))
                        promised += 1
                    writer.add_signals(WatchRecord(1, datetime.now(UTC)), findings=[FindingRecord("noisy", "info")])
                    writer.finish("done")
                    passed += 1
            except StoreError as error:
                failed += 1
                told.append(str(error))
        with Store.open(where) as store, store.begin("digits", "sweep", {}) as writer:
            assert [run.trial.number for run in store.runs("digits")] == [*range(promised)]
            writer.add_run(a_run(promised))
        with closing(sqlite3.connect(where)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert failed > 10
    assert not any("\n" in text for text in told)
    assert passed > 1


def test_a_long_list_is_read_in_a_second(sqlite: str) -> None:
    with Store.open(sqlite) as store:
        for kind in ("watch", "sweep"):
            with store.begin(kind, kind, {"what": "net", "optimizer": "SGD", "steps": 9}) as writer:
                writer.add_signals(WatchRecord(9, datetime.now(UTC)), None, [FindingRecord("noisy", "info")])
                writer.add_run(a_run(0, losses=[0.5] * 400))
    with closing(sqlite3.connect(sqlite)) as raw:
        count = "WITH RECURSIVE n(i) AS (SELECT 3 UNION ALL SELECT i + 1 FROM n WHERE i < 2002) INSERT INTO"
        raw.execute(
            f"{count} stepsize_studies (id, name, kind, created, spec, status) "
            "SELECT i, 'net-' || i, kind, created, spec, 'running' FROM n, stepsize_studies WHERE id = 1"
        )
        raw.execute(
            f"{count} stepsize_watches (study, steps, updated, verdict, acts, control) "
            "SELECT i, steps, updated, verdict, acts, control FROM n, stepsize_watches WHERE study = 1"
        )
        columns = ", ".join(row[1] for row in raw.execute("PRAGMA table_info(stepsize_runs)") if row[1] not in _KEYS)
        columns = columns.replace("values", '"values"')
        raw.execute(
            f"{count.replace('2002', '100002')} stepsize_runs (study, trial, {columns}) "
            f"SELECT 2, i, {columns} FROM n, stepsize_runs WHERE study = 2"
        )
        raw.commit()
    with Store.open(sqlite) as store:
        began = time.process_time()
        heads = list_runs(store)
        assert time.process_time() - began < 1
        last = heads[-1]
        assert (len(heads), last.name, last.status, last.findings) == (2001, "net-2002", "interrupted", 0)
        assert (heads[0].findings, heads[0].steps) == (1, 9)
        began = time.process_time()
        assert store.tallies()["sweep"].runs == 100_001
        assert time.process_time() - began < 1
