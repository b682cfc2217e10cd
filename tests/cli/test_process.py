"""The command as a process of its own: quick help, clean streams, Ctrl-C, colours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import WriteTask

import stepsize

HEAVY = ("altair", "numpy", "scipy", "sklearn", "torch")
SOURCE = str(Path(stepsize.__file__).resolve().parents[1])


def environment(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR", "COLUMNS")}
    path = os.pathsep.join(part for part in (SOURCE, os.environ.get("PYTHONPATH")) if part)
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **changes}


def run(*arguments: str, folder: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stepsize", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(**changes), capture_output=True, text=True, check=False, timeout=110
    )


def test_help_loads_nothing_heavy() -> None:
    code = """
import sys
from stepsize.cli import main
for words in ("--help", "find --help", "schedule --help", "watch --help", "runs --help", "--version"):
    try:
        main(words.split())
    except SystemExit as end:
        print("exit", end.code, words)
print("loaded", *{name.partition(".")[0] for name in sys.modules})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.count("exit 0 ") == 6
    loaded = done.stdout.splitlines()[-1].split()
    assert "typer" in loaded
    assert set(HEAVY).isdisjoint(loaded)


def test_a_task_file_is_answered_on_clean_streams(write_task: WriteTask, tmp_path: Path) -> None:
    task = write_task("print('noise')\ntask = make(steps=400)")

    done = run("find", task, "--budget", "2", "--json", "--plot", "lr.png", folder=tmp_path)

    assert done.returncode == 0
    assert 0 < json.loads(done.stdout)["lr"] < 10
    assert done.stderr.splitlines() == ["noise", f"Chart saved to {tmp_path / 'lr.png'}"]
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr.png", "mine.py"]


def test_colours_come_on_a_terminal_and_go_with_no_color(tmp_path: Path) -> None:
    wrong = ("find", "digits-mlp", "--plot", "lr.jpg")  # told before anything large is loaded

    coloured = run(*wrong, folder=tmp_path, FORCE_COLOR="1", TERM="xterm-256color")
    plain = run(*wrong, folder=tmp_path)
    refused = run(*wrong, folder=tmp_path, FORCE_COLOR="1", NO_COLOR="1", TERM="xterm-256color")

    assert coloured.returncode == plain.returncode == refused.returncode == 2
    assert "\x1b[1;31mError: \x1b[0m" in coloured.stderr
    assert plain.stderr.startswith("Error: plot must end in")
    assert "\x1b[" not in plain.stderr
    assert "31m" not in refused.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent as POSIX does")
def test_ctrl_c_stops_a_training_with_one_line(write_task: WriteTask, tmp_path: Path) -> None:
    slow = (
        "import pathlib\n"
        "def loss(output, target):\n"
        "    pathlib.Path('begun').touch()\n"
        "    return nn.functional.mse_loss(output, target)\n"
        "task = make(loss=loss, steps=10_000_000)"
    )
    command = [sys.executable, "-m", "stepsize", "train", write_task(slow), "--lr", "1e-3", "--json"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs, this test run perhaps, with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads yet
    ) as process:
        try:
            _wait_for(tmp_path / "begun", process)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()

    assert process.returncode == 130
    assert out == ""
    assert err.splitlines() == ["Interrupted before an answer was found."]


def _wait_for(sign: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):  # a minute: a loaded machine takes long to import torch
        if sign.exists() or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT is sent as POSIX does")
def test_ctrl_c_while_a_dataclass_is_made_has_the_exit_code_of_an_interrupt(
    write_task: WriteTask, tmp_path: Path
) -> None:
    # dataclasses execute source text; Python then ends by the signal, unless that is cleared
    interrupted = 'def loss(output, target):\n    exec("raise KeyboardInterrupt")\ntask = make(loss=loss)'

    done = run("train", write_task(interrupted), "--lr", "1e-3", "--json", folder=tmp_path)

    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.splitlines() == ["Interrupted before an answer was found."]
