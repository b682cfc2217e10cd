"""Signals of watched trainings: exact, in order, replaced in one transaction; and who writes is known."""

from __future__ import annotations

import math
import os
import select
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import text
from tests.store import writing
from tests.store.test_versions import by_hand

from stepsize.errors import InputError, StoreCorruptError, UnknownStudyError
from stepsize.store import FindingRecord, ProgressRecord, Store, WatchRecord

WHEN = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)


def points(*values: float) -> tuple[str, dict[str, Sequence[NDArray[np.generic]]]]:
    return "points", {"loss": [np.arange(len(values)), np.array(values)]}


def test_signals_are_read_in_order_and_from_where_one_was(store: Store) -> None:
    with store.begin("net", "watch", {}) as writer:
        assert store.watched("net") is None
        for count in range(1, 4):
            writer.add_signals(WatchRecord(count, WHEN), points(float(count), math.nan))
        writer.add_signals(WatchRecord(9, WHEN, {"code": "fine"}, [{"kind": "cut"}]), status="done")
    assert [float(one.arrays["loss"][1][0]) for one in store.signals("net")] == [1, 2, 3]
    assert [one.position for one in store.signals("net", after=0)] == [1, 2]
    assert store.watched("net") == WatchRecord(9, WHEN, {"code": "fine"}, ({"kind": "cut"},))
    study = store.study("net")
    assert study is not None
    assert study.status == "done"


def test_signals_that_take_the_place_of_others_go_on_counting(store: Store) -> None:
    with store.begin("net", "watch", {}) as writer:
        writer.add_signals(WatchRecord(1, WHEN), points(1.0))
        writer.add_signals(WatchRecord(2, WHEN), points(2.0))
        writer.add_signals(WatchRecord(3, WHEN), points(3.0), instead=True)
        writer.add_signals(WatchRecord(4, WHEN), points(4.0))
    assert [(one.position, float(one.arrays["loss"][1][0])) for one in store.signals("net")] == [(2, 3.0), (3, 4.0)]


def test_progress_takes_the_place_of_what_was_written_before(store: Store) -> None:
    running = ({"lr": 0.1, "steps": 30, "share": 0.5, "seed": 1},)
    with store.begin("find", "find", {}) as writer, store.begin("other", "find", {}) as other:
        assert store.progress() == {}
        writer.set_progress(ProgressRecord(WHEN))
        other.set_progress(ProgressRecord(WHEN, running))
        writer.set_progress(ProgressRecord(WHEN, running * 2, 60.0, at_most=True))
    assert store.progress() == {
        "find": ProgressRecord(WHEN, running * 2, 60.0, at_most=True),
        "other": ProgressRecord(WHEN, running),
    }


def test_a_value_that_cannot_be_kept_leaves_nothing_behind(store: Store) -> None:
    with store.begin("net", "watch", {}) as writer:
        with pytest.raises(InputError, match="verdict must hold plain, finite values"):
            writer.add_signals(WatchRecord(1, WHEN, {"share": math.nan}), points(1.0))
        assert store.signals("net") == ()
        writer.add_signals(WatchRecord(1, WHEN), findings=[FindingRecord("a", "info", told={"step": 3})])
    assert store.findings("net") == (FindingRecord("a", "info", {}, None, {"step": 3}),)


def test_signals_of_no_study_and_damaged_ones_are_errors(where: str, store: Store) -> None:
    with pytest.raises(UnknownStudyError, match="no study 'net'"):
        store.signals("net")
    with store.begin("net", "watch", {}) as writer:
        writer.add_signals(WatchRecord(1, WHEN), points(1.0))
    with by_hand(where) as connection:
        connection.execute(text("UPDATE stepsize_signals SET arrays = :bytes"), {"bytes": b"nothing"})
    with pytest.raises(StoreCorruptError, match="holds a value that stepsize did not write"):
        store.signals("net")


def test_who_writes_is_known_and_a_killed_writer_does_not(where: str) -> None:
    with Store.open(where) as store:
        assert not store.being_written("digits")
        with store.begin("digits", "sweep", {}):
            assert store.being_written("digits")
            assert store.being_written("digits")  # looking took nothing away
            assert not store.being_written("others")
        assert not store.being_written("digits")
        assert writing.__file__ is not None
        with subprocess.Popen(
            [sys.executable, writing.__file__, "theirs"],
            stdout=subprocess.PIPE,
            env={**os.environ, "STEPSIZE_TEST_STORE": where},
        ) as process:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], 60)[0], "the writer does not begin"
            assert process.stdout.readline() == b"begun\n"
            assert store.being_written("theirs")
            process.kill()
        if "://" not in where:  # a server may take a while to notice
            assert not store.being_written("theirs")


def test_looking_at_a_lock_does_not_give_it_back(sqlite: str) -> None:
    with Store.open(sqlite) as store, store.begin("digits", "sweep", {}):
        assert store.being_written("digits")
        other = f"from stepsize.store import Store; print(Store.open({sqlite!r}).being_written('digits'))"
        done = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "True\n"


def test_all_watched_runs_are_read_at_once_and_killed_ones_are_known(store: Store) -> None:
    with store.begin("killed", "watch", {}) as writer:
        writer.add_signals(WatchRecord(1, WHEN), findings=[FindingRecord("a", "info"), FindingRecord("b", "info")])
    with store.begin("ended", "watch", {}) as writer:
        writer.add_signals(WatchRecord(2, WHEN, {"code": "fine"}, control=True), status="done")
    with store.begin("before its first write", "watch", {}), store.begin("net", "watch", {}) as writer:
        writer.add_signals(WatchRecord(3, WHEN))
        states, statuses = store.watches(), store.statuses()
        one_by_one = {study.name: store.status(study) for study in store.studies()}
    assert states == {
        "killed": (WatchRecord(1, WHEN), 2),
        "ended": (WatchRecord(2, WHEN, {"code": "fine"}, control=True), 0),
        "net": (WatchRecord(3, WHEN), 0),
    }
    assert statuses == one_by_one
    assert statuses == {
        "killed": "interrupted", "ended": "done", "before its first write": "running", "net": "running",
    }  # fmt: skip
