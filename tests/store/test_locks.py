"""A study has one writer at a time, and a second one is told who it is."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stepsize.errors import StoreLockedError
from stepsize.store import Store


def test_a_second_writer_of_a_study_is_refused_within_one_process(store: Store) -> None:
    with store.begin("digits", "sweep", {}):
        with pytest.raises(StoreLockedError, match=r"study 'digits' of .* is being written by .*; wait until it ends"):
            store.begin("digits", "sweep", {})
        store.begin("photos", "sweep", {}).close()

    store.begin("digits", "sweep", {}).close()


def test_a_second_writer_of_a_study_is_refused_in_another_process(where: str) -> None:
    code = (
        "import os, sys; from stepsize.errors import StoreLockedError; from stepsize.store import Store\n"
        "try: Store.open(os.environ['STEPSIZE_TEST_STORE']).begin('digits', 'sweep', {})\n"
        "except StoreLockedError as error: print(error)\n"
    )
    with Store.open(where) as store, store.begin("digits", "sweep", {}):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "STEPSIZE_TEST_STORE": where},
        )

    holder = "a client on 127.0.0.1" if "://" in where else f"process {os.getpid()} on "
    assert f"is being written by {holder}" in done.stdout


def test_one_of_many_that_begin_at_once_writes(sqlite: str) -> None:
    Store.open(sqlite).close()
    results: list[str] = []
    begun = threading.Barrier(8)

    def begin() -> None:
        begun.wait(10)
        try:
            writer = Store.open(sqlite).begin("digits", "sweep", {})
        except StoreLockedError:
            results.append("refused")
            begun.wait(10)
        else:
            results.append("writes")
            begun.wait(10)
            writer.close()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert sorted(results) == ["refused"] * 7 + ["writes"]


def test_a_link_to_a_store_has_its_locks(sqlite: str, tmp_path: Path) -> None:
    with Store.open(sqlite) as store, store.begin("digits", "sweep", {}):
        link = tmp_path / "link.db"
        link.symlink_to(sqlite)

        with Store.open(link) as same, pytest.raises(StoreLockedError, match="by this process"):
            same.begin("digits", "sweep", {})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_worker_holds_nothing_when_its_parent_was_killed(sqlite: str, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, time; from stepsize.store import Store\n"
        "store = Store.open(sys.argv[1]); writer = store.begin('digits', 'sweep', {})\n"
        "worker = os.fork()\n"
        "if worker == 0:\n    os.close(1); os.close(2); time.sleep(60); os._exit(0)\n"
        "print(worker, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, sqlite], capture_output=True, text=True, timeout=60, check=False)
    worker = int(done.stdout)
    try:
        with Store.open(sqlite) as store:
            store.begin("digits", "sweep", {}).close()
    finally:
        os.kill(worker, 9)
