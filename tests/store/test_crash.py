"""A writer that is killed at any moment loses nothing that was acknowledged, and blocks nobody."""

from __future__ import annotations

import os
import random
import select
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.store import writing

from stepsize.store import Store

STUDY = "digits"


def acknowledged_until_killed(where: str, seconds: float) -> list[int]:
    """Return the runs that a writer had acknowledged when it was killed, ``seconds`` after its beginning."""
    assert writing.__file__ is not None
    with subprocess.Popen(
        [sys.executable, writing.__file__, STUDY],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "STEPSIZE_TEST_STORE": where, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        if seconds >= 0:  # below 0, already while it opens the store
            assert select.select([process.stdout], [], [], 60)[0], "the writer does not begin"
            assert process.stdout.readline() == "begun\n"
        time.sleep(abs(seconds))
        process.kill()
        lines = process.stdout.read().splitlines(keepends=True)
    return [int(line) for line in lines if line.endswith("\n") and line != "begun\n"]


def check_whole(where: str, acknowledged: list[int]) -> None:
    """Check that every acknowledged run is there once and whole, and that the study can be written at once."""
    with Store.open(where) as store:
        with store.begin(STUDY, "sweep", {"lr": [1e-3, 1.0]}):
            pass
        runs = store.runs(STUDY)
        stored = [int(run.value) for run in runs]
        assert stored == list(range(len(stored)))
        assert sorted(run.id or 0 for run in runs) == [run.id for run in runs]
        assert set(acknowledged) <= set(stored)
        assert len(store.trials(STUDY)) == (len(stored) + 1) // 2
        for run in runs[-3:]:  # those nearest to the kill
            assert run.losses.tolist() == [run.value] * (int(run.value) % 50 + 1)
            assert [seen.loss for seen in run.evaluations] == [run.value]
    if "://" not in where:
        with closing(sqlite3.connect(where)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def kill_again_and_again(where: str, moments: list[float]) -> None:
    """Kill a writer at each of these moments, and check each time."""
    acknowledged: list[int] = []
    for moment in moments:
        acknowledged += acknowledged_until_killed(where, moment)
        assert len(acknowledged) == len(set(acknowledged)), "a run was written twice"
        check_whole(where, acknowledged)
    assert acknowledged


def test_a_writer_killed_at_four_moments_loses_nothing(where: str) -> None:
    kill_again_and_again(where, [0.0, 0.003, 0.02, 0.1])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_writer_killed_at_fifty_random_moments_loses_nothing(where: str) -> None:
    chosen = random.Random(0)

    kill_again_and_again(where, [chosen.uniform(-0.3, 0.3) for _ in range(50)])


def test_a_killed_writer_leaves_a_lock_that_is_taken_over_and_then_gone(sqlite: str) -> None:
    acknowledged_until_killed(sqlite, 0.0)
    [left] = Path(sqlite).parent.glob("*.lock")

    with Store.open(sqlite) as store, store.begin(STUDY, "sweep", {"lr": [1e-3, 1.0]}):
        assert f"process {os.getpid()} on " in left.read_text()

    assert not left.exists()
