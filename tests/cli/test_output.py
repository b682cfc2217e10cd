"""Answers are strict JSON; progress is told once a tenth, or live, or not at all."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stepsize.cli import progress
from stepsize.cli.output import print_json
from stepsize.cli.progress import metered, show_find, show_sweep
from stepsize.curves.answer import Answer
from stepsize.plain import plain
from stepsize.study.finding import FindProgress
from stepsize.study.study import StudyProgress
from stepsize.training import Progress, Run, Setting, Trial
from stepsize.training.runs import Divergence


class Heard:
    """A meter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, str, str]] = []

    def __call__(self, share: float, now: str, best: str = "") -> None:
        self.told.append((share, now, best))


def test_numbers_that_json_cannot_hold_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"nan": math.nan, "in": [(-math.inf, 1.5)], "text": "µ", "whole": 3, "no": None, "yes": True})

    told = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert told == {"nan": None, "in": [[None, 1.5]], "text": "µ", "whole": 3, "no": None, "yes": True}


def test_strict_leaves_other_values_alone() -> None:
    assert plain({"a": [1, "b", 0.5], 2: False}) == {"a": [1, "b", 0.5], "2": False}


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


def told(
    running: Setting | None, *, step: int = 5, fraction: float = 0.25, lr: float | None = 0.02, run: Run | None = None
) -> tuple[float, str, str]:
    """Return what the meter is told of one moment of a search that has taken ten seconds."""
    answer = Answer(lr, None if lr is None else (0.01, 0.05), 0.5, 0.1, 0.02, 0.01, "open", "Because.", "Go on.")
    now = None if running is None else Progress(running, step, 0.5)
    moment = StudyProgress("s", "validation loss", 3, 0, 1.0, 10.0, 0, 0, None, (), run, now)
    heard = Heard()
    show_find(heard, 1000, 7, FindProgress(moment, answer, "4 full runs", fraction))
    return heard.told[-1]


def test_a_search_tells_its_share_of_the_budget_the_answer_so_far_and_the_time_left() -> None:
    share, now, best = told(Setting(0.01, seed=7, steps=1000))
    assert share == 0.25
    assert now == "full run: lr 0.01, step 5, loss 0.5"
    assert best == "lr 0.02 so far, as good from 0.01 to 0.05, at most 30 s left"


def test_a_search_tells_why_a_run_is_made() -> None:
    assert told(Setting(0.01, 7, 250))[1].startswith("short run of 250 steps to locate the rate: lr 0.01, ")
    assert told(Setting(0.01, 8, 1000))[1].startswith("full run on another seed (8): lr 0.01, ")
    assert told(None, run=Run(Setting(0.01, 7, 1000), value=0.25))[1] == "run 3 ended: lr 0.01, loss 0.25"
    fell = Run(Setting(0.01, 7, 1000), divergence=Divergence(3, "it rose"))
    assert told(None, run=fell)[1] == "run 3 ended: lr 0.01, diverged"


BEST = Run(Setting(0.0123456, 3, 400), value=0.0712, trial=Trial(7, {"lr": 0.0123456, "optimizer": "adamw"}), share=1.0)
SWEEP = StudyProgress(
    name="digits", objective="training loss", done=12, remaining=28, spent=2.375, seconds=65.0, resumed=2, diverged=3,
    best=BEST, notes=(), running=Progress(Setting(0.1, 0, 400), 20, None),
)  # fmt: skip


def swept(**changes: Any) -> tuple[float, str, str]:
    heard = Heard()
    show_sweep(heard, replace(SWEEP, **changes))
    return heard.told[-1]


def test_a_sweep_tells_its_runs_the_best_the_cost_what_diverged_and_the_time_left() -> None:
    share, now, so_far = swept()
    assert share == 0.3
    assert now == "12 of 40 runs, step 20 of 400"
    best = "best lr 0.0123, optimizer adamw: training loss 0.0712"
    assert so_far == f"{best}; cost 2.38 full runs; 3 of 12 diverged; about 3 min left", "6.5 s for each of ten"


def test_a_sweep_tells_each_run_that_ends() -> None:
    assert swept(run=BEST)[1].endswith("lr 0.0123, optimizer adamw: training loss 0.0712")
    fell = replace(BEST, divergence=Divergence(3, "it rose"))
    assert swept(run=fell)[1] == "12 of 40 runs, lr 0.0123, optimizer adamw: diverged"


def test_a_sweep_that_just_began_tells_only_its_cost() -> None:
    began = swept(done=0, remaining=0, resumed=0, diverged=0, best=None, running=None, spent=0.0)
    assert began == (0.0, "0 of 0 runs", "cost 0 full runs")


def test_a_full_disk_under_the_answer_is_a_sentence() -> None:
    command = [sys.executable, "-m", "stepsize", "schedule", "list", "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert "could not be written" in done.stderr or "could not be read or written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_search_without_an_answer_or_a_forecast_tells_neither() -> None:
    assert told(None, lr=None, fraction=0.0)[1:] == ("getting ready", "")
    assert told(None, lr=None, fraction=0.01)[2] == "", "too early to tell"
    assert told(None, lr=None, fraction=1.0)[2] == ""
    assert told(None, lr=None, fraction=0.05)[2] == "at most 3 min left"
