"""What refutes a finding on a log, and that faults are found where they were put."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.logs import Checked, Log, _checked, _refuted, logs_report
from benchmarks.record import header, write_record

from stepsize.monitor import Finding

N = 200
STEPS = np.arange(N, dtype=np.float64)
LOSSES = 0.2 + 2 * np.exp(-STEPS / 40) + 0.01 * np.sin(12.9898 * STEPS)
LOG = Log("own", "falling", STEPS, LOSSES, np.full(N, 0.1), np.full(N, math.nan))


@pytest.mark.parametrize(
    ("code", "changes", "refuted"),
    [
        ("diverging", {}, True),
        ("diverging", {"loss": LOSSES[::-1].copy()}, False),
        ("overfitting", {"val": LOSSES}, True),
        ("overfitting", {"val": np.abs(STEPS - 50)}, False),
        ("plateau", {}, True),
        ("plateau", {"loss": np.where(STEPS < 50, LOSSES, LOSSES[50])}, False),
        ("plateau", {"lr": np.where(STEPS < 120, 0.1, 0.01)}, False),  # the decay that it asks for
        ("not-learning", {}, True),
        ("underfitting", {}, True),  # without the horizon
        ("spike", {}, False),
    ],
)
def test_the_rest_of_a_log_refutes(code: str, changes: dict[str, Any], refuted: bool) -> None:
    log = dataclasses.replace(LOG, **changes)
    assert _refuted(Finding(code, "info", 70, ""), log.cut(100), log) == refuted


def test_faults_are_found_where_they_were_put() -> None:
    faults = {row.part: row for row in _checked(LOG) if row.part not in ("whole", "cut")}
    assert set(faults) == {"not finite", "blow-up", "one NaN"}
    assert all(row.right for row in faults.values())
    assert faults["blow-up"].step == faults["not finite"].step


def test_the_table(tmp_path: Path) -> None:
    rows = [Checked("own", "a", "cut", "plateau", 3, n > 0) for n in range(4)]
    rows.append(Checked("own", "a", "blow-up", "diverging", 7, True))
    path = tmp_path / "logs.json"
    write_record(path, header("logs"), [dataclasses.asdict(row) for row in rows])
    assert "| cut logs | plateau | 4 | 1 (25%) |" in logs_report(path)
    assert "| blow-up | 1 of 1 |" in logs_report(path)
