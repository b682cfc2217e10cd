from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.runlog import FingerprintError, Row, RunLog

MADE = Row(lr=0.1, seed=0, steps=10, val=1.25, train=1.0, metric=None, diverged=None, seconds=0.5)
LOST = Row(lr=1.0, seed=0, steps=10, val=None, train=None, metric=None, diverged=3, seconds=0.1)
PRINT = {"task": "t", "steps": 10, "untrained": 2.3, "batches": [3, 1]}


def test_runs_are_found_again_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.json"
    RunLog(path, PRINT).add([LOST])
    RunLog(path, PRINT).add([MADE])
    again = RunLog(path, PRINT)
    assert again.rows == (MADE, LOST)
    assert (0.1, 0, 10) in again
    assert (0.1, 1, 10) not in again


def test_a_file_of_another_definition_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    RunLog(path, PRINT).add([MADE])
    with pytest.raises(FingerprintError, match=r"t\.json belongs to another .*steps: 10 there, 20 now"):
        RunLog(path, PRINT | {"steps": 20})


def test_a_part_that_the_file_does_not_know_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    RunLog(path, PRINT).add([MADE])
    with pytest.raises(FingerprintError, match=r"clip: None there, 1\.0 now"):
        RunLog(path, PRINT | {"clip": 1.0})


def test_another_processor_may_round_differently(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    RunLog(path, PRINT).add([MADE])
    assert RunLog(path, PRINT | {"untrained": 2.3001}).rows == (MADE,)
    with pytest.raises(FingerprintError, match="untrained"):
        RunLog(path, PRINT | {"untrained": 2.4})


def test_lists_are_compared_number_by_number(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    RunLog(path, PRINT | {"factors": [0.1, 1.0]}).add([MADE])
    assert RunLog(path, PRINT | {"factors": [0.10001, 1.0]}).rows == (MADE,)
    for other in ([0.1, 0.9], [0.1], [0.1, 1.0, 0.0]):
        with pytest.raises(FingerprintError, match="factors"):
            RunLog(path, PRINT | {"factors": other})


def test_the_file_is_plain_json_with_one_run_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    RunLog(path, PRINT).add([MADE, LOST])
    text = path.read_text(encoding="utf-8")
    assert json.loads(text)["runs"] == [
        [0.1, 0, 10, 1.25, 1.0, None, None, 0.5],
        [1.0, 0, 10, None, None, None, 3, 0.1],
    ]
    assert "[1.0, 0, 10, null, null, null, 3, 0.1]\n" in text
    assert list(tmp_path.iterdir()) == [path]


def test_the_same_run_made_again_replaces_the_first(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "t.json", PRINT)
    log.add([MADE])
    log.add([Row(*(*MADE.key, 9.0, 9.0, None, None, 1.0))])
    assert [row.val for row in log.rows] == [9.0]


def test_a_log_is_read_as_it_is_whatever_the_task_has_become(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    RunLog(path, {"task": "old"}).add([Row(0.1, 0, 10, 1.0, 1.0, None, None, 0.5)])
    assert RunLog.read(path).fingerprint == {"task": "old"}
    assert len(RunLog.read(path).rows) == 1
