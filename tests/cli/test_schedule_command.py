"""`stepsize schedule` shows what a schedule will do: key points, length, chart, table."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import Invoke

from stepsize.schedules import (
    Clock,
    HyperparameterSchedule,
    Peaks,
    constant,
    cooldown,
    cosine,
    one_cycle_momentum,
    parse,
    preview,
    warmup,
)

WRITTEN = "warmup 5% linear, constant 75%, cooldown 20% 1-sqrt"


def test_its_json_is_the_preview_of_the_library(invoke: Invoke) -> None:
    given = ("--momentum", "0.9", "--weight-decay", "0.1", "--decay-rule", "corrected")
    done = invoke("schedule", WRITTEN, "--steps", "10000", "--lr", "3e-3", *given, "--json")

    eta = warmup("5%").then(constant("75%")).then(cooldown("20%")).over(10_000)
    seen = preview(HyperparameterSchedule(eta, weight_decay="corrected"), Peaks(3e-3, momentum=0.9, weight_decay=0.1))
    told = json.loads(done.stdout, parse_constant=pytest.fail)
    assert done.exit_code == 0
    assert told["schedule"] == "warmup 5%, constant 75%, cooldown 20%"
    assert parse(told["in_steps"]) == eta
    assert told["steps"] == 10_000
    assert told["effective_steps"] == seen.effective_steps
    assert told["peaks"] == {"lr": 3e-3, "momentum": 0.9, "weight_decay": 0.1}
    assert [(point["step"], point["what"]) for point in told["points"]] == [(p.step, p.what) for p in seen.points]
    for point in told["points"]:
        assert point["factor"] == seen.factors[point["step"]]
        for key in ("lr", "momentum", "weight_decay", "effective_lr", "timescale"):
            column = getattr(seen.values, key)
            expected = float(column[point["step"]])
            assert point[key] == (expected if np.isfinite(expected) else None)


def test_people_read_key_points_length_and_the_written_form(invoke: Invoke) -> None:
    done = invoke("schedule", WRITTEN, "--steps", "10000", "--lr", "3e-3", "--weight-decay", "0.1")

    lines = [re.split(r"\s{2,}", line.strip()) for line in done.stdout.splitlines()]
    assert done.exit_code == 0
    assert ["500", "peak", "1", "0.003", "0.1", "3333"] in lines
    assert ["10,000", "after the end", "0", "0", "0.1", "∞"] in lines
    assert ["length", "10,000 steps, 8,417 effective steps (sum of factors)"] in lines
    assert ["schedule", "warmup 5%, constant 75%, cooldown 20%"] in lines
    assert ["in steps", "warmup 500, constant 7500, cooldown 2000"] in lines
    assert done.stderr == ""


def test_only_the_columns_that_exist_are_shown(invoke: Invoke) -> None:
    bare, full = invoke("schedule", "cosine 100"), invoke("schedule", "cosine 100", "--lr", "1", "--momentum", "0.9")

    assert bare.stdout.splitlines()[0].split() == ["step", "what", "factor"]
    assert "Factors of the peak rate; with --lr X they become rates." in bare.stderr
    assert full.stdout.splitlines()[0].split() == ["step", "what", "factor", "lr", "momentum", "lr/(1−m)"]


@pytest.mark.parametrize("columns", ["80", "120"])
def test_all_columns_fit_a_terminal(invoke: Invoke, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    given = ("--lr", "3e-3", "--momentum", "0.95", "--weight-decay", "0.1")

    done = invoke("schedule", "cosine", "--steps", "100000", *given)

    table = done.stdout.split("\n\n")[0].splitlines()
    assert len(table) == 2 + 3  # a header of two lines, three points
    assert max(map(len, table)) <= int(columns)


def test_show_may_be_written_out_and_options_may_come_first(invoke: Invoke) -> None:
    short, long = invoke("schedule", "cosine 9", "--json"), invoke("schedule", "show", "cosine 9", "--json")

    assert short.stdout == long.stdout == invoke("schedule", "--json", "cosine 9").stdout
    assert invoke("schedule", "warmup", "5%,", "cosine", "--steps", "100", "--json").exit_code == 0


def test_a_schedule_without_open_durations_uses_its_own_length(invoke: Invoke) -> None:
    steps = invoke("schedule", "warmup 50, cosine 150", "--json")
    epochs = invoke("schedule", "warmup 1ep, cosine 2ep", "--steps-per-epoch", "39.5", "--json")

    assert json.loads(steps.stdout)["steps"] == 200
    assert json.loads(epochs.stdout)["steps"] == 119


def test_other_units_go_through_the_clock(invoke: Invoke) -> None:
    clock = {"batch_size": 8, "accumulate": 4, "world_size": 2, "sequence_length": 1024, "steps_per_epoch": 390}
    given = [part for name, value in clock.items() for part in (f"--{name.replace('_', '-')}", value)]

    told = json.loads(invoke("schedule", "warmup 1.5M tok, cosine", "--steps", "3ep", *given, "--json").stdout)

    assert told["steps"] == 3 * 390
    eta = cosine(warmup="1.5M tok").over("3ep", Clock(**clock))
    assert parse(told["in_steps"]) == eta


def test_a_scheduled_momentum_keeps_the_effective_rate_and_lr_at_the_peak(invoke: Invoke) -> None:
    momentum = "one-cycle start=0.95 peak=0.85 end=0.95"
    given = ("--steps", "1000", "--lr", "0.1", "--momentum", momentum, "--keep-effective", "--json")

    told = json.loads(invoke("schedule", "wsd", *given).stdout)

    points = {point["what"]: point for point in told["points"]}
    assert points["peak"]["lr"] == pytest.approx(0.1, rel=1e-12)
    effective = points["peak"]["effective_lr"]
    assert points["highest lr"]["lr"] > 0.2
    assert points["highest lr"]["momentum"] == pytest.approx(0.85)
    for point in told["points"]:
        assert point["effective_lr"] == pytest.approx(effective * point["factor"], rel=1e-12)
        assert point["momentum"] == one_cycle_momentum(1_000)(point["step"])


def test_the_chart_shows_what_the_table_shows(invoke: Invoke, tmp_path: Path) -> None:
    given = ("--lr", "3e-3", "--momentum", "0.9", "--weight-decay", "0.1", "--plot", "out.svg")
    done = invoke("schedule", WRITTEN, "--steps", "1000", *given)

    drawn = (tmp_path / "out.svg").read_text(encoding="utf-8")
    assert done.exit_code == 0
    assert "Chart saved to" in done.stderr
    for text in ("warmup 5%, constant 75%, cooldown 20%", "learning rate", "momentum", "weight decay", "peak"):
        assert text in drawn
    assert invoke("schedule", "exp gamma=0.1 every=10 steps=50", "--log", "--plot", "log.svg").exit_code == 0
    assert "1e-4" in (tmp_path / "log.svg").read_text(encoding="utf-8")


def test_the_csv_holds_every_update_exactly(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("schedule", "cosine 50", "--lr", "0.1", "--weight-decay", "0.1", "--csv", "out.csv")

    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert done.exit_code == 0
    assert [int(row["step"]) for row in rows] == list(range(50))
    assert [float(row["factor"]) for row in rows] == cosine(50).factors().tolist()
    assert [float(row["lr"]) for row in rows] == (0.1 * cosine(50).factors()).tolist()
    assert [float(row["timescale"]) for row in rows] == (1 / (0.1 * cosine(50).factors() * 0.1)).tolist()
    assert {row["momentum"] for row in rows} == {""}


def test_a_mistake_is_shown_under_its_place_with_brackets_and_all(invoke: Invoke) -> None:
    done = invoke("schedule", "warmup 5%, constant [bold]75%[/bold], cooldown 20%", "--steps", "100")

    lines = done.stderr.splitlines()
    assert done.exit_code == 2
    assert lines[0] == "Error: the schedule cannot be read at character 21:"
    assert lines[1] == "  warmup 5%, constant [bold]75%[/bold], cooldown 20%"
    assert lines[2].index("^") == lines[1].index("[")
    assert "Traceback" not in done.stderr
