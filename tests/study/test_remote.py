"""How a task travels to a worker, what a worker trains on, and what comes back when that fails."""

from __future__ import annotations

import importlib
import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stepsize.errors import InputError, MissingExtraError, TaskError, UnknownNameError
from stepsize.study.remote import (
    Failure,
    TaskSource,
    WorkerPayload,
    WorkerRuntime,
    as_task_source,
    attempt,
)
from stepsize.training import InOrder, Run, Setting, Task

X = torch.linspace(-1, 1, 32).reshape(-1, 1)
SETTING = Setting(0.1, seed=1, steps=5)
FILE = """
from torch import nn, linspace
from stepsize.training import Task
from {neighbour} import WIDTH

class Model(nn.Linear):
    def __init__(self):
        super().__init__(1, WIDTH)

x = linspace(-1, 1, 32).reshape(-1, 1)

def make():
    return Task(model=Model, loss=nn.functional.mse_loss, train=(x, 3 * x), optimizer="sgd", steps=5)

task = make()
number = 3
"""


def a_task(**changes: object) -> Task:
    parts = {"model": lambda: nn.Linear(1, 1), "loss": nn.functional.mse_loss, "train": (X, 3 * X), "steps": 5}
    return Task(**{**parts, "optimizer": "sgd", **changes})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a task file and its neighbour; what is imported from it is forgotten after the test."""
    (tmp_path / "own_task.py").write_text(FILE.format(neighbour="own_parts"))
    (tmp_path / "own_parts.py").write_text("WIDTH = 1\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith(("own_", "_task_own")):
            del sys.modules[name]


def trained(source: object) -> Run:
    return WorkerRuntime(WorkerPayload(source, threads=1)).train(SETTING)  # type: ignore[arg-type]


def test_an_unknown_built_in_name_is_refused_before_anything_starts() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'digits-mlp'"):
        as_task_source("digits-mpl")


def test_a_source_is_returned_as_it_is() -> None:
    source = TaskSource("mine", a_task)

    assert as_task_source(source) is source


@pytest.mark.parametrize("spec", ["own_task.py", "own_task.py:task", "own_task.py:make", "own_task:task"])
def test_a_task_is_built_from_its_import_path(folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.chdir(folder)
    source = as_task_source(spec)
    monkeypatch.chdir(folder.parent)  # the folder travels with the source

    assert source.build().horizon == 5


def test_a_file_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a file that exists"):
        as_task_source(f"{tmp_path / 'none.py'}:task")


def test_a_path_to_something_else_than_a_task_says_so(folder: Path) -> None:
    with pytest.raises(TaskError, match=r"task must be a stepsize\.Task"):
        WorkerRuntime(WorkerPayload(as_task_source(f"{folder / 'own_task.py'}:number"), 1))


def test_a_worker_that_cannot_import_says_what_and_where_it_looked(folder: Path) -> None:
    source = as_task_source(f"{folder / 'own_task.py'}:task")
    (folder / "own_parts.py").unlink()

    with pytest.raises(TaskError) as caught:
        WorkerRuntime(WorkerPayload(source, 1))

    message = str(caught.value)
    assert "No module named 'own_parts'" in message
    assert f"own_task.py, line 4 (python looks in '{folder}'" in message
    assert "Install what is missing where the workers run" in message


def test_a_program_that_ends_on_import_is_told_of_its_guard(folder: Path) -> None:
    (folder / "own_task.py").write_text("raise SystemExit(2)\n")

    with pytest.raises(TaskError, match='if __name__ == "__main__"'):
        WorkerRuntime(WorkerPayload(as_task_source(f"{folder / 'own_task.py'}:task"), 1))


def test_a_task_of_lambdas_and_closures_travels_and_trains_the_same() -> None:
    scale = 2.0
    task = a_task(loss=lambda output, target: scale * (output - target).square().mean())

    run = trained(pickle.loads(pickle.dumps(as_task_source(task))))

    assert np.array_equal(run.losses, InOrder()(task, [SETTING])[0].losses)


def loaded(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_module_that_no_worker_finds_by_its_name_travels_as_code(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    source = as_task_source(loaded(folder / "own_task.py", "_task_own_task").task)
    del sys.modules["_task_own_task"]

    assert source.build().model().weight.shape == (1, 1)


def test_the_users_own_modules_travel_as_code_to_other_machines_only(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    task = importlib.import_module("own_task").task
    near, far = as_task_source(task), as_task_source(task, far=True)
    sys.path.remove(str(folder))
    for name in ("own_task", "own_parts"):
        del sys.modules[name]

    assert far.build().model().weight.shape == (1, 1)
    with pytest.raises(TaskError, match="No module named 'own_task'"):
        WorkerRuntime(WorkerPayload(near, 1))


@pytest.mark.parametrize("part", ["model", "loss", "train"])
def test_what_cannot_travel_is_named_with_the_reason(tmp_path: Path, part: str) -> None:
    lock, held = threading.Lock(), (tmp_path / "held").open("w")

    class Guarded:
        def __init__(self) -> None:
            self.lock = lock

        def __iter__(self) -> object:
            return iter([(X, X)])

    parts = {
        "model": lambda: nn.Linear(1, int(held.closed)),
        "loss": lambda output, target: (output - target).square().mean() * int(lock.locked()),
        "train": Guarded(),
    }
    with (
        held,
        pytest.raises(TaskError, match=rf"^{part} must be something that can be sent .*[Cc]annot pickle.*train\.py"),
    ):
        as_task_source(a_task(**{part: parts[part]}))


def test_a_tensor_on_another_device_is_refused_by_the_name_of_its_part() -> None:
    far_away = torch.empty(3, device="meta")

    with pytest.raises(TaskError, match=r"^model must hold its tensors on the CPU .* got 'a tensor on meta'"):
        as_task_source(a_task(model=lambda: nn.Linear(1, len(far_away))))


def test_without_cloudpickle_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)

    with pytest.raises(MissingExtraError, match=r"cloudpickle is not installed; run: pip install .stepsize\["):
        as_task_source(a_task())


def test_a_bench_builds_the_task_once() -> None:
    built: list[int] = []

    def build() -> Task:
        built.append(1)
        return a_task()

    runtime = WorkerRuntime(WorkerPayload(TaskSource("counted", build), 1))
    runtime.train(SETTING)
    runtime.train(SETTING)

    assert built == [1]


def test_a_bench_refuses_a_kit_of_another_version() -> None:
    with pytest.raises(TaskError, match=r"must be trained by stepsize 0\.0\.0, which sent it; process"):
        WorkerRuntime(WorkerPayload(as_task_source("digits-mlp"), 1, version="0.0.0"))


def test_a_bench_without_the_device_of_the_task_says_so() -> None:
    with pytest.raises(TaskError, match="device must exist on every worker; process"):
        WorkerRuntime(WorkerPayload(as_task_source(a_task(device="cuda:77")), 1))


def test_what_torch_computes_with_travels_too() -> None:
    try:
        torch.set_default_dtype(torch.float64)
        payload = pickle.loads(pickle.dumps(WorkerPayload(as_task_source("digits-mlp"), 1)))
        torch.set_default_dtype(torch.float32)
        WorkerRuntime(payload)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_factory_that_returns_its_model_twice_is_found_out_by_the_worker() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(TaskError, match="a model that was returned before"):
        WorkerRuntime(WorkerPayload(as_task_source(a_task(model=lambda: model)), 1)).train(SETTING)


class PeculiarError(Exception):
    def __init__(self, left: Tensor, right: Tensor) -> None:
        super().__init__(f"{left} is not {right}")


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("no such rate"), ValueError, "no such rate"),
        (TaskError("loss", 3, "must be a scalar"), TaskError, "loss must be a scalar; got 3"),
        (UnknownNameError("optimizer", "sdg", ["sgd"]), UnknownNameError, "Did you mean 'sgd'"),
        (PeculiarError(torch.ones(1), torch.zeros(1)), TaskError, "PeculiarError: tensor"),
    ],
)
def test_an_exception_survives_the_way_back(error: Exception, kind: type[Exception], text: str) -> None:
    def fail() -> Run:
        raise error

    failure = pickle.loads(pickle.dumps(attempt(fail)))

    assert isinstance(failure, Failure)
    assert type(failure.error) is kind
    assert text in str(failure.error)
    assert "Raised in process" in failure.error.__notes__[0]


def test_a_pickled_source_hides_its_payload_in_messages() -> None:
    assert repr(as_task_source(a_task(name="mine"))) == "TaskSource(label='mine')"
