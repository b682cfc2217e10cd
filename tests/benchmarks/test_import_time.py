"""The time of imports: measured in real processes, told as ratios within a round."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from benchmarks.import_time import import_report, timed
from benchmarks.record import header, write_record


def test_each_statement_runs_in_processes_of_its_own() -> None:
    seconds = timed({"nothing": "pass", "waits": "import time; time.sleep(0.5)"}, rounds=2)

    assert [len(values) for values in seconds.values()] == [2, 2]
    assert min(seconds["waits"]) > 0.5


def test_a_statement_that_fails_is_no_time() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        timed({"fails": "raise SystemExit(3)"}, rounds=1)


def test_ratios_are_taken_within_a_round(tmp_path: Path) -> None:
    path = tmp_path / "import_time.json"
    head = header("import-time")
    head["versions"]["optuna"] = "5.0.0"
    rows = [
        {"what": "import stepsize", "seconds": [1.0, 3.0, 0.5]},
        {"what": "import torch", "seconds": [2.0, 4.0, 5.0]},  # medians would say 0.25
    ]
    write_record(path, head, rows)

    assert import_report(path).splitlines()[-2:] == [
        "| import stepsize | 1.00 | 0.50 … 3.00 | 0.50 × |",
        "| import torch | 4.00 | 2.00 … 5.00 | 1.00 × |",
    ]


def test_without_a_record_the_report_says_how_to_make_one(tmp_path: Path) -> None:
    assert "python -m benchmarks import-time" in import_report(tmp_path / "none.json")
