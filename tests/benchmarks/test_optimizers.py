"""The tables of the comparison of optimizers, and that a study can be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from benchmarks.optimizers import STUDIES, Study, _compared, optimizers_report
from benchmarks.record import header, write_record


def row(name: str, value: float | None, **changed: Any) -> dict[str, Any]:
    base = {
        "study": "t", "task": "t", "batch_size": None, "place": 1, "leads": False, "verdict": "clear", "steps": 100,
        "target": 0.5, "target_steps": [10.0, 20.0, None], "judged": [value] * 3, "basin": 0.5, "name": name,
        "optimizer": name, "tuned": True, "lr": 0.1, "at_edge": False, "value": value, "train_loss": 0.4,
        "val_loss": value, "diverged": 0, "seconds": 1.0, "tuning_cost": 9.0, "doubt": 0.0, "sensitivity": 0.1,
        "highest_survivor": 1.0, "lowest_diverged": 10.0,
    }  # fmt: skip
    return base | changed


def test_the_report_ranks_and_marks_who_leads(tmp_path: Path) -> None:
    rows = [
        row("a", 1.0, leads=True),
        row("b", 1.1, place=2, at_edge=True, target_steps=[None, None, 30.0]),
        row("c", None, place=3),
        row("a", 2.0, study="noise", batch_size=16, leads=True),
        row("b", 2.0, study="noise", batch_size=16, place=2, leads=True),
    ]
    write_record(tmp_path / "record.json", header("optimizers"), rows)

    report = optimizers_report(tmp_path / "record.json")

    assert "| a | **0.0%** |" in report
    assert "| b | 10% |" in report
    assert "| c | diverged |" in report
    assert "#### t: a wins" in report
    assert "#### t, batch size 16: no winner among a, b" in report
    assert "| b | 0.1 (edge) | 1.1 | 0.4 | never | 0.5 | 0.1 | 10 | 9.0 |" in report
    assert "| a | 0.1 | 1 | 0.4 | 20 | 0.5 | 0.1 | 10 | 9.0 |" in report


def test_without_a_record_it_says_how_to_make_one(tmp_path: Path) -> None:
    assert optimizers_report(tmp_path / "none.json") == "No record yet: `python -m benchmarks optimizers`."


@pytest.mark.slow  # real runs, a minute of them
def test_a_study_gives_a_row_a_contender_and_round() -> None:
    study = Study("s", "cancer-mlp", ("sgd", "adam"), batch_sizes=(64, 512), drift=0.25)
    rows = _compared((study, 1, 3))
    assert [(one["batch_size"], one["place"]) for one in rows] == [(64, 1), (64, 2), (512, 1), (512, 2)]
    assert {one["name"] for one in rows} == {"sgd", "adam"}


def test_the_tasks_of_the_studies_exist_and_hold_a_transformer() -> None:
    from stepsize.tasks import TASKS

    assert {study.task for study in STUDIES.values()} <= set(TASKS)
    assert "docs-chars-gpt" in STUDIES
    assert len({study.task for study in STUDIES.values()}) >= 4
