"""`stepsize compare` gives the library's answer: as a table for people, as JSON for machines, as a chart."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke, WriteTask

import stepsize

SMALL = ("--optimizers", "sgd,adam", "--trials", "4", "--seeds", "2")


def test_its_json_is_the_answer_of_the_library(invoke: Invoke) -> None:
    done = invoke("compare", "cancer-mlp", *SMALL, "--steps", "30", "--store", "none", "--json", "--device", "cpu")
    task = stepsize.build_task("cancer-mlp", steps=30, device="cpu")
    found = stepsize.compare(task, ["sgd", "adam"], trials=4, seeds=2)
    told = json.loads(done.stdout)
    assert told["verdict"] == found.verdict
    assert [one["name"] for one in told["contenders"]] == [one.name for one in found.contenders]
    assert [one["values"] for one in told["contenders"]] == [
        {str(seed): value for seed, value in one.values.items()} for one in found.contenders
    ]
    assert done.exit_code == 0
    assert done.stderr == ""


def test_people_read_a_table_and_a_verdict_and_it_goes_on_where_it_was(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task("task = make(steps=120)")
    done = invoke("compare", task, *SMALL, "--plot", "c.svg")
    assert done.exit_code == 0, done.stderr
    head = next(line for line in done.stdout.splitlines() if "val loss" in line)
    for column in ("lr", "std over seeds", "train loss", "steps to", "as good (×)", "diverges at", "tuning"):
        assert column in head
    assert "4 tuning runs on one seed, then 2 final runs on other seeds" in done.stdout
    assert "contender" not in done.stdout
    assert "Next: " in done.stderr
    assert Path("c.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "12 of 12 runs" in done.stderr
    again = invoke("compare", task, *SMALL, "--json")
    kept = json.loads(again.stdout)
    assert kept["cost"]["full_runs"] > 5
    assert again.exit_code == 0
    assert Path("stepsize.db").is_file()


def test_each_schedule_is_a_contender(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke(
        "compare", write_task(), "--optimizer", "sgd", "--schedule", "constant", "--schedules", "cosine",
        "--trials", "3", "--seeds", "1", "--store", "none",
    )  # fmt: skip
    assert "sgd with constant" in done.stdout
    assert "sgd with cosine" in done.stdout


def test_no_answer_has_its_own_exit_code(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task("task = make(loss=lambda p, t: nn.functional.mse_loss(p, t) * 1e30, steps=20)")
    done = invoke("compare", task, "--optimizers", "sgd", "--trials", "3", "--seeds", "1", "--store", "none")
    assert done.exit_code == 3, done.stdout
    assert "diverged" in done.stdout
