from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.combos import GRID, Combo
from benchmarks.record import between_markers, header, read_rows, write_record
from benchmarks.tables import per_task_table, regret_report, tool_table, truth_table, update_page
from benchmarks.truth_curve import TruthCurve


def row(tool: str, regret: float, task: str = "cancer-mlp", **others: Any) -> dict[str, Any]:
    base = {"tool": tool, "task": task, "optimizer": "adamw", "seed": 100, "lr": 0.1, "cost": 0.125}
    return base | {"regret": regret, "regret_error": None, "diverged": False, "picked_to_best": 2.0} | others


def test_a_tool_is_summed_up_in_one_line() -> None:
    rows = [row("t", k / 100) for k in range(10)] + [row("t", 2.0, diverged=True, lr=None, picked_to_best=None)]
    rows[0]["picked_to_best"] = 323.0
    line = tool_table(rows).splitlines()[-1]
    assert line == "| t | 5.0 % | 9.0 % | 200 % | 2× … 323× | 0.12 (0.12) | 1 | 1 | 11 |"


def test_a_task_shows_the_median_over_seeds_and_marks_divergence() -> None:
    rows = [row("a", 0.1), row("a", 0.3), row("a", 0.2), row("b", 20.0, task="digits-cnn", diverged=True)]
    lines = per_task_table(rows).splitlines()
    assert lines[2:] == ["| cancer-mlp, adamw | 20 % | – |", "| digits-cnn, adamw (held out) | – | 2,000 %! |"]


def test_the_report_splits_what_was_held_out(tmp_path: Path) -> None:
    path = tmp_path / "regret.json"
    rows = [row("a", 0.1), row("a", 0.5, task="digits-cnn")]
    write_record(path, header("regret"), rows)
    report = regret_report(path, {Combo("cancer-mlp", "adamw"): curve()})
    assert "### Design tasks (1 tasks × optimizers)" in report
    assert "### Held-out tasks (1 tasks × optimizers)" in report
    assert "standard error at the best rate is 0.0 %" in report


def curve() -> TruthCurve:
    lrs = np.asarray(GRID)
    diverged = np.tile(lrs > 1, (3, 1))
    losses = np.where(diverged, 3.0, np.tile(1 + np.abs(np.log10(lrs / 0.01)), (3, 1)).clip(max=3.0))
    return TruthCurve(lrs, losses, diverged, 3.0)


def test_the_truth_is_told_with_its_width_and_its_cliff() -> None:
    line = truth_table({Combo("cancer-mlp", "adamw"): curve()}).splitlines()[-1]
    assert line == "| cancer-mlp, adamw | 0.01 | 1 ± 0.0 % | 3 | 0.01 … 0.01 | 0.63 | 3 |"


def test_a_page_keeps_what_lies_outside_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- regret:begin -->\nold\n<!-- regret:end -->\nafter\n", encoding="utf-8")
    update_page(page, "regret", "new\n")
    update_page(page, "regret", "newer\n")
    assert page.read_text(encoding="utf-8") == "before\n<!-- regret:begin -->\nnewer\n<!-- regret:end -->\nafter\n"


@pytest.mark.parametrize(
    "text", ["nothing", "<!-- a:end --><!-- a:begin -->", "<!-- a:begin --><!-- a:begin --><!-- a:end -->"]
)
def test_a_page_without_its_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must hold <!-- a:begin -->"):
        between_markers(text, "a", "new")


def test_a_record_says_where_and_with_what_it_was_made(tmp_path: Path) -> None:
    head = header("regret --seeds 1")
    assert head["command"] == "python -m benchmarks regret --seeds 1"
    assert head["machine"]["cores"] >= 1
    assert head["versions"]["torch"].startswith("2.")
    path = tmp_path / "deep" / "record.json"
    write_record(path, head, [{"a": 1}, {"a": None}])
    assert read_rows(path) == [{"a": 1}, {"a": None}]
    assert read_rows(tmp_path / "none.json") == []
