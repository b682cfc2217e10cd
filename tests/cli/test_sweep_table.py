"""The table of a running sweep, live on a terminal and line by line elsewhere."""

from __future__ import annotations

import io
import math
import time
from dataclasses import replace

import pytest
from rich.console import Console

from stepsize.cli.sweep.table import sweep_screen, sweep_table
from stepsize.study.study import StudyProgress
from stepsize.training import Divergence, Progress, Run, Setting, Trial
from stepsize.training.runs import Value

SETTING = Setting(0.1, 0, 400)


def a_run(number: int, values: dict[str, Value], value: float, share: float = 1.0, *, seed: int = 0) -> Run:
    lost = Divergence(30, "the loss is infinite") if math.isinf(value) else None
    return Run(replace(SETTING, seed=seed), value=value, trial=Trial(number, values), share=share, divergence=lost)


BEST = a_run(7, {"lr": 0.0123456, "momentum": 0.9}, 0.0712, seed=3)
NEXT = a_run(2, {"lr": 0.05, "optimizer": "adamw"}, 0.08, 0.25)
STATE = StudyProgress(
    name="digits", objective="training loss", done=12, remaining=28, spent=2.375, seconds=65.0,
    resumed=2, diverged=3, top=(BEST, NEXT), running=Progress(SETTING, 20, None),
    notes=("First.", "The range was widened to 1 [bold].", "Third.", "Fourth."),
)  # fmt: skip
TITLE = "sweep digits-mlp"


def drawn(state: StudyProgress, width: int = 100) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(sweep_table(TITLE, state))
    return console.export_text()


def terminal(**more: object) -> Console:
    environment = {"TERM": "xterm", **{key: str(value) for key, value in more.items()}}
    return Console(file=io.StringIO(), force_terminal=True, width=100, _environ=environment)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_progress_cost_time_and_what_diverged() -> None:
    text = drawn(STATE)
    assert TITLE in text
    assert "12 of 40" in text
    assert "1:05" in text
    assert "about 3:02 left" in text  # 6.5 seconds for each of the ten that this call trained
    assert "cost 2.38 full runs, 3 of 12 runs diverged" in text
    assert "now: step 20 of 400" in text


def test_the_best_has_a_line_above_the_next_in_a_table_and_the_objective_its_name() -> None:
    lines = drawn(STATE).splitlines()
    assert "  best lr 0.0123, momentum 0.9: training loss 0.0712" in lines
    (head,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["trial", "lr"])
    assert lines[head].split() == ["trial", "lr", "momentum", "optimizer", "training", "loss", "seed", "rung"]
    assert lines[head + 1].split() == ["7", "0.0123", "0.9", "0.0712", "3", "full"]
    assert lines[head + 2].split() == ["2", "0.05", "adamw", "0.08", "0", "1/4"]
    assert "validation loss" in drawn(replace(STATE, objective="validation loss"))


def test_only_the_last_few_notes_are_shown_and_no_text_is_markup() -> None:
    text = drawn(STATE)
    assert "First." not in text
    assert "The range was widened to 1 [bold]." in text


def test_a_sweep_that_just_began_has_a_table_too() -> None:
    text = drawn(replace(STATE, done=0, remaining=0, resumed=0, diverged=0, top=(), notes=(), running=None))
    assert "0 of 0" in text
    assert "no result yet" in text
    assert "diverged" not in text
    assert "left" not in text


@pytest.mark.parametrize("width", [20, 40, 60])
def test_narrow_terminals_cut_lines_and_none_is_too_long(width: int) -> None:
    assert max(len(line) for line in drawn(STATE, width).splitlines()) <= width


def test_a_terminal_sees_the_table_whose_clock_goes_on() -> None:
    console = terminal()
    with sweep_screen(TITLE, quiet=False, console=console) as update:
        update(replace(STATE, seconds=10.0, done=3, diverged=0, resumed=2, remaining=10))
        time.sleep(1.2)
    assert "sweep digits-mlp" in written(console)
    assert "0:10" in written(console)
    assert "0:11" in written(console)
    assert "1:39 left" in written(console)


def test_a_terminal_is_drawn_at_most_four_times_a_second_however_often_it_is_told() -> None:
    console = terminal()
    began = time.monotonic()
    with sweep_screen(TITLE, quiet=False, console=console) as update:
        for _ in range(2000):
            update(replace(STATE, run=BEST))
        time.sleep(0.6)
    frames = written(console).count("sweep digits-mlp")
    assert 1 <= frames <= 4 * (time.monotonic() - began) + 3  # the first and the last frame come at once
    assert "; best lr" not in written(console)  # no plain lines between the frames


def test_no_color_is_honoured() -> None:
    plain, coloured = terminal(NO_COLOR=1), terminal()
    for console in (plain, coloured):
        with sweep_screen(TITLE, quiet=False, console=console) as update:
            update(STATE)
    assert "\x1b[31m" in written(coloured)
    assert "\x1b[31m" not in written(plain)
    assert "sweep digits-mlp" in written(plain)


def test_a_file_gets_a_line_for_each_finished_run_and_each_new_note() -> None:
    file = io.StringIO()
    with sweep_screen(TITLE, quiet=False, console=Console(file=file, width=60)) as update:
        update(replace(STATE, done=11, notes=()))  # nothing ended
        update(replace(STATE, notes=("A [note].",), run=NEXT))
        lost = a_run(7, {"lr": 0.0123456, "momentum": 0.9}, math.inf, 0.3)
        update(replace(STATE, done=13, diverged=4, notes=("A [note].", "Another."), run=lost))
    best = "best lr 0.0123, momentum 0.9: training loss 0.0712; cost 2.38 full runs"
    assert file.getvalue().splitlines() == [
        "sweep digits-mlp: A [note].",
        "sweep digits-mlp: 12 of 40, trial 2 on 1/4 of the horizon, lr 0.05, optimizer adamw: training loss 0.08; "
        f"{best}; about 3:02 left",
        "sweep digits-mlp: Another.",
        "sweep digits-mlp: 13 of 41, trial 7 on 30% of the horizon, lr 0.0123, momentum 0.9: diverged; "
        f"{best}; about 2:45 left",
    ]


def test_a_file_gets_nothing_where_quiet_is_asked_for_but_a_terminal_does() -> None:
    file, console = io.StringIO(), terminal()
    for chosen in (Console(file=file), console):
        with sweep_screen(TITLE, quiet=True, console=chosen) as update:
            update(replace(STATE, run=BEST))
    assert file.getvalue() == ""
    assert "sweep digits-mlp" in written(console)


def test_the_display_is_taken_away_when_the_sweep_is_interrupted() -> None:
    console = terminal()

    def interrupted() -> None:
        with sweep_screen(TITLE, quiet=False, console=console) as update:
            update(STATE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written(console).endswith("\x1b[2K")  # the last frame is wiped, line by line
    assert "\x1b[?25h" in written(console)  # the cursor is back


def test_stderr_is_where_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with sweep_screen(TITLE, quiet=False) as update:
        update(replace(STATE, run=BEST))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "12 of 40, trial 7 on the full horizon" in captured.err
