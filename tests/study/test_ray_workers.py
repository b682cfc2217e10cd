"""Workers on Ray: a real cluster of two nodes on this machine, one of which is killed midway."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stepsize.errors import InputError, MissingExtraError, TaskError
from stepsize.study.ray_workers import RayWorkers
from stepsize.training import InOrder, Run, Setting, Task

ray = pytest.importorskip("ray")
cluster_utils = pytest.importorskip("ray.cluster_utils")

X = torch.linspace(-1, 1, 64).reshape(-1, 2)
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
RAISES = 0.013


def a_task(folder: str, pause: float) -> Task:
    """Return a task whose updates take ``pause`` seconds, and whose runs leave the node that they began on."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        time.sleep(pause)
        return nn.functional.mse_loss(output, target)

    def obey(params: Any, lr: float) -> torch.optim.Optimizer:
        if lr == RAISES:
            raise ValueError("no such rate")
        Path(folder, ray.get_runtime_context().get_node_id()).touch()
        return torch.optim.SGD(params, lr=lr, momentum=0.9)

    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(2, 16), nn.Dropout(0.2), nn.ReLU(), nn.Linear(16, 1))

    y = X.square().sum(1, keepdim=True)
    return Task(model=model, loss=loss, train=(X, y), val=(X, y), optimizer=obey, steps=40, batch_size=8, device="cpu")


def same(left: Run, right: Run) -> bool:
    return np.array_equal(left.losses, right.losses) and (left.setting, left.evaluations, left.initial) == (
        right.setting,
        right.evaluations,
        right.initial,
    )


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with one core each, to which this process is connected."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        try:
            made.second = made.add_node(**NODE)
            ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def room_becomes(workers: RayWorkers, wanted: int, seconds: float = 60.0) -> bool:
    until = time.monotonic() + seconds
    while workers.capacity != wanted and time.monotonic() < until:
        time.sleep(0.1)
    return workers.capacity == wanted


class Killer(threading.Thread):
    """Kills the second node as soon as a run has begun on it."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        super().__init__(daemon=True)
        self._cluster, self._mark = cluster, folder / cluster.second.node_id

    def run(self) -> None:
        while not self._mark.exists():
            time.sleep(0.05)
        time.sleep(0.2)  # well within the run
        self._cluster.remove_node(self._cluster.second, allow_graceful=False)


@pytest.mark.slow
def test_a_cluster_whose_node_is_killed_gives_every_run_once_as_in_this_process(cluster: Any, tmp_path: Path) -> None:
    settings: list[Setting] = []
    came: list[tuple[int, Run]] = []
    killer = Killer(cluster, tmp_path)
    with RayWorkers(a_task(str(tmp_path), pause=0.08)) as workers:
        assert workers.capacity == 2
        killer.start()
        left = 4  # to begin after the node is gone
        while left or len(came) < len(settings):
            while left and len(settings) < len(came) + 3:
                settings.append(Setting((0.001, 0.01, 0.1)[len(settings) % 3], len(settings), 40))
                workers.submit(len(settings) - 1, settings[-1])
                left -= not killer.is_alive()
            came += workers.collect()
        lost = sum(workers._losses.values())
        assert room_becomes(workers, 1)
        cluster.add_node(**NODE)
        assert room_becomes(workers, 2)

        raises_what_a_task_raises(workers)

    assert lost >= 1
    assert sorted(ticket for ticket, _ in came) == list(range(len(settings)))
    reference = InOrder()(a_task(str(tmp_path), pause=0), settings)
    assert all(same(run, reference[ticket]) for ticket, run in came)
    assert ray.is_initialized()  # it was connected before

    refuses_what_fits_on_no_node()
    tells_of_a_task_that_the_cluster_cannot_import(tmp_path)


def raises_what_a_task_raises(workers: RayWorkers) -> None:
    workers.submit(50, Setting(RAISES, 0, 5))
    workers.submit(51, Setting(0.1, 0, 5))
    seen: list[tuple[int, Run]] = []
    with pytest.raises(ValueError, match="no such rate"):
        everything(workers, seen)
    assert [ticket for ticket, _ in everything(workers, seen)] == [51]
    assert list(workers.collect()) == []


def everything(workers: RayWorkers, seen: list[tuple[int, Run]]) -> list[tuple[int, Run]]:
    """Collect into ``seen`` until nothing comes any more."""
    count = -1
    while len(seen) > count:
        count = len(seen)
        seen.extend(workers.collect())
    return seen


def refuses_what_fits_on_no_node() -> None:
    with pytest.raises(InputError, match=r"cpus must fit on one machine of the cluster; got 64\. They have: 1 CPU"):
        RayWorkers("digits-mlp", cpus=64)
    with pytest.raises(InputError, match="gpus must fit on one machine of the cluster; got 1"):
        RayWorkers("digits-mlp", gpus=1)


def tells_of_a_task_that_the_cluster_cannot_import(folder: Path) -> None:
    path = folder / "gone.py"
    path.write_text("task = 3")
    with RayWorkers(f"{path}:task") as workers:
        path.unlink()
        workers.submit(0, Setting(0.1, 0, 5))
        with pytest.raises(TaskError, match=r"must be importable by every worker; process \d+ on .*FileNotFoundError"):
            list(workers.collect())


SCRIPT = """
import json, ray, torch
from torch import nn
from stepsize.study.ray_workers import RayWorkers
from stepsize.training import Setting, Task

def loss(output, target):
    print("the task talks")
    return nn.functional.mse_loss(output, target)

x = torch.ones(8, 1)
task = Task(model=lambda: nn.Linear(1, 1), loss=loss, train=(x, x), optimizer="sgd", steps=3)
with RayWorkers(task, "local") as workers:
    workers.submit(5, Setting(0.1, 0, 3))
    (found,) = workers.collect()
print(json.dumps([found[0], found[1].status, ray.is_initialized()]))
"""


@pytest.mark.slow
def test_a_ray_of_our_own_is_ended_and_keeps_off_stdout(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [5, "Trained for 3 steps.", False]


def test_an_address_where_no_cluster_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/nonexistent")

    with pytest.raises(InputError, match="address must lead to a Ray cluster"):
        RayWorkers("digits-mlp", "auto")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(MissingExtraError, match=r'pip install "stepsize\[ray\]"'):
        RayWorkers("digits-mlp")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cpus": 0}, "cpus must be a positive, finite number of cores; got 0"),
        ({"gpus": -1}, "gpus must be a finite number, at least 0; got -1"),
        ({"retries": 1.5}, "retries must be a whole number, at least 0"),
    ],
)
def test_numbers_out_of_range_are_refused_before_ray_starts(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RayWorkers("digits-mlp", **arguments)

    assert not ray.is_initialized()
