"""What is sent to a worker in another process and what the worker does with it: shared by processes and Ray."""

from __future__ import annotations

import importlib
import importlib.util
import io
import os
import pickle
import socket
import sys
import sysconfig
import traceback
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from stepsize.errors import InputError, StepsizeError, TaskError, UnknownNameError, needing
from stepsize.study.workers import Closing
from stepsize.training import InOrder, Run, Setting, Task
from stepsize.training.from_trainers import is_described
from stepsize.training.runs import Watcher

LOOK_SECONDS = 1.0  # between two looks at silent workers, and for Ctrl-C
_BY_PATH = "Name the task by its import path (train.py:task), so that each worker builds it"


@dataclass(frozen=True)
class TaskSource:
    """How a worker gets the task: small enough to send, and gives the same task wherever it is built.

    ``label`` is what messages call it; ``build`` is called once in each worker, whose process it can change.
    """

    label: str
    build: Callable[[], Task] = field(repr=False)


def as_task_source(task: Task | TaskSource | str, *, far: bool = False) -> TaskSource:
    """Return how a task, an import path, a built-in name or a source gets to workers; nothing is started yet.

    Workers on other machines (``far``) cannot import the user's own modules: their code is sent with a Task.
    """
    if isinstance(task, Task):
        return TaskSource(task.name, partial(_unpickled, _pickled(task, far=far)))
    if isinstance(task, TaskSource):
        return task
    if ":" in task or "." in task:
        return _by_path(task)
    from stepsize.tasks import TASKS, build_task

    if task not in TASKS:
        raise UnknownNameError("task", task, TASKS)
    return TaskSource(task, partial(build_task, task))


def _unpickled(payload: bytes) -> Task:
    task = pickle.loads(payload)  # noqa: S301  over the pipe, written by the study that started this worker
    assert isinstance(task, Task)
    return task


def split_spec(spec: str) -> tuple[str, str]:
    """Return the file or module of a written task, and its attribute, ``task`` if none is written."""
    place, colon, attribute = spec.rpartition(":")
    return (place, attribute or "task") if colon and place else (spec.rstrip(":"), "task")


def _by_path(spec: str) -> TaskSource:
    place, attribute = split_spec(spec)
    folder = Path.cwd()
    if place.endswith(".py"):
        path = Path(place).resolve()
        place, folder = str(path), path.parent
        if not path.is_file():
            raise InputError("task", spec, "must be a file that exists", f"Looked in {folder}")
    return TaskSource(f"{place}:{attribute}", partial(_imported, place, attribute, str(folder)))


def _imported(place: str, attribute: str, folder: str) -> Task:
    """Return the task of a module, or of a file, which finds its neighbors: ``folder`` stays on ``sys.path``."""
    if folder not in sys.path:
        sys.path.insert(0, folder)
    module = import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    value = getattr(module, attribute)
    return Task.of(value() if callable(value) and not is_described(value) else value)


def import_file(path: Path) -> ModuleType:
    """Return the module of a file, whose place ``sys.modules`` has under a name that hides no other."""
    name = path.stem if path.stem not in sys.modules else f"_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles of the file look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _pickled(task: Task, *, far: bool) -> bytes:
    with needing("processes"):
        import cloudpickle
    refused: Exception | None = None
    for modules in (list(_user_modules(far=far)), []):  # a module may hold what cannot be sent: it is then imported
        with _by_value(cloudpickle, modules):
            try:
                return _dumped(cloudpickle, task)
            except Exception as error:  # noqa: BLE001  a pickle fails with whatever the object raises
                refused = refused or error
                if isinstance(error, TaskError):
                    break
    assert refused is not None
    raise _blamed(cloudpickle, task, refused) from None


def _dumped(cloudpickle: ModuleType, value: object) -> bytes:
    class Pickler(cloudpickle.Pickler):  # type: ignore[name-defined,misc]  # it is imported where it is used
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, Tensor) and value.device.type != "cpu":
                raise TaskError(
                    "task",
                    f"a tensor on {value.device}",
                    "must hold its tensors on the CPU to be sent to another process",
                    f"Batches are moved to the task's device automatically. {_BY_PATH}",
                )
            return super().reducer_override(value)

    written = io.BytesIO()
    Pickler(written).dump(value)
    return written.getvalue()


def _blamed(cloudpickle: ModuleType, task: Task, error: Exception) -> TaskError:
    """Return the error that names the part of ``task`` which cannot be sent."""
    argument = "task"
    for part in fields(task):
        try:
            _dumped(cloudpickle, getattr(task, part.name))
        except Exception as of_part:  # noqa: BLE001  as above
            argument, error = part.name, of_part
            break
    if isinstance(error, TaskError):
        return TaskError(argument, error.received, error.rule, error.remedy)
    reason = f"{type(error).__name__}: {error}".rstrip(".")
    rule = (
        "must be something that can be sent to another process, which open files, locks and connections cannot be "
        f"({reason})"
    )
    remedy = f"Open it inside the function or the dataset that needs it. {_BY_PATH}"
    return TaskError(argument, type(getattr(task, argument, task)).__name__, rule, remedy)


@contextmanager
def _by_value(cloudpickle: ModuleType, modules: list[ModuleType]) -> Iterator[None]:
    before = cloudpickle.list_registry_pickle_by_value()
    ours = [module for module in modules if module.__name__ not in before]
    for module in ours:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in ours:
            cloudpickle.unregister_pickle_by_value(module)


def _user_modules(*, far: bool) -> Iterator[ModuleType]:
    """Yield the user's modules that a worker could not import by name."""
    installed = (*sysconfig.get_paths().values(), str(Path(__file__).parents[1]))
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or module.__name__ != name or name in ("__main__", "__mp_main__"):
            continue  # what the main module defines is sent as code anyway
        origin = module.__dict__.get("__file__")
        if origin is None or origin.startswith(installed) or "site-packages" in Path(origin).parts:
            continue
        if far or ("." not in name and _found(name) != origin):
            yield module


def _found(name: str) -> str | None:
    """Return the file that importing ``name`` anew would read."""
    specs = (finder.find_spec(name, None) for finder in sys.meta_path)
    return next((spec.origin for spec in specs if spec is not None), None)


@dataclass(frozen=True)
class _Numerics:
    """The settings of torch that change what a run computes."""

    dtype: torch.dtype = field(default_factory=torch.get_default_dtype)
    matmul: str = field(default_factory=torch.get_float32_matmul_precision)
    deterministic: bool = field(default_factory=torch.are_deterministic_algorithms_enabled)
    warn_only: bool = field(default_factory=torch.is_deterministic_algorithms_warn_only_enabled)

    def apply(self) -> None:
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.matmul)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)


@cache
def _version() -> str:
    try:
        return metadata.version("stepsize")
    except metadata.PackageNotFoundError:  # on a path, not installed
        return "unknown"


@dataclass(frozen=True)
class WorkerPayload:
    """What a worker needs before its first configuration: task, threads of torch, numerics, version of the sender."""

    source: TaskSource
    threads: int
    numerics: _Numerics = field(default_factory=_Numerics)
    version: str = field(default_factory=_version)


@dataclass(frozen=True)
class Failure:
    """What a worker sends instead of a run: the exception, to be raised by whoever collects the runs."""

    error: Exception


class WorkerRuntime:
    """The state of a worker: it builds the task once, keeps it, and trains one configuration at a time.

    Raises TaskError if the task cannot be imported or built here, or its device is missing; the message names the
    worker, what was not found and where python looked.
    """

    def __init__(self, payload: WorkerPayload) -> None:
        if payload.version != _version():
            rule = f"must be trained by stepsize {payload.version}, which sent it; {here()} has {_version()}"
            raise TaskError("task", payload.source.label, rule, "Install the same version everywhere")
        torch.set_num_threads(payload.threads)
        payload.numerics.apply()
        self._task = _built(payload.source)
        self._executor = InOrder()

    def train(self, setting: Setting, on_progress: Watcher | None = None) -> Run:
        """Train the task with ``setting``."""
        (run,) = self._executor(self._task, [setting], on_progress=on_progress)
        return run


@dataclass(frozen=True)
class Submitted:
    """A configuration on its way to a worker."""

    ticket: int
    setting: Setting


class RemoteWorkers(Closing, ABC):
    """What workers of all other processes share: tries after a worker was lost, runs that ended, the error to raise."""

    def __init__(self, payload: WorkerPayload, retries: int, remedy: str) -> None:
        self._payload = payload
        self._retries = retries
        self._remedy = remedy
        self._losses: Counter[int] = Counter()
        self._done: deque[tuple[int, Run]] = deque()
        self._error: Exception | None = None

    def collect(self) -> Iterator[tuple[int, Run]]:
        """Yield each run as it ends, at least one; then raise what a task raised, if one did."""
        while not self._done and self._error is None and self._busy:
            self._listen(LOOK_SECONDS)
        while self._done or self._error is not None:
            while self._done:
                yield self._done.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            self._listen(0)

    @property
    @abstractmethod
    def _busy(self) -> bool:
        """Whether a run is still to come."""

    @abstractmethod
    def _listen(self, seconds: float) -> None:
        """Take the runs that have ended, for the first of which it waits at most ``seconds``."""

    def _fail(self, error: Exception) -> None:
        """Keep an error until the runs that ended before it were collected; the first one counts."""
        self._error = self._error or error

    def _tries_again(self, job: Submitted, last: str) -> bool:
        """Return whether a job whose worker was lost is trained again; if not, that is an error."""
        self._losses[job.ticket] += 1
        if self._losses[job.ticket] <= self._retries:
            return True
        setting = job.setting
        rule = (
            f"must not end its worker: it crashed {self._losses[job.ticket]} times while training lr {setting.lr:g}, "
            f"seed {setting.seed}, {setting.steps} steps (last: {last})"
        )
        self._fail(TaskError("task", self._payload.source.label, rule, self._remedy))
        return False


def attempt(work: Callable[[], Run]) -> Run | Failure:
    """Return what ``work`` returns, or the exception that it raised in a form that can be sent."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001  a task may raise anything; it is raised again where runs are collected
        return Failure(_portable(error))


def here() -> str:
    """Return the name of this worker for messages."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def _built(source: TaskSource) -> Task:
    try:
        task = source.build()
    except StepsizeError:
        raise
    except (Exception, SystemExit) as error:
        looked = ", ".join([*map(repr, sys.path[:3]), "..."])
        rule = f"must be importable by every worker; {here()} got {_last_line(error)} {_where(error)}".rstrip()
        raise TaskError("task", source.label, f"{rule} (python looks in {looked})", _remedy(error)) from error
    try:
        torch.empty(1, device=task.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        rule = f"must exist on every worker; {here()} has no such device"
        remedy = "Ask for GPUs per run (gpus=1 on Ray), or set the task's device to 'cpu'"
        raise TaskError("device", str(task.device), rule, remedy) from error
    return task


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _where(error: BaseException) -> str:
    """Return the last line of the user's code that ``error`` came through; empty if there is none."""
    if isinstance(error, SyntaxError):
        return ""
    outside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    return f"in {outside[-1].filename}, line {outside[-1].lineno}" if outside else ""


def _remedy(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return 'Put what the file does as a program under: if __name__ == "__main__":'
    if isinstance(error, ImportError):
        return (
            "Install what is missing where the workers run, or put it into a folder that all of them see; "
            "the code of a Task that is given itself, not by its path, is sent with it"
        )
    if isinstance(error, FileNotFoundError):
        return "Put the file into a folder that every worker sees, and name it by its full path"
    return "It must build the same task in another process as here"


def _portable(error: Exception) -> Exception:
    """Return ``error``, or one that says the same if it cannot be sent, with a note of where it was raised."""
    where = f"Raised in {here()}"
    if not isinstance(error, StepsizeError):  # its message is enough; others need their traceback, which is not sent
        where += ":\n" + "".join(traceback.format_exception(error)).rstrip()
    try:
        carried = pickle.loads(pickle.dumps(error))  # noqa: S301  written on this very line
        known = type(error).__module__.partition(".")[0] in ("builtins", "torch", "stepsize", "numpy")
        same = type(carried) is type(error) and str(carried) == str(error) and known
    except Exception:  # noqa: BLE001  exceptions with constructors of their own fail in every way
        same = False
    if not same:
        error = TaskError("task", _last_line(error), "must train without raising")
    error.add_note(where)
    return error
