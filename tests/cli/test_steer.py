"""`stepsize steer`: an order to a training that runs meanwhile, and its answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from tests.beside import Program
from tests.cli.conftest import Invoke, WriteTask
from torch import nn

import stepsize
from stepsize.cli import steer
from stepsize.store import Store, WatchRecord

COMMAND = Path(stepsize.__file__).with_name("__main__.py")


@pytest.fixture
def training(tmp_path: Path) -> Iterator[threading.Thread]:
    """A training that runs until it is told to stop, in the default store."""
    where, over = tmp_path / "stepsize.db", threading.Event()

    def train() -> None:
        net = nn.Linear(4, 1)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        with stepsize.watch(net, optimizer, store=where, name="net", control=True) as watching:
            while not watching.should_stop and not over.is_set():
                loss = net(torch.ones(8, 4)).square().mean()
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                watching.step(loss)
                time.sleep(0.002)

    thread = threading.Thread(target=train)
    thread.start()
    wait_for(where, "net")
    yield thread
    over.set()
    thread.join(30)


def wait_for(where: Path, name: str) -> None:
    """Wait until a run has written its first line."""
    until = time.monotonic() + 240  # a loaded machine takes long to import torch
    while not where.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    with Store.open(where) as store:
        while not store.studies() or store.watched(name) is None:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_an_order_is_answered(training: threading.Thread, invoke: Invoke) -> None:
    done = invoke("steer", "net", "--times", "0.5")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("Applied from step ")
    assert "The learning rate is 0.005 instead of 0.01." in done.stdout
    refused = invoke("steer", "--resume", "--json")
    told = json.loads(refused.stdout)
    assert refused.exit_code == 1
    assert (told["run"], told["number"], told["state"]) == ("net", 2, "refused")
    assert "@" in told["who"]
    ended = invoke("steer", "net", "--stop")
    assert "Training stops after this update." in ended.stdout
    training.join(30)
    assert not training.is_alive()
    over = invoke("steer", "net", "--hold")
    assert over.exit_code == 2
    assert "must be a run that is still running; this one has ended" in over.stderr


@pytest.mark.timeout(300)
def test_a_run_of_the_command_line_takes_orders_and_its_report_lists_them(
    invoke: Invoke, write_task: WriteTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steer, "_WAIT", 60.0)
    task = write_task("task = make(steps=1_000_000)")
    with Program(COMMAND, "train", task, "--lr", "0.01", "--control", "--json") as process:
        wait_for(tmp_path / "stepsize.db", "small")
        assert "0.005 instead of 0.01" in invoke("steer", "--times", "0.5").stdout
        assert "the task sets the number of steps" in invoke("steer", "--extend", "5").stdout
        assert invoke("steer", "--cooldown", "9").exit_code == 0
        told = json.loads(process.stdout.read())
        assert process.wait(120) == 0, process.errors()
    assert told["stopped"] == "the cooldown that was ordered has ended"
    report = invoke("report").stdout
    first, second, third = (line for line in report.splitlines() if line[:2] in ("1.", "2.", "3."))
    assert first.startswith("1. scale factor 0.5 by ")
    assert "extend steps 5" in second
    assert ": refused." in second
    assert "cooldown steps 9" in third
    orders = json.loads(invoke("report", "--json").stdout)["orders"]
    assert [one["state"] for one in orders] == ["applied", "refused", "applied"]
    assert first in invoke("watch").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "order must be exactly one of --times, --hold"),
        (("--hold", "--stop"), "order must be exactly one of --times"),
        (("--hold", "--group", "0"), "--group and --yes go with --times"),
        (("--times", "20"), "factor must be between 0.1 and 10, unless it is confirmed; got 20.0"),
        (("--times", "nan", "--yes"), "factor must be a positive, finite factor; got nan"),
        (("--times", "-1"), "factor must be a positive, finite factor; got -1.0"),
        (("--cooldown", "0"), "Invalid value for '--cooldown'"),
        (("--extend", "1" + "0" * 30), "steps must be a finite number, at most 1e+09"),
    ],
)
def test_what_breaks_a_rule_is_not_sent(
    training: threading.Thread, invoke: Invoke, arguments: tuple[str, ...], message: str
) -> None:
    done = invoke("steer", "net", *arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_a_training_that_does_not_answer(invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steer, "_WAIT", 0.3)
    with Store.open(tmp_path / "stepsize.db") as store, store.begin("net", "watch", {}) as writer:
        writer.add_signals(WatchRecord(0, datetime.now(UTC), control=True))
        done = invoke("steer", "--hold")
    assert done.exit_code == 3
    assert "Order 1 was sent; net has not answered within 0 seconds" in done.stderr
