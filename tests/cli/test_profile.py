"""`stepsize profile` gives the library's profile."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke, WriteTask

import stepsize
from stepsize.probe import profile


def test_its_json_is_the_answer_of_the_library(invoke: Invoke) -> None:
    given = ("--optimizer", "momentum", "--seed", "2", "--batches", "6", "--device", "cpu")
    done = invoke("profile", "cancer-mlp", *given, "--json")

    found = profile(stepsize.build_task("cancer-mlp", optimizer="momentum", device="cpu"), seed=2, batches=6)

    told, expected = json.loads(done.stdout), found.to_json()
    assert done.exit_code == 0
    assert told["measured"] == json.loads(json.dumps(expected["measured"]))
    assert told["advice"] == json.loads(json.dumps(expected["advice"]))
    assert told["cost"]["passes"] == expected["cost"]["passes"]


def test_people_read_what_was_measured_and_what_to_do(invoke: Invoke, write_task: WriteTask, tmp_path: Path) -> None:
    done = invoke("profile", write_task(), "--plot", "profile.svg")

    assert done.exit_code == 0
    assert "small  SGD, batch size 32, 60 steps" in done.stdout
    for name in ("noise scale at the start", "critical rate after 5 steps", "spread of the target"):
        assert name in done.stdout
    assert "1. Rate. Search for the peak rate between" in done.stdout
    assert "Evidence: The critical rate was" in done.stdout
    assert "To confirm: stepsize.find(task, budget=1.0)" in done.stdout
    assert "quantities measured at the cost of" in done.stdout
    assert "profile small:" in done.stderr
    assert f"Chart saved to {tmp_path / 'profile.svg'}" in done.stderr
    assert "Profile of small" in (tmp_path / "profile.svg").read_text(encoding="utf-8")


def test_what_is_not_known_is_said(invoke: Invoke, write_task: WriteTask) -> None:
    code = "task = make(loss=lambda model, batch: nn.functional.mse_loss(model(batch[0]), batch[1]))"
    assert (
        "Not measured: Loss of a constant prediction: the loss takes the model"
        in invoke("profile", write_task(code)).stdout
    )
