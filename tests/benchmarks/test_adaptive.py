"""The figures of the benchmark of adapting rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.adaptive import adaptive_report, share_closed
from benchmarks.record import header, write_record


def row(**changed: Any) -> dict[str, Any]:
    base = {"task": "t", "optimizer": "adamw", "rule": "polyak", "start": 0.01, "seed": 0}
    return {**base, "tuned": 1.0, "fixed": 2.0, "untrained": 3.0, "loss": 1.25, **changed}


@pytest.mark.parametrize(
    ("changed", "share"),
    [
        ({}, 0.75),
        ({"loss": 1.0}, 1.0),
        ({"loss": 0.5}, 1.5),  # better than the tuned rate
        ({"loss": 2.5}, -0.5),
        ({"loss": None}, -1.0),  # diverged: counts with the loss at initialization
        ({"loss": 1e9}, -1.0),
        ({"fixed": None, "loss": 1.5}, 0.75),  # then the gap is to the loss at initialization
        ({"fixed": 1.01}, None),  # no gap
        ({"fixed": 0.9}, None),
    ],
)
def test_the_share_of_the_gap(changed: dict[str, Any], share: float | None) -> None:
    assert share_closed(row(**changed)) == (None if share is None else pytest.approx(share))


def test_the_report_says_how_often_the_goal_was_reached(tmp_path: Path) -> None:
    rules = ("hypergradient", "polyak", "polyak-decaying", "line-search")
    rows = [row(rule=rule, start=start) for rule in rules for start in (0.01, 10.0)]
    rows += [row(task="u", loss=1.05), row(task="u", loss=None, start=10.0)]
    rows += [{"rule": "polyak", "optimizer": "adamw", "overhead": 0.08, "plain_ms": 10.0}]
    write_record(tmp_path / "record.json", header("adaptive"), rows)

    report = adaptive_report(tmp_path / "record.json")

    assert "2 tasks × optimizers, 1 seed(s)" in report
    # of the shares 0.75 and 0.95: median 0.85, and one reaches 0.9
    assert "| Polyak, SPS-max | 0.01 × | 85% | 77% | 75% | 1 of 2 | 0 |" in report
    assert "| Polyak, SPS-max | 10 × |" in report
    assert "| Polyak, SPS-max | adamw | 10.0 ms | 8.0% |" in report
    assert "| u | adamw | 10 × | 1 | 2 |" in report
    assert "| diverged |" in report


def test_without_a_record_the_command_is_named(tmp_path: Path) -> None:
    assert adaptive_report(tmp_path / "none.json") == "No record yet: `python -m benchmarks adaptive`."
