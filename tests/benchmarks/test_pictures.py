"""The pictures of docs/benchmarks.md: what is counted, and that the charts hold it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from benchmarks.guard_faults import FAULTS_FILE
from benchmarks.pictures import (
    PICTURES_FOLDER,
    Bar,
    Kept,
    draw_all,
    guard_chart,
    guard_info,
    verdicts_chart,
    verdicts_info,
)
from benchmarks.record import read_rows
from tests.views.chart_specs import named, texts, values


def watched(times: float, label: str, said: str) -> dict[str, Any]:
    return {"times": times, "label": label, "said": said}


def disturbed(fault: str, loss: float, unguarded: float) -> dict[str, Any]:
    return {"fault": fault, "loss": loss, "unguarded": unguarded, "undisturbed": 1.0}


RUNS = [
    watched(0.0031, "too low", "too low"),
    watched(0.0028, "too low", "inconclusive"),
    watched(1.0, "fine", "fine"),
    watched(9.0, "too high", "diverged"),
    watched(11.0, "too high", "too high"),
]
TRIALS = [
    disturbed("nan gradient", 1.02, math.inf),
    disturbed("nan gradient", 1.03, 1.0),
    disturbed("poisoned batch", 0.9, 2.0),
]


def test_verdicts_are_stacked_at_the_nearest_multiple() -> None:
    info = verdicts_info(RUNS)

    assert info["told"] == [
        Bar(0.003, "too low", 0.0, 0.5, 1, 2),
        Bar(0.003, "inconclusive", 0.5, 1.0, 1, 2),
        Bar(1, "fine", 0.0, 1.0, 1, 1),
        Bar(10, "too high or diverged", 0.0, 1.0, 2, 2),
    ]
    assert [(bar.times, bar.said, bar.count) for bar in info["true"]] == [
        (0.003, "too low", 2),
        (1, "fine", 1),
        (10, "too high or diverged", 2),
    ]


def test_the_guard_is_counted_with_and_without_by_fault() -> None:
    assert guard_info(TRIALS) == [
        Kept("nan gradient", "with a guard", 1, 2),
        Kept("nan gradient", "without", 1, 2),
        Kept("poisoned batch", "with a guard", 1, 1),
        Kept("poisoned batch", "without", 0, 1),
    ]


def test_the_picture_of_verdicts_has_what_was_told_above_what_is_true() -> None:
    spec = verdicts_chart(verdicts_info(RUNS)).to_dict()
    told, true = named(spec, "bars")

    assert [(row["times"], row["said"], row["low"], row["high"]) for row in values(spec, told)] == [
        (0.003, "too low", 0.0, 0.5),
        (0.003, "inconclusive", 0.5, 1.0),
        (1, "fine", 0.0, 1.0),
        (10, "too high or diverged", 0.0, 1.0),
    ]
    assert [row["count"] for row in values(spec, true)] == [2, 1, 2]
    assert spec["title"]["subtitle"][0].startswith("5 watched runs")


def test_the_picture_of_the_guard_has_the_counts() -> None:
    spec = guard_chart(guard_info(TRIALS)).to_dict()
    (bars,) = named(spec, "bars")

    assert [row["share"] for row in values(spec, bars)] == [0.5, 0.5, 1.0, 0.0]
    assert texts(spec) == ["1 of 2", "1 of 2", "1 of 1", "0 of 1"]


def test_all_pictures_of_the_page_are_drawn_and_shown_on_it(tmp_path: Path) -> None:
    drawn = {path.name for path in draw_all(tmp_path)}
    page = (PICTURES_FOLDER.parent.parent / "benchmarks.md").read_text(encoding="utf-8")

    assert drawn == {path.name for path in PICTURES_FOLDER.iterdir()}
    assert all(f"](images/benchmarks/{name})" in page for name in drawn)


def test_the_guards_picture_in_the_repository_is_that_of_its_record(tmp_path: Path) -> None:
    counts = [f"{one.count} of {one.of}" for one in guard_info(read_rows(FAULTS_FILE))]
    svg = (PICTURES_FOLDER / "guard.svg").read_text(encoding="utf-8")

    assert all(f">{text}<" in svg for text in counts)
