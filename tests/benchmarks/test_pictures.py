"""The pictures of docs/benchmarks.md: what is counted, and that the charts hold it."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from benchmarks.guard_faults import FAULTS_FILE
from benchmarks.pictures import (
    PICTURES_FOLDER,
    Bar,
    Curve,
    Kept,
    draw_all,
    guard_chart,
    guard_info,
    regret_chart,
    regret_info,
    verdicts_chart,
    verdicts_info,
)
from benchmarks.record import read_rows
from benchmarks.searches_picture import Reached, searches_chart, searches_info
from tests.views.chart_specs import named, texts, values


def pick(tool: str, regret: float, task: str = "digits-cnn", **others: Any) -> dict[str, Any]:
    base = {"tool": tool, "task": task, "optimizer": "adamw", "lr": 0.1, "cost": 0.5, "diverged": False}
    return base | {"regret": regret} | others


def watched(times: float, label: str, verdict: str, *, held_out: bool = True) -> dict[str, Any]:
    return {"times": times, "label": label, "verdict": verdict, "held_out": held_out}


def disturbed(fault: str, loss: float, unguarded: float) -> dict[str, Any]:
    return {"fault": fault, "loss": loss, "unguarded": unguarded, "undisturbed": 1.0}


PICKS = [
    pick("stepsize find", 0.03),
    pick("stepsize find", 0.01, cost=1.0),
    pick("stepsize find", 9.0, task="cancer-mlp"),  # of the design
    pick("fixed default", 0.02, diverged=True, cost=None),
    pick("fixed default", 0.02, lr=None, cost=None),
    pick("fixed default", 0.2, cost=None),
    pick("nobody's tool", 0.1),
]
RUNS = [
    watched(0.0031, "too low", "too low"),
    watched(0.0028, "too low", "cannot tell"),
    watched(1.0, "fine", "fine"),
    watched(9.0, "too high", "diverged"),
    watched(11.0, "too high", "too high"),
    watched(1.0, "fine", "too low", held_out=False),
]
TRIALS = [
    disturbed("nan gradient", 1.02, math.inf),
    disturbed("nan gradient", 1.03, 1.0),
    disturbed("poisoned batch", 0.9, 2.0),
]


def test_a_pick_that_diverged_and_no_answer_are_never_below_any_regret() -> None:
    find, fixed = regret_info(PICKS)

    assert find == Curve("stepsize find", (0.01, 0.03), 0.75)
    assert fixed.regrets == (0.2, math.inf, math.inf)
    assert math.isnan(fixed.cost)
    assert [fixed.share(regret) for regret in (0.1, 0.2, 1e9)] == pytest.approx([0, 1 / 3, 1 / 3])


def test_verdicts_are_stacked_at_the_nearest_multiple_on_held_out_tasks() -> None:
    info = verdicts_info(RUNS)

    assert info["told"] == [
        Bar(0.003, "too low", 0.0, 0.5, 1, 2),
        Bar(0.003, "cannot tell", 0.5, 1.0, 1, 2),
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


def test_the_picture_of_regret_has_each_curve_with_its_name_and_no_label_on_another() -> None:
    spec = regret_chart(regret_info(PICKS)).to_dict()
    (curves,) = named(spec, "curves")
    corners = [(row["x"], row["y"]) for row in values(spec, curves) if row["tool"] == "stepsize find"]
    (labels,) = named(spec, "labels")
    places = sorted(row["place"] for row in values(spec, labels))

    assert corners == [(0.001, 0.0), (0.01, 0.5), (0.03, 1.0), (1.0, 1.0)]
    assert texts(spec) == ["stepsize find (0.75)", "fixed default"]
    assert all(below - above >= 16 for above, below in itertools.pairwise(places))
    assert spec["title"]["subtitle"][0].startswith("2 picks a tool")


def test_labels_of_curves_that_end_together_stand_apart() -> None:
    curves = [Curve(tool, (0.1, 0.2), 0.5) for tool in ("stepsize find", "fastai valley", "fixed default")]
    spec = regret_chart(curves).to_dict()

    assert [row["place"] for row in values(spec, named(spec, "labels")[0])] == [0, 16, 32]


def test_the_picture_of_verdicts_has_what_was_told_above_what_is_true() -> None:
    spec = verdicts_chart(verdicts_info(RUNS)).to_dict()
    told, true = named(spec, "bars")

    assert [(row["times"], row["said"], row["low"], row["high"]) for row in values(spec, told)] == [
        (0.003, "too low", 0.0, 0.5),
        (0.003, "cannot tell", 0.5, 1.0),
        (1, "fine", 0.0, 1.0),
        (10, "too high or diverged", 0.0, 1.0),
    ]
    assert [row["count"] for row in values(spec, true)] == [2, 1, 2]
    assert spec["title"]["subtitle"][0].startswith("5 watched trainings")


def searched(trials: int, regret: list[float], *, held_out: bool = True) -> dict[str, Any]:
    return {"search": "random", "trials": trials, "regret": regret, "held_out": held_out}


def test_searches_stand_beside_find_and_each_task_has_the_same_weight() -> None:
    rows = [searched(3, [0.1] * 30), searched(3, [0.3]), searched(3, [9.0], held_out=False), searched(10, [0.05])]
    find, three, ten = searches_info(rows, PICKS)

    assert (find.name, find.cost) == ("stepsize find", 0.75)
    assert find.median == pytest.approx(0.02)
    assert (three.name, three.cost) == ("random", 3.0)
    assert three.p90 == pytest.approx(0.3, abs=0.05)
    assert ten == Reached("random", 10.0, 0.05, 0.05)


def test_the_picture_of_searches_has_every_point_in_both_panels() -> None:
    found = [Reached("stepsize find", 0.9, 0.03, 0.1), Reached("grid", 3.0, 0.2, 0.6), Reached("grid", 10.0, 0.1, 0.3)]
    spec = searches_chart(found).to_dict()

    panels = [[(row["name"], row["cost"]) for row in values(spec, layer)] for layer in named(spec, "dots")]
    assert panels == [[("stepsize find", 0.9), ("grid", 3.0), ("grid", 10.0)]] * 2


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
