"""The one table and the one picture of regret, and what find said of its answers beside what is true."""

from __future__ import annotations

from typing import Any

import pytest
from benchmarks.methods import (
    Reached,
    calibration_table,
    methods_chart,
    methods_table,
    promised_table,
    quantiles,
    reached,
)
from benchmarks.replay import SETS
from tests.views.chart_specs import named, values


def replay(search: str, trials: int, regret: list[float], task: str = "cancer-mlp", **others: Any) -> dict[str, Any]:
    return {"search": search, "trials": trials, "task": task, "optimizer": "adamw", "regret": regret, **others}


def pick(tool: str, regret: float, task: str = "cancer-mlp", **others: Any) -> dict[str, Any]:
    base = {"tool": tool, "task": task, "optimizer": "adamw", "seed": 100, "lr": 0.1, "cost": 0.5}
    return base | {"regret": regret} | others


REPLAYS = [
    replay("grid", 3, [0.1] * 30),
    replay("grid", 3, [0.3], task="digits-cnn"),
    replay("grid", 10, [0.05]),
    replay("grid", 3, [0.0], task="docs-gpt", set=SETS[1]),
]
PICKS = [
    pick("torch-lr-finder", 0.2),
    pick("torch-lr-finder", 0.4, lr=None, cost=None, seed=101),
    pick("fixed default", 9.0),
    pick("torch-lr-finder", 0.4, seed=102) | {"regret": 0.4, "cost": 1.5},
]


def test_every_training_has_the_same_weight_however_many_seeds_it_has() -> None:
    assert quantiles([[0.1] * 30, [0.3]], [1.0]) == [0.3]
    assert quantiles([[0.1] * 30, [0.3] * 2], [0.75])[0] == pytest.approx(0.3, abs=0.07)


def test_a_method_is_summed_up_set_by_set() -> None:
    found = {(one.method, one.budget, one.set): one for one in reached(REPLAYS, PICKS)}

    assert found["grid", 10.0, SETS[0]] == Reached("grid", 10.0, 10.0, SETS[0], 1, 0.05, 0.05, 0.05)
    assert found["grid", 3.0, SETS[0]].cases == 2
    assert found["grid", 3.0, SETS[1]].worst == 0.0
    tool = found["torch-lr-finder", None, SETS[0]]
    assert (tool.cost, tool.worst, tool.unanswered) == (1.0, 0.4, 1)
    assert not any(method == "fixed default" for method, *_ in found)


def test_the_table_has_a_line_for_each_method_and_cost_and_a_column_for_each_set() -> None:
    lines = methods_table(reached(REPLAYS, PICKS)).splitlines()

    assert lines[0] == "| method | cost in full runs | built-in (2) | unlike, design (1) | no answer |"
    assert lines[3] == "| grid | 10 | 5.0% / 5.0% / 5.0% (of 1) | – | – |"
    assert lines[4] == "| torch-lr-finder | 1 | 40% / 40% / 40% (of 1) | – | 1 |"


def test_what_was_said_stands_beside_what_is_true() -> None:
    said = [
        pick("stepsize find", 0.01, code="settled", sure=0.96, interval=[0.01, 0.1], holds_best=True),
        pick("stepsize find", 0.20, code="settled", sure=0.98, interval=[0.01, 0.1], holds_best=False),
        pick("stepsize find", 0.02, note="open: The budget ended."),
        pick("torch-lr-finder", 0.01, code="settled"),
    ]
    lines = calibration_table(said).splitlines()[2:]

    assert lines[0].startswith("| stepsize find | all (67% decided) | 3 | 0.97 | 67% |")
    assert [line.split(" | ")[1:3] for line in lines[1:]] == [["open", "1"], ["settled", "2"], ["sure 0.95 to 1", "2"]]
    assert lines[2].endswith("| 50% | 1.00 |")
    assert lines[1].endswith("| – | – |")

    apart = calibration_table([*said, pick("stepsize find", 0.5, set=SETS[2], code="open")]).splitlines()[3:5]
    assert [line.split(" | ")[1] for line in apart] == ["built-in (67% decided)", f"{SETS[2]} (0.0% decided)"]


def test_a_decided_answer_is_held_against_its_own_tolerance_on_unseen_and_on_all_seeds() -> None:
    base: dict[str, Any] = {"code": "settled", "tolerance": 0.05}
    said = [
        pick("stepsize find", 0.08, regret_all=0.04, **base),
        pick("stepsize find", 0.01, regret_all=0.01, **base),
        pick("stepsize find", 0.90, regret_all=0.90, code="open", tolerance=0.05),
        pick("torch-lr-finder", 0.01),
    ]
    [line] = promised_table(said).splitlines()[2:]
    assert line.startswith("| stepsize find | built-in | 4.0% / ")
    assert line.endswith(" | 67% | 50% | 100% |")


def test_the_picture_has_every_point_of_its_panel_and_nothing_below_its_edge() -> None:
    picks = [pick("stepsize find", 0.3), pick("stepsize find, budget 3", 0.2, cost=2.8), pick("fastai steep", 0.1)]
    spec = methods_chart(reached(REPLAYS, picks)).to_dict()
    panels = {
        (field, name): [(row["line"], row["cost"], round(row["y"], 3)) for row in values(spec, layer)]
        for field in ("median", "p90")
        for name in SETS[:2]
        for layer in named(spec, f"{field}, {name}")
    }

    finds = [("stepsize find", 0.5, 0.3), ("stepsize find", 2.8, 0.2)]
    assert panels["median", SETS[0]] == [("grid", 3.0, pytest.approx(0.2, abs=0.1)), ("grid", 10.0, 0.05), *finds]
    assert panels["p90", SETS[1]] == [("grid", 3.0, 0.001)]
    assert len(panels) == 4
