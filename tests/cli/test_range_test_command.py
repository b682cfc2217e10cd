"""`stepsize range-test` gives the library's range test."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Invoke, WriteTask

import stepsize


def test_its_json_is_the_answer_of_the_library(invoke: Invoke) -> None:
    given = ("--lr", "1e-5:5", "--steps", "80", "--seed", "2", "--device", "cpu")
    done = invoke("range-test", "cancer-mlp", *given, "--json")

    found = stepsize.range_test(stepsize.build_task("cancer-mlp", device="cpu"), lr=(1e-5, 5.0), steps=80, seed=2)

    told = json.loads(done.stdout)
    assert told["lr"] == found.lr
    assert told["curve"]["lr"] == found.lrs.tolist()
    assert told["verdict"] == found.verdict
    assert done.exit_code == (3 if found.lr is None else 0)


def test_people_read_the_rates_and_what_they_are_for(invoke: Invoke, write_task: WriteTask, tmp_path: Path) -> None:
    done = invoke("range-test", write_task(), "--plot", "range.svg")

    assert done.exit_code == 0
    for name in ("learning rate 0.", "Open. ", "over the noise", "loss falls from", "diverges at", "critical rate"):
        assert name in done.stdout
    assert "SGD, constant rate, first steps only" in done.stdout
    assert "For full runs: stepsize find " in done.stderr
    assert "range-test small:" in done.stderr
    assert f"Chart saved to {tmp_path / 'range.svg'}" in done.stderr
    assert "Range test of small" in (tmp_path / "range.svg").read_text(encoding="utf-8")


def test_another_optimizer_can_be_tested(invoke: Invoke, write_task: WriteTask) -> None:
    assert "AdamW, constant rate" in invoke("range-test", write_task(), "--optimizer", "adamw").stdout


def test_a_test_without_an_answer_exits_with_three(invoke: Invoke, write_task: WriteTask) -> None:
    done = invoke("range-test", write_task(), "--lr", "1e-9:1e-8")

    assert done.exit_code == 3
    assert "No answer. " in done.stdout
    assert "learning rate" not in done.stdout
