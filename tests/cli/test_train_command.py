"""`stepsize train` trains once, and draws how it went."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Invoke, WriteTask
from tests.views.chart_specs import named, values

import stepsize
from stepsize.cli.train import chart
from stepsize.training.stepping import rung_schedule


def small_task(steps: int = 60) -> stepsize.Task:
    x = torch.randn(64, 3)
    y = x.sum(1, keepdim=True) + 0.3 * torch.randn(64, 1)
    schedule = stepsize.build_task("cancer-mlp", steps=steps, device="cpu").schedule
    return stepsize.Task(
        model=lambda: torch.nn.Linear(3, 1),
        loss=torch.nn.functional.mse_loss,
        train=(x, y),
        val=(x, y),
        optimizer="sgd",
        steps=steps,
        schedule=schedule,
        device="cpu",
    )


def test_its_json_is_the_run_of_the_library(invoke: Invoke) -> None:
    given = ("--lr", "0.01", "--steps", "40", "--seed", "5", "--evals", "4", "--device", "cpu")
    done = invoke("train", "cancer-mlp", *given, "--json")

    task = stepsize.build_task("cancer-mlp", steps=40, device="cpu")
    run = stepsize.train(task, 0.01, seed=5, evals=(10, 20, 30, 40))

    told = json.loads(done.stdout)
    assert done.exit_code == 0
    assert (told["lr"], told["seed"], told["steps"]) == (0.01, 5, 40)
    assert told["losses"] == run.losses.tolist()
    assert told["val_loss"] == run.val_loss
    assert [seen["step"] for seen in told["evaluations"]] == [10, 20, 30, 40]
    assert told["evaluations"][-1]["metrics"] == dict(run.evaluations[-1].metrics)
    assert told["diverged_at_step"] is None


def test_people_read_losses_conditions_and_how_it_ended(invoke: Invoke, write_task: WriteTask, tmp_path: Path) -> None:
    done = invoke("train", write_task(), "--lr", "0.1", "--plot", "run.svg")

    assert done.exit_code == 0
    for name in ("learning rate", "training loss", "validation loss", "cost"):
        assert name in done.stdout
    assert "SGD, schedule constant, 60 steps, seed 0" in done.stdout
    assert "Trained for 60 steps." in done.stdout
    assert "train small: 100%, step 60 of 60" in done.stderr
    assert "Loss vs. step: small at lr 0.1" in (tmp_path / "run.svg").read_text(encoding="utf-8")


def test_a_training_that_diverged_exits_with_three_and_strict_json(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("train", write_task(), "--lr", "1e30", "--json", "--plot", "run.svg")

    told = json.loads(done.stdout, parse_constant=pytest.fail)
    assert done.exit_code == 3
    assert told["diverged_at_step"] == 1
    assert told["train_loss"] is None
    assert told["losses"][-1] is None
    assert Path("run.svg").exists()
    shown = invoke("train", write_task(), "--lr", "1e30")
    assert shown.exit_code == 3
    assert "Diverged at step 1: the loss became" in shown.stdout
    assert "training loss" not in shown.stdout


def test_more_evaluations_than_steps_evaluate_each_step_once(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("train", write_task(), "--lr", "0.1", "--steps", "3", "--evals", "10", "--json")

    assert [seen["step"] for seen in json.loads(done.stdout)["evaluations"]] == [1, 2, 3]


def test_the_chart_shows_the_rate_of_each_step() -> None:
    task = small_task()
    run = stepsize.train(task, 0.1, evals=(30, 60))

    spec = chart(run, task).to_dict()

    factor = rung_schedule(task, 60)
    [rates], [evals] = named(spec, "lr"), named(spec, "evals")
    assert [row["y"] for row in values(spec, rates)] == [0.1 * factor(step) for step in range(60)]
    assert [row["x"] for row in values(spec, evals)] == [30, 60]
    assert named(spec, "smoothed")
    assert spec["title"]["subtitle"][0].startswith("SGD, schedule ")


def test_a_rate_that_follows_the_validation_loss_tells_what_was_chosen(invoke: Invoke, write_task: WriteTask) -> None:
    task = write_task("task = make(steps=80)")
    done = invoke("train", task, "--lr", "1e-3", "--follow", "--plot", "f.svg")
    assert done.exit_code == 0, done.stderr
    assert ", begun at 0.001" in done.stdout
    assert re.search(r"chosen +lr \S+ reached \S+, the lowest of 2 full runs", done.stdout)
    assert "full runs" in done.stdout
    assert Path("f.svg").exists()
    told = json.loads(invoke("train", task, "--lr", "1e-3", "--follow", "--json").stdout)
    assert told["start"] == 1e-3
    assert [one["share"] for one in told["tried"]][-1] == 1.0
