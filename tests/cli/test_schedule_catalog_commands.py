"""`stepsize schedule list` shows the catalog; `stepsize schedule compare` puts schedules side by side."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import Invoke

from stepsize.schedules import SCHEDULES, SHAPES, cosine, diff, linear, parse


def test_every_schedule_and_shape_is_listed_with_its_facts(invoke: Invoke) -> None:
    told = json.loads(invoke("schedule", "list", "--json").stdout)

    assert [entry["name"] for entry in told["schedules"]] == list(SCHEDULES)
    for entry in told["schedules"]:
        known = SCHEDULES[entry["name"]]
        assert (entry["title"], entry["formula"], entry["source"]) == (known.title, known.formula, known.source)
        assert parse(entry["written"]) == known.example
        assert [each["name"] for each in entry["parameters"]] == [each.name for each in known.parameters]
    assert [shape["name"] for shape in told["shapes"]] == list(SHAPES)
    assert told["shapes"][-1]["parameters"] == [{"name": "lower", "default": -7.0}, {"name": "upper", "default": 3.0}]


def test_people_read_names_formulas_and_examples(invoke: Invoke) -> None:
    done = invoke("schedule", "list")

    for entry in SCHEDULES.values():
        for text in (entry.name, entry.title, entry.formula, entry.written):
            assert text in done.stdout
    assert all(shape.title in done.stdout for shape in SHAPES.values())
    assert "stepsize schedule list cosine" in done.stderr


def test_one_schedule_is_shown_with_all_it_takes(invoke: Invoke) -> None:
    told, shown = invoke("schedule", "list", "one-cycle", "--json"), invoke("schedule", "list", "one-cycle")

    assert json.loads(told.stdout)["name"] == "one-cycle"
    assert "three_phase (flag)" in shown.stdout
    assert "Smith and Topin" in shown.stdout
    assert "triangular" not in shown.stdout


def test_compared_schedules_have_the_figures_of_the_library(invoke: Invoke) -> None:
    given = ("linear warmup=5%", "cosine warmup=5%", "--steps", "1000", "--lr", "0.1", "--json")
    told = json.loads(invoke("schedule", "compare", *given).stdout)

    a, b = linear(1_000, warmup="5%"), cosine(1_000, warmup="5%")
    assert told["lr"] == 0.1
    for schedule, found, letter in zip((a, b), told["schedules"], "AB", strict=True):
        factors = schedule.factors()
        assert (found["letter"], found["steps"]) == (letter, 1_000)
        assert parse(found["in_steps"]) == schedule
        assert (found["first"], found["last"]) == (0.1 * factors[0], 0.1 * factors[-1])
        assert (found["peak"], found["peak_step"]) == (0.1, 50)
        assert found["effective_steps"] == factors.sum()
    assert told["schedules"][0]["against_first"] is None
    assert told["schedules"][1]["against_first"] == diff(a, b).to_json()


def test_people_read_where_schedules_part(invoke: Invoke, tmp_path: Path) -> None:
    written = ("linear 100", "linear", "cosine")
    done = invoke("schedule", "compare", *written, "--steps", "100", "--lr", "0.5", "--plot", "all.svg")

    lines = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    drawn = (tmp_path / "all.svg").read_text(encoding="utf-8")
    assert done.exit_code == 0
    assert ["A", "linear 100", "100", "0.5", "0.5", "0", "0.005", "50.5"] in lines
    assert ["B", "same"] in lines
    assert ["C", "differs", "1", "22", "0.39", "0.4426", "× 1"] in lines
    for text in ("A: linear 100", "B: linear", "C: cosine", "3 schedules over 100 steps"):
        assert text in drawn


def test_schedules_of_different_lengths_are_compared_over_the_longer(invoke: Invoke) -> None:
    given = ("cosine 100", "cosine 200")
    told = json.loads(invoke("schedule", "compare", *given, "--plot", "two.svg", "--json").stdout)
    shown = invoke("schedule", "compare", "constant 100", "constant 200")

    assert [found["steps"] for found in told["schedules"]] == [100, 200]
    assert told["schedules"][1]["against_first"]["lengths"] == [100, 200]
    assert "other length" in shown.stdout


def test_the_schedule_in_steps_can_be_read_back(invoke: Invoke) -> None:
    told = json.loads(invoke("schedule", "linear 4 | repeated 3 | floored 0.2", "--json").stdout)

    assert parse(told["in_steps"]) == linear(4).repeated(3).floored(at=0.2)
