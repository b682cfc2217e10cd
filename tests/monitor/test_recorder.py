"""What is kept of a watched training is what was seen; the store may be killed, full or gone, and nothing is harmed."""

from __future__ import annotations

import logging
import math
import os
import random
import select
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool
from tests.beside import Program
from tests.monitor import recorded_run
from tests.monitor.loops import update
from tests.store.conftest import postgres as postgres  # a server, where one is given
from tests.store.conftest import without_power as without_power
from torch import Tensor, nn

import stepsize
from stepsize.errors import DataUnavailableError, InputError
from stepsize.monitor import Record, Report, Watch, guard, recorder, watch
from stepsize.monitor.record import Facts
from stepsize.monitor.recorder import RunRecorder, start_recorder
from stepsize.monitor.saved_runs import list_runs, read_run
from stepsize.store import Store


@pytest.fixture
def where(tmp_path: Path) -> str:
    return str(tmp_path / "runs.db")


def _parts(lr: float = 1e-3) -> tuple[nn.Sequential, torch.optim.SGD, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    return net, torch.optim.SGD(net.parameters(), lr=lr), torch.randn(64, 4)


def _watched(
    where: str | None, steps: int = 60, lr: float = 1e-3, each: Callable[[int], None] = lambda step: None
) -> Watch:
    net, optimizer, x = _parts(lr)
    with watch(net, optimizer, steps=steps, store=where) as watching:
        for step in range(steps):
            watching.step(update(net, optimizer, x))
            each(step)
    return watching


def _same(one: Report, other: Report) -> None:
    assert repr(one.findings) == repr(other.findings)  # NaN in the evidence is like NaN
    assert one.verdict == other.verdict
    assert (one.steps, one.planned, one.optimizer) == (other.steps, other.planned, other.optimizer)
    assert set(one.signals) == set(other.signals)
    for name, signal in one.signals.items():
        np.testing.assert_array_equal(signal.steps, other.signals[name].steps)
        np.testing.assert_array_equal(signal.values, other.signals[name].values)


@pytest.mark.parametrize(("steps", "lr"), [(300, 1e-4), (200, 5.0)])
def test_what_is_read_back_is_what_was_seen(where: str, steps: int, lr: float) -> None:
    watching = _watched(where, steps, lr)
    assert watching.name is not None
    with Store.open(where) as store:
        kept = read_run(store, watching.name)
    _same(kept.report, watching.report())
    assert kept.head.status == ("done" if lr < 1 else "diverged")
    assert kept.head.findings == len(watching.findings) > 0
    assert kept.head.what == "Sequential, 49 parameters"


def test_replacing_points_by_blocks_changes_nothing(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_EVERY", 0.01)
    monkeypatch.setattr(recorder, "_MOST_WRITES", 3)
    watching = _watched(where, 400, each=lambda step: time.sleep(0.002 if step % 4 == 0 else 0))
    assert watching.name is not None
    with Store.open(where) as store:
        parts = store.signals(watching.name)
        assert parts[0].kind == recorder.BLOCKS
        assert len(parts) <= 4
        _same(read_run(store, watching.name).report, watching.report())


def test_a_run_of_any_length_is_of_bounded_size(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_EVERY", 0.01)
    kept = start_recorder(where, "long", "net", Facts(steps=1_000_000))
    assert kept is not None
    record = kept.record = Record()
    record.outbox = kept.points
    noise = np.random.default_rng(0).normal(size=1_000_000).tolist()
    sizes = []
    for step, value in enumerate(noise):
        record.add("loss", step, value)
        if step % 100_000 == 99_999:
            while kept.points:
                time.sleep(0.01)
            sizes.append(sum(file.stat().st_size for file in Path(where).parent.iterdir()))
    record.step = 1_000_000
    kept.close("done")
    assert max(sizes) < 24_000_000  # the log of SQLite is at most 16 MB of it,
    assert Path(where).stat().st_size < 8_000_000  # and is gone at the end; eight bytes a point alone would be 8 MB
    with Store.open(where) as store:
        signal = read_run(store, "long").report.signals["loss"]
    np.testing.assert_array_equal(signal.values, record.history("loss").values)


def test_a_name_that_is_taken_gets_a_number(where: str) -> None:
    names = []
    for _ in range(3):
        net, optimizer, x = _parts()
        with watch(net, optimizer, store=where, name="net") as watching:
            watching.step(update(net, optimizer, x))
        names.append(watching.name)
    assert names == ["net", "net-2", "net-3"]
    with Store.open(where) as store:
        assert [(one.name, one.steps) for one in list_runs(store)] == [("net", 1), ("net-2", 1), ("net-3", 1)]


def test_a_guard_keeps_its_acts(where: str) -> None:
    net, optimizer, x = _parts(0.05)
    with guard(net, optimizer, steps=60, store=where, name="net") as guarding:
        for number, batch in enumerate(guarding.batches([x] * 90)):
            guarding.step(update(net, optimizer, batch, spoiled=math.nan if number == 30 else None))
    with Store.open(where) as store:
        kept = read_run(store, "net")
    assert guarding.actions
    assert kept.actions == guarding.actions
    assert kept.report.steps > 60  # steps are counted as they were made: what was replayed is there twice
    assert kept.head.status == "done"
    report, steps = guarding.report(), kept.report.signals["loss"].steps.tolist()
    assert (kept.report.verdict, repr(kept.report.findings)) == (report.verdict, repr(report.findings))
    assert report.signals["loss"].steps.tolist() == [one for one in steps if not 20 <= one < 31]  # rolled back


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("no"), "failed"), (None, "done")]
)
def test_how_it_ended_is_kept(where: str, error: BaseException | None, status: str) -> None:
    def each(step: int) -> None:
        if step == 20 and error is not None:
            raise error

    if error is None:
        _watched(where, each=each)
    else:
        with pytest.raises(type(error)):
            _watched(where, each=each)
    with Store.open(where) as store:
        [head] = list_runs(store)
    assert (head.status, head.steps) == (status, 60 if error is None else 21)


def test_a_guard_that_stops_is_kept_as_such(where: str) -> None:
    net, optimizer, x = _parts(0.05)
    with guard(net, optimizer, steps=60, store=where, retries=1, name="net") as guarding:
        for batch in guarding.batches([x] * 300):
            guarding.step(update(net, optimizer, batch) * math.nan)
    assert guarding.stopped is not None
    with Store.open(where) as store:
        assert read_run(store, "net").head.status == "stopped"


def test_a_task_is_kept_under_its_name(where: str) -> None:
    x = torch.linspace(-1, 1, 64).reshape(-1, 1)
    task = stepsize.Task(
        model=lambda: nn.Linear(1, 1),
        loss=nn.functional.mse_loss,
        train=(x, 3 * x),
        val=(x, 3 * x),
        optimizer="sgd",
        steps=100,
        name="line",
    )
    done = stepsize.watch_task(task, 1e-5, store=where)
    again = stepsize.watch_task(task, 1e-5)
    assert (done.name, again.name) == ("line", None)
    np.testing.assert_array_equal(done.run.losses, again.run.losses)
    with Store.open(where) as store:
        _same(read_run(store, "line").report, done.report)


def test_nothing_is_kept_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _watched(None, steps=3).name is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("store", "name", "message"),
    [
        (None, "net", "name names a run in a store, and no store was given; got 'net'. Pass store= too"),
        ("runs.db", "a\nb", "name must be printable text of 1 to 200 characters"),
        ("mysql://host/lab", None, "where must be SQLite or PostgreSQL"),
    ],
)
def test_bad_input_is_an_error_before_anything_is_hooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str | None, name: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    net, optimizer, _ = _parts()
    with pytest.raises(InputError, match=message):
        watch(net, optimizer, store=store, name=name)
    assert not optimizer._optimizer_step_pre_hooks
    with pytest.raises(DataUnavailableError, match="no folder at"):
        watch(net, optimizer, store=tmp_path / "nowhere" / "runs.db")


def _begun(where: str, *more: str, steps: int = 100_000) -> Program:
    """Return a process that trains and has begun."""
    assert recorded_run.__file__ is not None
    pause = "0.003" if steps == 100_000 else "0"  # leaves the core to other tests until it is killed
    process = Program(recorded_run.__file__, where, "net", str(steps), *more, STEPSIZE_TEST_PAUSE=pause)
    assert select.select([process.stdout], [], [], 60)[0], "it does not begin"
    assert process.stdout.readline() == "begun\n"
    return process


def _killed(where: str, seconds: float) -> tuple[float, list[tuple[int, float]]]:
    """Return when a process was killed that trained for so long, and when it made which step."""
    with _begun(where) as process:
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout))
        reader.start()
        time.sleep(seconds)
        process.kill()
        end = time.time()
        reader.join(30)
    told = [line.split() for line in lines if line.endswith("\n")]
    return end, [(int(step), float(when)) for step, when in told]


def _check_killed(where: str, name: str, end: float, told: list[tuple[int, float]], slack: float = 1.0) -> None:
    with Store.open(where) as store:
        kept = read_run(store, name)
        assert not store.being_written(name)
    assert kept.head.status == "interrupted"
    due = sum(when < end - 1.0 - slack for _, when in told)
    assert kept.head.steps >= due
    signal = kept.report.signals.get("loss")
    seen = 0 if signal is None else int(signal.steps[-1]) + 1
    assert due - 16 <= seen <= len(told) + 1  # a few are still on their way from the device
    with closing(sqlite3.connect(where)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_killed_training_is_there_but_for_its_last_second(where: str) -> None:
    chosen = random.Random(0)
    for number, moment in enumerate([0.0, 1.02, chosen.uniform(0, 3), 3.5], start=1):
        end, told = _killed(where, moment)
        _check_killed(where, "net" if number == 1 else f"net-{number}", end, told)
    with Store.open(where) as store:
        assert len(list_runs(store)) == 4
        assert list_runs(store)[-1].steps > 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_training_killed_at_thirty_random_moments_is_there(where: str) -> None:
    chosen = random.Random(1)
    for number in range(1, 31):
        end, told = _killed(where, chosen.uniform(0, 4))
        _check_killed(where, "net" if number == 1 else f"net-{number}", end, told)


def _ended(process: Program) -> tuple[list[str], str]:
    with process:
        said = process.stdout.read().splitlines()
        assert process.wait(100) == 0, process.errors()
        return said[-2:], process.errors()


def test_a_disk_that_is_full_ends_the_keeping_and_not_the_training(where: str) -> None:
    said, err = _ended(_begun(where, "0", steps=20_000))
    net, optimizer, x = _parts()
    for _ in range(20_000):
        update(net, optimizer, x)
    assert said[0] == "steps 20000 broken ''"  # all steps made and watched,
    weights = float(sum(parameter.detach().sum() for parameter in net.parameters()))
    assert said[1] == f"weights {weights:.9g}"  # and the weights of a training that nobody watched
    assert err.count("stepsize.watch stopped saving 'net'; training and watching continue: ") == 1
    assert len(err.strip().splitlines()) == 1
    assert "runs.db cannot be written or read: the disk failed, is full, or a limit on files was met" in err
    with Store.open(where) as store:  # what was kept before is there
        assert read_run(store, "net").head.status == "interrupted"


def test_a_store_that_others_lock_never_makes_the_training_wait(
    where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder, "_EVERY", 0.01)
    monkeypatch.setattr(recorder, "_WAIT", 1.5)
    net, optimizer, x = _parts()
    with (
        caplog.at_level(logging.WARNING, "stepsize"),
        watch(net, optimizer, store=where, name="net") as watching,
        closing(sqlite3.connect(where, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        locked = time.monotonic()
        time.sleep(0.1)
        longest = 0.0
        for _ in range(200):
            start = time.perf_counter()
            watching.step(update(net, optimizer, x))
            longest = max(longest, time.perf_counter() - start)
        assert longest < 1.0
        assert not caplog.messages or time.monotonic() > locked + 1.5  # it still waits, alone
        while not caplog.messages:
            assert time.monotonic() < locked + 60
            time.sleep(0.05)
        watching.step(update(net, optimizer, x))
        other.execute("ROLLBACK")
    assert len(caplog.messages) == 1
    assert "stopped saving 'net'; training and watching continue: " in caplog.text
    assert "is locked by another program" in caplog.text
    assert watching.broken == ""
    assert watching.report().steps == 201
    assert watching.record.outbox is None


def test_a_store_that_may_not_be_written_is_told_and_watching_goes_on(
    without_power: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = without_power / "runs.db"
    Store.open(file).close()
    file.chmod(0o444)
    without_power.chmod(0o555)
    with caplog.at_level(logging.WARNING, "stepsize"):
        watching = _watched(str(file))
    assert (watching.name, watching.report().steps) == (None, 60)
    assert [message for message in caplog.messages if "may not be written" in message] == caplog.messages
    assert "stepsize.watch does not save this run" in caplog.text


def test_a_server_that_goes_away_is_told_and_watching_goes_on(
    postgres: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder, "_EVERY", 0.01)

    def end_it(step: int) -> None:
        time.sleep(0.01)
        if step == 30:
            engine = create_engine(
                make_url(postgres).set(drivername="postgresql+psycopg"),
                poolclass=NullPool,
                isolation_level="AUTOCOMMIT",
            )
            with engine.connect() as other:
                other.execute(
                    text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'stepsize' AND datname = current_database()"
                    )
                )

    with caplog.at_level(logging.WARNING, "stepsize"):
        watching = _watched(postgres, each=end_it)
    assert watching.report().steps == 60
    assert len(caplog.messages) == 1
    assert watching.name is not None
    with Store.open(postgres) as store:
        assert read_run(store, watching.name).head.status == "interrupted"


def test_a_server_holds_what_a_file_holds(postgres: str) -> None:
    watching = _watched(postgres, 200, 1e-4)
    assert watching.name is not None
    with Store.open(postgres) as store:
        kept = read_run(store, watching.name)
    _same(kept.report, watching.report())
    assert kept.head.status == "done"


@pytest.fixture
def slow_recorder(where: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunRecorder]:
    """One that writes only at its end, and lets few points wait."""
    monkeypatch.setattr(recorder, "_EVERY", 100.0)
    monkeypatch.setattr(recorder, "_WAITING", 50)
    kept = start_recorder(where, "net", "net", Facts())
    assert kept is not None
    yield kept
    kept.close("done")


def test_points_that_wait_are_bounded_and_losing_some_is_told(
    where: str, slow_recorder: RunRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    record = slow_recorder.record = Record()
    record.outbox = slow_recorder.points
    for step in range(200):
        record.add("loss", step, 1.0)
    assert len(slow_recorder.points) == 50
    with caplog.at_level(logging.WARNING, "stepsize"):
        slow_recorder.close("done")
    assert "runs.db is slower than the training; points of 'net' are dropped" in caplog.text
    with Store.open(where) as store:
        assert read_run(store, "net").report.signals["loss"].steps[0] == 150


_FORKED_AND_LEFT = """
import os, sys, time, torch, stepsize

def parts():
    net = torch.nn.Linear(2, 1)
    return net, torch.optim.SGD(net.parameters(), lr=0.1)

def step(watching, net, optimizer):
    loss = net(torch.randn(4, 2)).square().mean(); loss.backward(); optimizer.step(); watching.step(loss)

net, optimizer = parts()
with stepsize.watch(net, optimizer, store=sys.argv[1], name="forked") as watching:
    for number in range(20):
        step(watching, net, optimizer)
        if number == 10:
            time.sleep(1.2)
            child = os.fork()
            if child == 0:
                sys.exit(0)  # through all that Python does at its end
            assert os.waitpid(child, 0)[1] == 0
left = []
for name, steps in (("whole", 20), ("half", 10)):
    net, optimizer = parts()
    left.append(stepsize.watch(net, optimizer, steps=20, store=sys.argv[1], name=name))
    for _ in range(steps):
        step(left[-1], net, optimizer)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_the_store_alone_and_watches_that_nobody_closed_are_kept_where_the_process_ends(
    where: str,
) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", _FORKED_AND_LEFT, where], check=True, timeout=100)
    with Store.open(where) as store:
        runs = [read_run(store, name) for name in ("forked", "whole", "half")]
    assert [(run.head.status, run.head.steps) for run in runs] == [("done", 20), ("done", 20), ("interrupted", 10)]
    assert len(runs[0].report.signals["loss"].values) == 20
    with closing(sqlite3.connect(where)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
