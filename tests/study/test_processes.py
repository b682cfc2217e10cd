"""Workers that are processes: the same runs as in this one, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from stepsize.errors import InputError, StepsizeError, TaskError
from stepsize.study.processes import Processes
from stepsize.training import InOrder, Progress, Run, Setting, Task

X = torch.linspace(-1, 1, 64).reshape(-1, 2)
KILLS_ONCE, KILLS, RAISES = 0.011, 0.012, 0.013  # rates
DIFFERS = 99  # a seed


def a_task(folder: str) -> Task:
    """Return a task that does with a worker what rate and seed ask for."""

    def obey(params: Any, lr: float) -> torch.optim.Optimizer:
        once = Path(folder, "killed")
        if lr == KILLS or (lr == KILLS_ONCE and not once.exists()):
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if lr == RAISES:
            with Path(folder, "raised").open("a") as tries:
                tries.write(".")
            raise ValueError("no such rate")
        return torch.optim.SGD(params, lr=lr, momentum=0.9)

    def model() -> nn.Module:
        last = nn.Linear(16, 1)
        if torch.initial_seed() == DIFFERS:
            nn.init.constant_(last.bias, float(os.getpid()))
        return nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.2), nn.ReLU(), last)

    y = X.square().sum(1, keepdim=True)
    threads = {"threads": lambda *_: torch.tensor(float(torch.get_num_threads()))}
    return Task(
        model=model,
        loss=nn.functional.mse_loss,
        train=(X, y),
        val=(X, y),
        optimizer=obey,
        steps=40,
        metrics=threads,
        batch_size=8,
    )


def gathered(workers: Processes, settings: list[Setting]) -> list[Run]:
    """Submit all and return the runs in order; each must come exactly once."""
    for ticket, setting in enumerate(settings):
        workers.submit(ticket, setting)
    runs: dict[int, Run] = {}
    while len(runs) < len(settings):
        for ticket, run in workers.collect():
            assert ticket not in runs
            runs[ticket] = run
    return [runs[ticket] for ticket in range(len(settings))]


def same(left: Run, right: Run) -> bool:
    return (
        np.array_equal(left.losses, right.losses)
        and (left.setting, left.evaluations, left.divergence) == (right.setting, right.evaluations, right.divergence)
        and (left.passes, left.initial, left.model) == (right.passes, right.initial, right.model)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def told() -> list[Progress]:
    return []


@pytest.fixture(scope="module")
def crew(folder: str, told: list[Progress]) -> Iterator[Processes]:
    with Processes(a_task(folder), 2, threads_each=1, on_progress=told.append) as workers:
        yield workers


def test_runs_equal_those_of_this_process_bit_for_bit(crew: Processes, folder: str) -> None:
    settings = [Setting(lr, seed, steps) for lr in (0.01, 0.1, 1e4) for seed in (0, 1) for steps in (20, 40)]

    runs = gathered(crew, settings)

    assert all(map(same, runs, InOrder()(a_task(folder), settings)))
    assert {run.divergence is None for run in runs} == {True, False}


def test_a_killed_worker_is_replaced_and_its_setting_trained_again(crew: Processes, folder: str) -> None:
    settings = [Setting(lr, seed=0, steps=10) for lr in (0.1, KILLS_ONCE, 0.2, 0.3)]

    runs = gathered(crew, settings)

    assert Path(folder, "killed").exists()
    assert all(map(same, runs, InOrder()(a_task(folder), settings)))


def test_a_setting_that_kills_every_worker_is_an_error_after_what_is_done(folder: str) -> None:
    collected: list[tuple[int, Run]] = []

    def collect_all() -> None:
        while True:
            collected.extend(workers.collect())

    with Processes(a_task(folder), 1, retries=1) as workers:
        workers.submit(7, Setting(0.1, 0, 10))
        workers.submit(8, Setting(KILLS, 3, 10))
        with pytest.raises(TaskError, match=r"it crashed 2 times while training lr 0.012, seed 3.*killed by SIGKILL"):
            collect_all()

    ((ticket, run),) = collected
    assert ticket == 7
    assert run.evaluations[-1].metrics["threads"] == len(os.sched_getaffinity(0))  # they are shared out by default


def test_what_the_task_raises_is_raised_here_and_not_tried_again(crew: Processes, folder: str) -> None:
    crew.submit(0, Setting(RAISES, 0, 10))

    with pytest.raises(ValueError, match="no such rate") as caught:
        list(crew.collect())

    assert Path(folder, "raised").read_text() == "."
    assert "in obey" in caught.value.__notes__[0]
    assert list(crew.collect()) == []


def test_progress_comes_back_at_most_ten_times_a_second(crew: Processes, told: list[Progress]) -> None:
    told.clear()

    (run,) = gathered(crew, [Setting(0.01, 0, 2_000)])

    assert told[0].setting == run.setting
    assert 1 <= len(told) <= 1 + 10 * run.seconds < 1_000


def test_a_worker_uses_as_many_threads_as_it_was_given(crew: Processes) -> None:
    (run,) = gathered(crew, [Setting(0.01, 0, 5)])

    assert run.evaluations[-1].metrics["threads"] == 1


def test_workers_that_start_from_other_weights_are_found_out(crew: Processes) -> None:
    with pytest.raises(TaskError, match=f"for seed {DIFFERS} in another process"):
        gathered(crew, [Setting(0.1, DIFFERS, 1)] * 2)


# Where another test has imported JAX, it warns of every fork in this process, such as that of InOrder's loader below.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_loader_with_processes_of_its_own_works_in_a_worker() -> None:
    loader = DataLoader(TensorDataset(X, X[:, :1]), batch_size=8, num_workers=1)
    task = Task(
        model=lambda: nn.Linear(2, 1), loss=nn.functional.mse_loss, train=loader, optimizer="sgd", steps=3, device="cpu"
    )
    with Processes(task, 1, 1) as workers:
        (run,) = gathered(workers, [Setting(0.1, 0, 3)])

    assert same(run, InOrder()(task, [Setting(0.1, 0, 3)])[0])


def test_a_worker_that_cannot_build_the_task_ends_in_an_error_not_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "gone.py"
    path.write_text("import no_such_module_anywhere\n")

    with (
        Processes(f"{path}:task", 1) as workers,
        pytest.raises(StepsizeError, match=r"No module named 'no_such_module_anywhere'.*python looks in"),
    ):
        gathered(workers, [Setting(0.1, 0, 1)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "count must be a whole number, at least 1"),
        ({"count": 2, "threads_each": 0}, "threads_each must be"),
        ({"count": 2, "retries": -1}, "retries must be a whole number, at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_starts(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Processes("digits-mlp", **arguments)


SCRIPT = """
import os, sys, time
print("main ran", flush=True)
import torch
from torch import nn
from stepsize.study.processes import Processes
from stepsize.training import Setting, Task

x = torch.ones(8, 1)
def model():
    print("the task talks", flush=True)
    open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
    time.sleep(60)
    return nn.Linear(1, 1)

task = Task(model=model, loss=nn.functional.mse_loss, train=(x, x), optimizer="sgd", steps=1)
with Processes(task, 2) as workers:
    workers.submit(0, Setting(0.1, 0, 1))
    workers.submit(1, Setting(0.2, 0, 1))
    list(workers.collect())
"""


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def awaited(condition: Any, seconds: float = 240.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.timeout(400)  # three processes import torch, on a machine that may have other work
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_the_program_that_started_them(tmp_path: Path, blow: signal.Signals) -> None:
    """The script has no main guard either: it must run once only; stdout is the script's alone."""
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    # a shell's background jobs ignore Ctrl-C, and so would their children
    script.write_text(f"import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n{SCRIPT}")
    pids.mkdir()
    with subprocess.Popen(
        [sys.executable, str(script), str(pids)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert awaited(lambda: len(list(pids.iterdir())) == 2)
        workers = [int(path.name) for path in pids.iterdir()]
        if blow == signal.SIGINT:
            for worker in workers:
                os.kill(worker, blow)
            time.sleep(0.3)
            assert all(map(lives, workers))  # it is not for them to decide
            os.killpg(program.pid, blow)  # as a terminal does: to workers too
        else:
            program.send_signal(blow)
        out, err = program.communicate(timeout=100)

    assert awaited(lambda: not any(map(lives, workers)), 10)
    assert out == "main ran\n"
    assert err.count("the task talks") == 2
    assert err.count("Traceback") == (1 if blow == signal.SIGINT else 0)
