from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.ranges import VARIANTS, moved, ranges_report
from benchmarks.record import write_record


def row(variant: str, lr: float | None, task: str = "cancer-mlp", tool: str = "t") -> dict[str, Any]:
    return {"picker": "p", "tool": tool, "task": task, "optimizer": "adamw", "seed": 100, "variant": variant, "lr": lr}


ROWS = [
    row("as it is", 0.01),
    row("steps × 4", 0.001),
    row("as it is", 0.01, task="digits-mlp"),
    row("steps × 4", 0.02, task="digits-mlp"),
    row("as it is", None, task="digits-cnn"),
    row("steps × 4", 0.02, task="digits-cnn"),
    row("as it is", None, task="photos-mlp"),
    row("steps × 4", None, task="photos-mlp"),
    row("steps × 4", 0.5, task="mnist-cnn"),  # its base is not measured yet
]


def test_a_move_is_in_decades_either_way() -> None:
    moves, changed, none = moved(ROWS, "t", "steps × 4")
    assert moves == pytest.approx([1.0, 0.30103])
    assert (changed, none) == (1, 1)


def test_another_tool_or_variant_has_moves_of_its_own() -> None:
    assert moved(ROWS, "other", "steps × 4") == ([], 0, 0)
    assert moved(ROWS, "t", "reshuffled") == ([], 0, 0)


def test_the_report_gives_median_largest_and_the_share_within_the_goal(tmp_path: Path) -> None:
    path = tmp_path / "ranges.json"
    write_record(path, {}, [*ROWS, row("as it is", 0.01, tool="stepsize range_test"), row("as it is", 0.1, tool="z")])
    report = ranges_report(path)
    assert "| t | 0.65 / 0.93 / 1.00 (0%) ±1 | – | – | – | – | 5 |" in report
    assert report.index("| stepsize range_test |") < report.index("| t |")


def test_each_variant_changes_one_thing() -> None:
    base = vars(VARIANTS["as it is"])
    changes = [sum(value != base[name] for name, value in vars(conditions).items()) for conditions in VARIANTS.values()]
    assert changes == [0, 1, 1, 1, 1, 1]
