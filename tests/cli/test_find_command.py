"""`stepsize find` gives the library's answer: as a table for people, as JSON for machines, as a chart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, WriteTask

import stepsize
from stepsize.cli.find import EXAMPLE
from stepsize.views import number_text

KEYS = {"lr", "interval", "verdict", "cost", "curve", "restored"}


def test_its_json_is_the_answer_of_the_library(invoke: Invoke) -> None:
    done = invoke(
        "find",
        "cancer-mlp",
        "--budget",
        "0.9",
        "--steps",
        "200",
        "--seed",
        "3",
        "--gain",
        "1",
        "--json",
        "--device",
        "cpu",
    )

    found = stepsize.find(stepsize.build_task("cancer-mlp", steps=200, device="cpu"), 0.9, seed=3, gain=1)

    told = json.loads(done.stdout)
    assert set(told) >= KEYS
    assert told["lr"] == found.lr
    assert {run["seed"] for run in told["curve"]["runs"]} == {3}
    assert told["verdict"] == found.verdict.code
    assert told["curve"] == json.loads(json.dumps(found.to_json()["curve"]))
    assert done.exit_code == (0 if found.verdict.trustworthy else 3)
    assert done.stderr == ""


def test_people_read_the_rate_what_it_is_for_and_what_it_cost(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task("task = make(steps=400)")

    told = json.loads(invoke("find", task, "--gain", "1", "--json").stdout)
    done = invoke("find", task, "--gain", "1")

    assert done.exit_code == 0
    assert f"learning rate  {number_text(told['lr'])} " in done.stdout
    assert "SGD, schedule constant, 400 steps, batch size 32, judged by validation loss" in done.stdout
    assert "of 1 trainings in" in done.stdout
    assert f"{told['verdict'].capitalize()}. {told['reason']}" in done.stdout


def test_progress_and_the_next_command_go_to_stderr(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("find", write_task(), "--optimizer", "adam", "--steps", "400")

    assert "find small:" in done.stderr
    assert "steps at lr" in done.stderr
    assert "best so far" in done.stderr
    assert "Train with it: stepsize train mine.py --lr" in done.stderr
    assert done.stderr.rstrip().endswith("--optimizer adam --steps 400")
    assert "stepsize train" not in done.stdout


def test_without_unseen_data_the_verdict_says_so(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("find", write_task("task = make(val=None, steps=400)"))

    assert done.exit_code == 0
    assert "judged by training loss" in done.stdout
    assert "There are no unseen data" in done.stdout


def test_one_batch_is_enough(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("find", write_task("task = make(train=[(x, y)], val=[(x, y)], steps=400)"))

    assert done.exit_code == 0
    assert "batch size 64" in done.stdout


def test_the_chart_is_saved_and_its_path_told(invoke: Invoke, write_task: WriteTask, tmp_path: Path) -> None:
    done = invoke("find", write_task("task = make(steps=400)"), "--plot", "lr.svg")

    assert done.exit_code == 0
    assert f"Chart saved to {tmp_path / 'lr.svg'}" in done.stderr
    assert "lr curve of small" in (tmp_path / "lr.svg").read_text(encoding="utf-8")


def test_an_answer_that_cannot_be_trusted_exits_with_three(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    cut_off = "task = make(loss=lambda output, target: 0 * output.sum() + 1)"  # nothing can be learned

    done = invoke("find", write_task(cut_off), "--plot", "lr.svg")

    assert done.exit_code == 3
    assert "learning rate  none" in done.stdout
    assert "No answer." in done.stdout
    assert "Train with it" not in done.stderr
    assert (tmp_path / "lr.svg").exists()


def test_where_the_budget_pays_for_nothing_there_is_no_chart_and_it_is_said(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    done = invoke("find", write_task(), "--budget", "0.001", "--plot", "lr.svg", "--json")

    assert done.exit_code == 3
    assert json.loads(done.stdout)["curve"]["runs"] == []
    assert "No chart: nothing was trained." in done.stderr
    assert not (tmp_path / "lr.svg").exists()


@pytest.mark.parametrize("budget", ["0", "-1", "nan"])
def test_a_budget_must_be_positive(invoke: Invoke, write_task: WriteTask, budget: str) -> None:
    done = invoke("find", write_task(), "--budget", budget)

    assert done.exit_code == 2
    assert "Error: budget must be a positive number of trainings; got" in done.stderr
    assert done.stdout == ""


def test_its_help_has_an_example(invoke: Invoke) -> None:
    done = invoke("find", "--help")

    assert done.exit_code == 0
    assert f"Example: {EXAMPLE}" in done.stdout
