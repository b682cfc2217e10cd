"""`stepsize runs`, `report` and `watch`: what `train --watch` kept, afterwards and while another process trains it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

import pytest
import torch
from tests.cli.conftest import Invoke, WriteTask
from tests.cli.test_process import environment
from torch import nn

import stepsize
from stepsize.monitor import watch_task
from stepsize.monitor.saved_runs import read_run
from stepsize.store import Store

_TRAIN = ("train", "mine.py:task", "--lr", "0.01", "--watch")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with two watched runs: one at a rate that is too low, one that diverges."""
    folder = tmp_path_factory.mktemp("kept")
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    data = (x, x.sum(1, keepdim=True))
    task = stepsize.Task(
        model=lambda: nn.Linear(3, 1),
        loss=nn.functional.mse_loss,
        train=data,
        val=data,
        optimizer="sgd",
        steps=300,
        name="small",
    )
    for lr in (1e-5, 50):
        watch_task(task, lr, store=folder / "stepsize.db")
    return folder


@pytest.fixture
def trained(kept: Path, invoke: Invoke, tmp_path: Path) -> Invoke:
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return invoke


def test_a_watched_training_is_kept_and_says_how_to_see_it_again(invoke: Invoke, write_task: WriteTask) -> None:
    write_task()
    first, second = invoke(*_TRAIN), invoke(*_TRAIN, "--json", "--store", "other.db")
    assert first.stderr.splitlines()[-1] == "Run saved. Show it with: stepsize report small"
    assert json.loads(second.stdout)["name"] == "small"
    assert second.stderr.splitlines()[-1] == "Run saved. Show it with: stepsize report small --store other.db"
    assert invoke("report", "small", "--store", "other.db").exit_code == 0
    named = invoke(*_TRAIN, "--json", "--name", "mine")
    assert json.loads(named.stdout)["name"] == "mine"
    assert named.stderr.splitlines()[-1] == "Run saved. Show it with: stepsize report mine"


def test_nothing_is_kept_with_store_none_or_without_watching(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path
) -> None:
    write_task()
    told = invoke(*_TRAIN, "--store", "none", "--json")
    assert json.loads(told.stdout)["name"] is None
    assert "Run saved" not in told.stderr
    assert invoke("train", "mine.py:task", "--lr", "0.01").exit_code == 0
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == []


def test_a_store_that_cannot_be_written_does_not_stop_the_training(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_task()
    (tmp_path / "stepsize.db").write_text("notes of somebody, long enough to be taken for no database " * 20)
    done = invoke(*_TRAIN)
    assert done.exit_code == 0
    assert "Run saved" not in done.stderr
    assert "does not save this run: stepsize.db is damaged or no SQLite database" in caplog.text


def test_runs_lists_what_is_kept_the_newest_last(trained: Invoke) -> None:
    told = json.loads(trained("runs", "--json").stdout)
    assert told["store"] == "stepsize.db"
    assert [(one["name"], one["status"], one["verdict"]) for one in told["runs"]] == [
        ("small", "done", "too low"),
        ("small-2", "diverged", "diverged"),
    ]
    assert told["runs"][0]["steps"] == told["runs"][0]["planned"] == 300
    shown = trained("runs")
    assert shown.exit_code == 0
    assert re.search(r"small .*Linear, 4 parameters, SGD.* done .*300 of 300.* too low", shown.stdout)
    assert shown.stderr == "Full report: stepsize report small-2\n"


def test_names_stay_whole_where_there_is_little_room(trained: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = trained("runs").stdout
    assert "small-2" in shown
    assert "parameters" not in shown
    assert max(map(len, shown.splitlines())) <= 60


def test_a_report_is_that_of_the_newest_or_of_the_named(trained: Invoke) -> None:
    newest, named = (json.loads(trained("report", *which, "--json").stdout) for which in ((), ("small",)))
    assert (newest["name"], newest["verdict"]["code"]) == ("small-2", "diverged")
    assert named["verdict"]["code"] == "too low"
    [finding] = [one for one in named["findings"] if one["code"] == "too-low"]
    assert set(finding) >= {"code", "severity", "evidence", "remedy", "step"}
    assert len(named["signals"]["loss"]["values"]) == 300
    shown = " ".join(trained("report", "small").stdout.split())
    assert "status done steps 300 of 300" in shown
    assert "Learning rate: too low." in shown
    assert finding["message"] in shown


def test_a_report_is_written_as_a_page(trained: Invoke, tmp_path: Path) -> None:
    done = trained("report", "small", "--html", "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert done.stderr == "Report saved to report.html\n"
    assert "<h1>small</h1>" in page
    assert "Linear, 4 parameters, SGD" in page
    assert page.count("<svg") >= 3
    assert trained("report", "small", "--html", "report.txt").exit_code == 2
    assert not (tmp_path / "report.txt").exists()


def test_watch_shows_one_frame_where_it_is_asked_to_or_there_is_no_terminal(trained: Invoke) -> None:
    frame, once = trained("watch", "small"), trained("watch", "small", "--once")
    assert frame.exit_code == once.exit_code == 0
    assert frame.stdout == once.stdout
    for text in ("small", "done", "300 of 300 steps", "training loss", "▁", "learning rate", "Learning rate: too low."):
        assert text in frame.stdout
    told = json.loads(trained("watch", "small", "--json").stdout)
    assert told["last"]["lr/0"] == pytest.approx(1e-5)
    assert told["findings"][0]["code"] == "too-low"
    assert "signals" not in told


@pytest.mark.parametrize("command", ["watch", "report"])
def test_a_name_that_is_not_there_is_told_with_those_that_are(trained: Invoke, command: str) -> None:
    done = trained(command, "smal")
    assert done.exit_code == 2
    assert "run is not a known name; got 'smal'. Did you mean 'small'? Known: small, small-2" in done.stderr


def test_where_nothing_is_kept_it_is_said_how_to_begin(invoke: Invoke, tmp_path: Path) -> None:
    hint = "Start one with: stepsize train digits-mlp --lr 0.01 --watch"
    for there in (False, True):
        if there:
            Store.open(tmp_path / "stepsize.db").close()
        shown = invoke("runs")
        assert (shown.exit_code, shown.stdout) == (0, "")
        assert f"No watched run is saved in stepsize.db. {hint}" in shown.stderr
        assert json.loads(invoke("runs", "--json").stdout) == {"store": "stepsize.db", "runs": []}
        for command in ("watch", "report"):
            done = invoke(command)
            assert done.exit_code == 2
            assert f"store must hold a watched run; got 'stepsize.db'. {hint}" in done.stderr
    assert invoke("runs", "--store", "other.db").exit_code == 2


def test_a_study_that_is_no_watched_run_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    with Store.open(tmp_path / "stepsize.db") as store:
        store.begin("digits", "sweep", {}).close()
        store.begin("net", "watch", {"what": "net", "optimizer": "SGD", "steps": None}).close()
    done = invoke("report", "digits")
    assert done.exit_code == 2
    assert "run must be a watched run, not a sweep; got 'digits'. stepsize runs lists them" in done.stderr
    begun = invoke("watch", "net")  # that was killed before its first write
    assert begun.exit_code == 0
    assert "no signals yet" in begun.stdout
    assert invoke("report", "net", "--html", "r.html").exit_code == 0
    assert "No signals were saved." in (tmp_path / "r.html").read_text()


class Terminal:
    """The command line in a terminal of its own.

    Args:
        folder: Where it runs.
        arguments: Of the command.
    """

    def __init__(self, folder: Path, *arguments: str, **changes: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "stepsize", *arguments]
        environ = environment(TERM="xterm-256color", COLUMNS="100", LINES="40", **changes)
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            preexec_fn=_heed_ctrl_c,  # noqa: PLW1509 - no threads yet
        )
        os.close(theirs)
        self.text = ""

    def until(self, pattern: str, seconds: float = 120) -> None:
        """Read until the screen has shown ``pattern``."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            assert time.monotonic() < end, f"no {pattern} in {self.text[-2000:]}"
            if select.select([self._ours], [], [], 0.1)[0]:
                self.text += os.read(self._ours, 65536).decode(errors="replace")

    def ended(self, seconds: float = 120) -> int:
        """Read what is left and return the exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None or select.select([self._ours], [], [], 0.1)[0]:
            assert time.monotonic() < end, f"it does not end: {self.text[-2000:]}"
            if not select.select([self._ours], [], [], 0.1)[0]:
                continue
            try:
                self.text += os.read(self._ours, 65536).decode(errors="replace")
            except OSError:  # the other side was closed
                break
        os.close(self._ours)
        return self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(30)


def _heed_ctrl_c() -> None:
    # A shell starts its background jobs, this test run perhaps, with Ctrl-C ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.timeout(400)  # two processes that import torch, on a busy machine
def test_watch_follows_a_run_until_it_ends_and_ctrl_c_leaves_it_alone(tmp_path: Path) -> None:
    over = threading.Event()

    def train() -> None:
        net = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        store = tmp_path / "stepsize.db"
        with (
            suppress(KeyboardInterrupt),
            stepsize.watch(net, optimizer, steps=100_000, store=store, name="small") as watching,
        ):
            while not over.wait(0.02):
                loss = net(torch.ones(8, 3)).square().mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                watching.step(loss)
            raise KeyboardInterrupt

    training = threading.Thread(target=train)
    with ExitStack() as stack:
        stack.callback(over.set)
        training.start()
        end = time.monotonic() + 60
        while not (tmp_path / "stepsize.db").exists() or not _steps(tmp_path):
            assert time.monotonic() < end, "it does not begin"
            time.sleep(0.1)
        leaving = stack.enter_context(Terminal(tmp_path, "watch"))
        following = stack.enter_context(Terminal(tmp_path, "watch", "small", NO_COLOR="1"))
        leaving.until(r"running")
        leaving.process.send_signal(signal.SIGINT)
        assert leaving.ended() == 130
        assert "Stopped following; training continues." in leaving.text
        assert "Traceback" not in leaving.text
        following.until(r"(?s)([0-9]+) of 100,000 steps.*(?!\1)[0-9]+ of 100,000 steps")  # it is drawn anew
        assert training.is_alive()
        over.set()
        training.join(60)
        assert following.ended() == 0
    assert "interrupted" in following.text
    assert "Full report: stepsize report small" in following.text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", following.text)  # no colour
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", leaving.text)


def _steps(folder: Path) -> int:
    with Store.open(folder / "stepsize.db") as store:
        return read_run(store, "small").head.steps if store.studies() else 0
