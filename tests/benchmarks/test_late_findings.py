"""Late findings on whole runs of the record."""

from __future__ import annotations

from benchmarks.late_findings import _LONG, _long_tasks, _record_lines
from benchmarks.lr_record.collect import read_record


def test_what_was_refuted_is_counted_by_finding_and_by_use() -> None:
    rows = [
        {"task": 5, "rate": 0, "reported": {"plateau": True, "overfitting": False}},
        {"task": 5, "rate": 1, "reported": {}},
        {"task": 900, "rate": 0, "reported": {"plateau": False}},
    ]
    lines = list(_record_lines(rows))
    assert "| other tasks, 1 runs | plateau | 1 | 0 (0.0%) |" in lines
    assert "| other tasks, 1 runs | underfitting | 0 | 0 |" in lines
    assert "| thresholds chosen on them, 2 runs | plateau | 1 | 1 (100.0%) |" in lines
    assert "| thresholds chosen on them, 2 runs | all | 2 | 1 (50.0%) |" in lines


def test_only_long_tasks_that_can_be_stacked_are_watched_to_their_end() -> None:
    facts = {one["number"]: one for one in read_record().facts}
    chosen = _long_tasks(19)
    assert len(chosen) > 100
    for number in chosen:
        assert number >= 19
        assert facts[number]["steps"] >= _LONG
        assert facts[number]["model"] not in ("gru", "lstm")
