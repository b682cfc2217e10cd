"""`stepsize range-test` gives the library's range test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Invoke, WriteTask

import stepsize
from stepsize.cli.range_test import EXAMPLE


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--lr", "1:0.1"), "lr must be a pair (low, high) of rates with 0 < low < high"),
        (("--lr=-1:0.1",), "lr must be a pair (low, high) of rates with 0 < low < high"),
        (("--lr", "0.1"), "--lr must be two numbers with a colon between them; got '0.1'. For example --lr 1e-6:1"),
        (("--steps", "5"), "steps must be a whole number, at least 10; got 5"),
    ],
)
def test_bad_input_is_named(invoke: Invoke, write_task: WriteTask, options: tuple[str, ...], message: str) -> None:
    done = invoke("range-test", write_task(), *options)

    assert done.exit_code == 2
    assert f"Error: {message}" in done.stderr
    assert done.stdout == ""


def test_its_help_has_an_example(invoke: Invoke) -> None:
    assert f"Example: {EXAMPLE}" in invoke("range-test", "--help").stdout
