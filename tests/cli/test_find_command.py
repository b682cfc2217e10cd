"""`stepsize find` gives the library's answer: in words for people, as JSON for machines, as a chart."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, WriteTask

import stepsize
from stepsize.views import number_text

KEYS = {"lr", "as_good", "sure", "verdict", "reason", "cost", "next", "curve", "conditions", "restored"}
NOTHING_LEARNED = "task = make(loss=lambda output, target: 0 * output.sum() + 1)"
STOPS = """\
calls = 0

def loss(output, target):
    global calls
    calls += 1
    if calls == {}:
        raise KeyboardInterrupt
    return nn.functional.mse_loss(output, target)

task = make(loss=loss)"""


def test_its_json_is_the_answer_of_the_library(invoke: Invoke) -> None:
    done = invoke(
        "find", "cancer-mlp", "--budget", "2.5", "--until", "3%", "--steps", "80", "--seed", "3", "--device", "cpu",
        "--json",
    )  # fmt: skip

    found = stepsize.find(stepsize.build_task("cancer-mlp", steps=80, device="cpu"), 0.03, 2.5, seed=3)

    told = json.loads(done.stdout)
    assert set(told) >= KEYS
    assert told["lr"] == found.lr
    assert {run["seed"] for run in told["runs"]} == {3}
    assert (told["verdict"], told["reason"], told["sure"]) == (found.verdict, found.answer.reason, found.sure)
    assert told["curve"] == json.loads(json.dumps(found.to_json()["curve"]))
    assert done.exit_code == 0
    assert done.stderr == ""


def test_people_read_the_rate_the_range_the_verdict_what_it_is_for_what_it_cost_and_a_chart(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    task = write_task()

    told = json.loads(invoke("find", task, "--budget", "4", "--json").stdout)
    done = invoke("find", task, "--budget", "4", "--plot", "lr.svg")

    assert done.exit_code == 0
    lines = [line.strip() for line in done.stdout.splitlines()]
    assert f"learning rate {number_text(told['lr'])}" in lines, "on a line of its own"
    assert f"as good from {number_text(told['as_good'][0])} to {number_text(told['as_good'][1])}" in lines
    assert f"{told['verdict'].capitalize()}. {told['reason']}" in lines
    assert "valid for  SGD, schedule constant, 60 steps, batch size 32" in done.stdout
    cost = told["cost"]
    assert f"{number_text(cost['full_runs'])} full runs in {cost['runs']} runs, " in done.stdout
    assert "(budget 4 full runs)" in done.stdout
    assert f"Chart saved to {tmp_path / 'lr.svg'}" in done.stderr
    assert "Loss vs. learning rate: small" in (tmp_path / "lr.svg").read_text(encoding="utf-8")


def test_a_settled_answer_says_how_to_train_with_it(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task()
    options = ("--budget", "30", "--until", "40%", "--optimizer", "adam", "--steps", "80")

    told = json.loads(invoke("find", task, *options, "--json").stdout)
    done = invoke("find", task, *options)

    assert told["verdict"] in ("settled", "flat")
    train = f"stepsize train mine.py --lr {number_text(told['lr'])} --optimizer adam --steps 80"
    assert told["next"] == train
    assert done.stderr.rstrip().endswith(f"Train with it: {train}")
    assert "stepsize train" not in done.stdout
    assert invoke(*shlex.split(train)[1:]).exit_code == 0, "it can be pasted"


def test_an_open_answer_exits_with_zero_and_says_how_to_search_on(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task()

    done = invoke("find", task, "--budget", "2", "--until", "0.001", "--store", "s.db", "--name", "mine", "--json")

    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert told["verdict"] == "open"
    assert told["next"] == "stepsize find mine.py --until 0.001 --store s.db --name mine --budget 4"
    further = json.loads(invoke(*shlex.split(told["next"])[1:], "--json").stdout)
    first, second = told["runs"], further["runs"]
    assert second[: len(first)] == first
    assert len(second) > len(first)


@pytest.mark.parametrize(("given", "doubled"), [("0.3", "1"), ("2s", "4s"), ("40s", "1.33min")])
def test_the_larger_budget_has_the_unit_of_the_smaller(
    invoke: Invoke, write_task: WriteTask, given: str, doubled: str
) -> None:
    task = write_task("task = make(loss=lambda output, target: nn.functional.mse_loss(output, target), steps=40)")
    told = json.loads(invoke("find", task, "--budget", given, "--until", "20%", "--json").stdout)
    if told["verdict"] in ("settled", "flat"):
        assert told["next"].startswith("stepsize train mine.py --lr ")
    else:
        assert told["next"] == f"stepsize find mine.py --until 0.2 --budget {doubled}"


def test_progress_says_what_is_tried_and_why(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("find", write_task(), "--budget", "9", "--until", "0.0001", "--steps", "64")

    told = [line for line in done.stderr.splitlines() if line.startswith("find small (9 full runs): ")]
    assert 5 <= len(told) <= 10
    assert "short run of 15 steps to locate the rate: lr " in done.stderr
    assert "full run: lr " in done.stderr
    assert " so far, as good from " in told[-1]
    assert "at most " in told[0]


def test_one_batch_without_validation_data_is_enough_and_the_verdict_says_so(
    invoke: Invoke, write_task: WriteTask
) -> None:
    done = invoke("find", write_task("task = make(train=[(x, y)], val=None)"), "--budget", "2")

    assert done.exit_code == 0
    assert "batch size 64" in done.stdout
    assert "No validation data: the training loss selected" in done.stdout


def test_no_answer_exits_with_three_and_asks_to_look_at_the_model(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    done = invoke("find", write_task(NOTHING_LEARNED), "--budget", "5", "--plot", "lr.svg")

    assert done.exit_code == 3
    assert "learning rate" not in done.stdout
    assert "No answer. No rate from " in done.stdout
    assert "Train for more steps, or check the data and the loss." in done.stderr
    assert done.stderr.rstrip().endswith("Next: stepsize profile mine.py")
    assert (tmp_path / "lr.svg").exists()


def test_where_the_budget_pays_for_nothing_there_is_no_chart_and_it_is_said(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    done = invoke("find", write_task(), "--budget", "0.001", "--plot", "lr.svg", "--json")

    assert done.exit_code == 3
    told = json.loads(done.stdout)
    assert told["runs"] == []
    assert told["next"] == "stepsize find mine.py --budget 1"
    assert "No chart: there is nothing to draw." in done.stderr
    assert not (tmp_path / "lr.svg").exists()


def test_ctrl_c_prints_what_is_known_and_how_to_continue(invoke: Invoke, write_task: WriteTask) -> None:
    given = ("find", write_task(STOPS.format(150)), "--budget", "20", "--until", "0.0001")
    done = invoke(*given, "--store", "s.db")

    assert done.exit_code == 130
    assert "learning rate " in done.stdout
    assert "Open. " in done.stdout
    again = "stepsize find mine.py --until 0.0001 --store s.db --budget 20"
    assert done.stderr.rstrip().endswith(f"Stopped. The runs are saved. Continue with: {again}")

    without_store = invoke(*given, "--json")
    told = json.loads(without_store.stdout)
    assert without_store.exit_code == 130
    assert told["cost"]["stopped"] == "interrupted"
    assert told["next"] == "stepsize find mine.py --until 0.0001 --budget 20"
    assert "Nothing was saved; with --store FILE" in without_store.stderr


def test_ctrl_c_before_any_training_is_one_line(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("find", write_task(STOPS.format(1)), "--budget", "20")

    assert (done.exit_code, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["Interrupted before an answer was found."]
