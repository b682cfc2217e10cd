"""Answers are strict JSON; progress is told once a tenth, or live, or not at all."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stepsize.cli import progress
from stepsize.cli.output import print_json, strict
from stepsize.cli.progress import metered, search_watcher
from stepsize.training import Progress, Setting
from stepsize.training.runs import Watcher


class Heard:
    """A meter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, str]] = []

    def __call__(self, share: float, now: str, best: str = "") -> None:
        self.told.append((share, now, best))


def trained(watch: Watcher, setting: Setting, losses: list[float]) -> None:
    for step, loss in enumerate(losses, start=1):
        watch(Progress(setting, step, loss))


def test_numbers_that_json_cannot_hold_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"nan": math.nan, "in": [(-math.inf, 1.5)], "text": "µ", "whole": 3, "no": None, "yes": True})

    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told == {"nan": None, "in": [[None, 1.5]], "text": "µ", "whole": 3, "no": None, "yes": True}


def test_strict_leaves_other_values_alone() -> None:
    assert strict({"a": [1, "b", 0.5], 2: False}) == {"a": [1, "b", 0.5], "2": False}


def test_a_file_gets_a_line_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(progress, "messages", lambda: Console(file=file, width=100))

    with metered("train it", quiet=False) as meter:
        for step in range(1, 101):
            meter(step / 100, f"step {step}")

    lines = file.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "train it:  10%, step 10"
    assert lines[-1] == "train it: 100%, step 100"


def test_a_file_gets_nothing_where_quiet_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    monkeypatch.setattr(progress, "messages", lambda: Console(file=file))

    with metered("train it", quiet=True) as meter:
        meter(1.0, "step 1")

    assert file.getvalue() == ""


def test_a_terminal_sees_title_share_and_the_best_even_where_quiet_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=100, color_system=None, _environ={"TERM": "xterm"})
    monkeypatch.setattr(progress, "messages", lambda: terminal)

    with metered("find it", quiet=True) as meter:
        meter(0.42, "37 of 600 steps at lr 0.01", "best so far: lr 0.02")

    shown = file.getvalue()
    assert "find it" in shown
    assert "42%" in shown
    assert "37 of 600 steps at lr 0.01" in shown
    assert "best so far: lr 0.02" in shown


def test_a_search_tells_its_share_of_the_budget_and_what_runs() -> None:
    heard = Heard()
    watch = search_watcher(heard, horizon=100, budget=2.0)

    trained(watch, Setting(0.01, seed=0, steps=10), [1.0] * 10)
    trained(watch, Setting(0.02, seed=0, steps=10), [2.0] * 10)

    share, now, best = heard.told[-1]
    assert share == pytest.approx(20 / 100 / 2)
    assert now == "10 of 100 steps at lr 0.02, loss 2, spent 0.20 of 2 trainings"
    assert best == "best so far: lr 0.01"
    assert heard.told[0][2] == ""


def test_a_longer_run_outranks_shorter_ones_and_its_end_counts() -> None:
    heard = Heard()
    watch = search_watcher(heard, horizon=100, budget=1.0)

    trained(watch, Setting(0.1, seed=0, steps=10), [1.0] * 10)
    trained(watch, Setting(0.2, seed=0, steps=20), [9.0] * 18 + [3.0] * 2)
    after_longer = heard.told[-1][2]
    trained(watch, Setting(0.3, seed=0, steps=20), [0.1] * 18 + [4.0] * 2)
    trained(watch, Setting(0.4, seed=0, steps=10), [0.0] * 10)

    assert after_longer == heard.told[-1][2] == "best so far: lr 0.2"


def test_a_search_never_claims_more_than_the_whole_budget() -> None:
    heard = Heard()

    trained(search_watcher(heard, horizon=10, budget=0.1), Setting(0.1, seed=0, steps=10), [1.0] * 10)

    assert max(share for share, _, _ in heard.told) == 1.0


def test_a_full_disk_under_the_answer_is_a_sentence() -> None:
    command = [sys.executable, "-m", "stepsize", "schedule", "list", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr or "could not be read or written" in done.stderr
    assert "Traceback" not in done.stderr
