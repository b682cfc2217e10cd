"""The table of a running sweep, live on a terminal and line by line elsewhere."""

from __future__ import annotations

import io
import math
import time
from dataclasses import replace

import pytest
from rich.console import Console

from stepsize.cli.sweep.table import RungCount, SweepScreen, SweepState, SweepTrial, sweep_table
from stepsize.errors import InputError

BEST = SweepTrial(7, {"lr": 0.0123456, "momentum": 0.9}, 0.0712, seeds=3)
NEXT = SweepTrial(2, {"lr": 0.05, "optimizer": "adamw"}, 0.08, share=0.25)
STATE = SweepState(
    title="sweep digits-mlp", done=12, total=40, diverged=3, best=(BEST, NEXT), cost=2.375,
    elapsed=65, remaining=3723, rungs=(RungCount(1 / 16, 9, 32, 3), RungCount(0.25, 2, 8), RungCount(1, 1)),
    now="trial 9 at lr 0.1", notes=("First.", "The range was widened to 1 [bold].", "Third.", "Fourth."),
)  # fmt: skip


def drawn(state: SweepState, width: int = 100) -> str:
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(sweep_table(state))
    return console.export_text()


def terminal(**more: object) -> Console:
    environment = {"TERM": "xterm", **{key: str(value) for key, value in more.items()}}
    return Console(file=io.StringIO(), force_terminal=True, width=100, _environ=environment)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_tells_progress_cost_time_and_what_diverged() -> None:
    text = drawn(STATE)
    assert "sweep digits-mlp" in text
    assert "12 of 40" in text
    assert "1:05" in text
    assert "about 1:02:03 left" in text
    assert "spent 2.38 full runs, 3 of 12 runs diverged" in text
    assert "rungs: 1/16: 9 of 32 (3 diverged), 1/4: 2 of 8, full: 1" in text
    assert "now: trial 9 at lr 0.1" in text


def test_the_best_stands_in_a_line_above_the_next_in_a_table() -> None:
    lines = drawn(STATE).splitlines()
    assert "  best lr 0.0123, momentum 0.9: validation loss 0.0712" in lines
    (head,) = (number for number, line in enumerate(lines) if line.split()[:2] == ["trial", "lr"])
    assert lines[head].split() == ["trial", "lr", "momentum", "optimizer", "validation", "loss", "seeds", "rung"]
    assert lines[head + 1].split() == ["7", "0.0123", "0.9", "0.0712", "3", "full"]
    assert lines[head + 2].split() == ["2", "0.05", "adamw", "0.08", "1", "1/4"]


def test_only_the_best_few_and_the_last_few_notes_are_shown_and_no_text_is_markup() -> None:
    many = replace(STATE, best=tuple(SweepTrial(number, {"lr": 0.1}, 0.5) for number in range(100, 120)))
    text = drawn(many)
    assert "104" in text
    assert "105" not in text
    assert "First." not in text
    assert "The range was widened to 1 [bold]." in text


def test_a_sweep_that_just_began_has_a_table_too() -> None:
    text = drawn(SweepState(title="sweep", done=0, total=0))
    assert "0 of 0" in text
    assert "nothing reached yet" in text
    assert "diverged" not in text
    assert "left" not in text


@pytest.mark.parametrize("width", [20, 40, 60])
def test_narrow_terminals_cut_lines_and_none_is_too_long(width: int) -> None:
    assert max(len(line) for line in drawn(STATE, width).splitlines()) <= width


def test_a_terminal_sees_the_table_whose_clock_goes_on() -> None:
    console = terminal()
    with SweepScreen(console=console) as screen:
        screen.update(replace(STATE, elapsed=10, remaining=100.4))
        time.sleep(1.2)
    assert "sweep digits-mlp" in written(console)
    assert "0:10" in written(console)
    assert "0:11" in written(console)
    assert "1:39 left" in written(console)


def test_a_terminal_is_drawn_at_most_four_times_a_second_however_often_it_is_told() -> None:
    console = terminal()
    began = time.monotonic()
    with SweepScreen(console=console) as screen:
        for _ in range(2000):
            screen.update(STATE, finished=BEST)
        time.sleep(0.6)
    frames = written(console).count("sweep digits-mlp")
    assert 1 <= frames <= 4 * (time.monotonic() - began) + 3  # the first and the last frame come at once
    assert "; best lr" not in written(console)  # no plain lines between the frames


def test_no_color_is_honoured() -> None:
    plain, coloured = terminal(NO_COLOR=1), terminal()
    for console in (plain, coloured):
        with SweepScreen(console=console) as screen:
            screen.update(STATE)
    assert "\x1b[31m" in written(coloured)
    assert "\x1b[31m" not in written(plain)
    assert "sweep digits-mlp" in written(plain)


def test_a_file_gets_a_line_for_each_finished_run_and_each_new_note() -> None:
    file = io.StringIO()
    with SweepScreen(console=Console(file=file, width=60)) as screen:
        screen.update(replace(STATE, done=11, notes=()))  # nothing ended
        screen.update(replace(STATE, notes=("A [note].",)), finished=NEXT)
        screen.update(replace(STATE, done=13, diverged=4, notes=("A [note].", "Another.")), finished=replace(
            BEST, value=math.inf, diverged=True, share=0.3))  # fmt: skip
    assert file.getvalue().splitlines() == [
        "sweep digits-mlp: A [note].",
        "sweep digits-mlp: 12 of 40, trial 2 on 1/4, lr 0.05, optimizer adamw: validation loss 0.08; "
        "best lr 0.0123, momentum 0.9: 0.0712; spent 2.38 full runs; about 1:02:03 left",
        "sweep digits-mlp: Another.",
        "sweep digits-mlp: 13 of 40, trial 7 on 30 %, lr 0.0123, momentum 0.9: diverged; "
        "best lr 0.0123, momentum 0.9: 0.0712; spent 2.38 full runs; about 1:02:03 left",
    ]


def test_a_file_gets_nothing_where_quiet_is_asked_for_but_a_terminal_does() -> None:
    file, console = io.StringIO(), terminal()
    for chosen in (Console(file=file), console):
        with SweepScreen(quiet=True, console=chosen) as screen:
            screen.update(STATE, finished=BEST)
    assert file.getvalue() == ""
    assert "sweep digits-mlp" in written(console)


def test_the_display_is_taken_away_when_the_sweep_is_interrupted() -> None:
    console = terminal()

    def interrupted() -> None:
        with SweepScreen(console=console) as screen:
            screen.update(STATE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert written(console).endswith("\x1b[2K")  # the last frame is wiped, line by line
    assert "\x1b[?25h" in written(console)  # the cursor is back


def test_stderr_is_where_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with SweepScreen() as screen:
        screen.update(STATE, finished=BEST)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "12 of 40, trial 7 on full" in captured.err


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(InputError, match="diverged, done, total must not fall: 0 <= diverged <= done <= total"):
        SweepState(title="sweep", done=3, total=2)
