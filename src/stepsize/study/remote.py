"""What leaves this process for a worker and what the worker does with it: shared by processes and Ray."""

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from stepsize.errors import InputError, MissingExtraError, StepsizeError, TaskError
from stepsize.training import InOrder, Run, Setting, Task
from stepsize.training.runs import Watcher

_VERSION = metadata.version("stepsize")

__all__ = [
    "Bench",
    "BuiltInSource",
    "Failure",
    "Kit",
    "PathSource",
    "PickledSource",
    "TaskSource",
    "as_task_source",
    "attempt",
    "here",
]

_BY_PATH = "Name the task by its import path (train.py:task), so that each worker builds it for itself"


class TaskSource(ABC):
    """How a worker comes by the task: small enough to travel, and gives the same task wherever it is built."""

    @property
    @abstractmethod
    def label(self) -> str:
        """What messages call the task."""

    @abstractmethod
    def build(self) -> Task:
        """Return the task; called once in each worker, whose process it may change (``sys.path``)."""


@dataclass(frozen=True)
class BuiltInSource(TaskSource):
    """A built-in task by name.

    Args:
        name: A key of :data:`stepsize.tasks.TASKS`.
        arguments: What :func:`stepsize.build_task` takes besides; a data folder must be there on every worker.

    Example:
        >>> BuiltInSource("digits-mlp", {"steps": 50}).build().horizon
        50
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name."""
        return self.name

    def build(self) -> Task:
        """Return the built-in task."""
        from stepsize.tasks import build_task

        return build_task(self.name, **self.arguments)


@dataclass(frozen=True)
class PathSource(TaskSource):
    """A task by its import path: every worker imports the module for itself.

    Args:
        place: A module (``"package.module"``), or a python file (``"path/train.py"``), absolute.
        attribute: Names a Task, or a function without arguments that returns one.
        folder: Where python looks first, so that the file finds its neighbours.
    """

    place: str
    attribute: str
    folder: str

    @property
    def label(self) -> str:
        """The import path as one writes it."""
        return f"{self.place}:{self.attribute}"

    def build(self) -> Task:
        """Import the module and return its task; leaves ``folder`` on ``sys.path`` for imports during training."""
        if self.folder not in sys.path:
            sys.path.insert(0, self.folder)
        module = _imported_file(Path(self.place)) if self.place.endswith(".py") else importlib.import_module(self.place)
        value = getattr(module, self.attribute)
        if not isinstance(value, Task) and callable(value):
            value = value()
        if not isinstance(value, Task):
            raise TaskError(
                "task", self.label, "must name a stepsize.Task, or a function without arguments that returns one"
            )
        return value


@dataclass(frozen=True)
class PickledSource(TaskSource):
    """A task that lives in this process, as cloudpickle wrote it.

    House rule 8 keeps pickles of others out. This one never lies in a file: a sweep writes it and hands it to workers
    that it started itself, over their own pipe.

    Args:
        name: The task's own.
        payload: The task; functions and classes that a worker could not import are in it as code.
    """

    name: str
    payload: bytes = field(repr=False)

    @property
    def label(self) -> str:
        """The task's own name."""
        return self.name

    def build(self) -> Task:
        """Return the task."""
        task = pickle.loads(self.payload)  # noqa: S301  written by the sweep that started this worker
        assert isinstance(task, Task)
        return task


def as_task_source(task: Task | TaskSource | str, *, far: bool = False, **arguments: Any) -> TaskSource:
    """Return how ``task`` travels to workers; nothing is started yet.

    Args:
        task: A built-in name (``"digits-mlp"``), an import path (``"package.module:task"``, ``"train.py:task"``; the
            attribute is ``task`` where none is named), a Task, or a source, which is returned as it is.
        far: Whether workers run on other machines, where the user's own modules cannot be imported: their code then
            travels with a Task. What is installed beside python must be installed there too.
        arguments: Of :func:`stepsize.build_task`, for a built-in name only.

    Returns:
        The source.

    Raises:
        InputError: If the file is not there, or ``arguments`` are given with anything but a built-in name.
        UnknownNameError: If no built-in task has that name.
        TaskError: If a part of the Task cannot leave this process; the message says which, why and what to do.
        MissingExtraError: If a Task is given and cloudpickle is not installed.

    Example:
        >>> as_task_source("digits-mlp", steps=50)
        BuiltInSource(name='digits-mlp', arguments={'steps': 50})
        >>> as_task_source("my.package:make").label
        'my.package:make'
    """
    if isinstance(task, str) and ":" not in task and "." not in task:
        return _built_in(task, arguments)
    if arguments:
        raise InputError("arguments", sorted(arguments), "are for built-in tasks only")
    if isinstance(task, TaskSource):
        return task
    if isinstance(task, str):
        return _by_path(task)
    return PickledSource(task.name, _pickled(task, far=far))


def _built_in(name: str, arguments: Mapping[str, Any]) -> BuiltInSource:
    from stepsize.errors import UnknownNameError
    from stepsize.tasks import TASKS

    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return BuiltInSource(name, dict(arguments))


def _by_path(spec: str) -> PathSource:
    place, colon, attribute = spec.rpartition(":")
    if not colon or not place:
        place, attribute = spec.rstrip(":"), ""
    attribute = attribute or "task"
    if not place.endswith(".py"):
        return PathSource(place, attribute, str(Path.cwd()))
    path = Path(place).resolve()
    if not path.is_file():
        raise InputError("task", spec, "must be a file that exists", f"Looked in {path.parent}")
    return PathSource(str(path), attribute, str(path.parent))


def _imported_file(path: Path) -> ModuleType:
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
    try:
        import cloudpickle
    except ImportError:
        raise MissingExtraError("cloudpickle", "processes") from None
    refused: Exception | None = None
    for modules in (list(_strangers(far=far)), []):  # a module may hold what cannot travel: then it must be importable
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
                    f"Batches are moved to the task's device by themselves. {_BY_PATH}",
                )
            return super().reducer_override(value)

    written = io.BytesIO()
    Pickler(written).dump(value)
    return written.getvalue()


def _blamed(cloudpickle: ModuleType, task: Task, error: Exception) -> TaskError:
    """Return the error that names the part of ``task`` which cannot travel."""
    for part in fields(task):
        try:
            _dumped(cloudpickle, getattr(task, part.name))
        except Exception as of_part:  # noqa: BLE001  as above
            argument, error = part.name, of_part
            break
    else:
        argument = "task"
    if isinstance(error, TaskError):
        return TaskError(argument, error.received, error.rule, error.remedy)
    reason = f"{type(error).__name__}: {error}".rstrip(".")
    return TaskError(
        argument,
        type(getattr(task, argument, task)).__name__,
        f"must be something that can be sent to another process, which open files, locks and connections cannot "
        f"({reason})",
        f"Open it inside the function or the dataset where it is needed. {_BY_PATH}",
    )


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


def _strangers(*, far: bool) -> Iterator[ModuleType]:
    """Yield the modules of the user that a worker could not import by their name."""
    installed = (*sysconfig.get_paths().values(), str(Path(__file__).parents[1]))
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or module.__name__ != name or name in ("__main__", "__mp_main__"):
            continue  # what the main module defines travels as code anyway
        origin = module.__dict__.get("__file__")
        if origin is None or origin.startswith(installed) or "site-packages" in Path(origin).parts:
            continue
        if far or ("." not in name and _found(name) != origin):
            yield module


def _found(name: str) -> str | None:
    """Return the file that importing ``name`` anew would read."""
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None)
        if spec is not None:
            return spec.origin
    return None


@dataclass(frozen=True)
class _Numerics:
    """The settings of torch that change what a training computes."""

    dtype: torch.dtype
    matmul: str
    deterministic: bool
    warn_only: bool

    @classmethod
    def take(cls) -> _Numerics:
        return cls(
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        )

    def apply(self) -> None:
        torch.set_default_dtype(self.dtype)
        torch.set_float32_matmul_precision(self.matmul)
        torch.use_deterministic_algorithms(self.deterministic, warn_only=self.warn_only)


@dataclass(frozen=True)
class Kit:
    """Everything that a worker needs before its first setting.

    Attributes:
        source: How it comes by the task.
        threads: How many threads torch may use there, >= 1.
        numerics: What torch computes with here: default type, precision of products, determinism.
        version: Of the stepsize that sends it.
    """

    source: TaskSource
    threads: int
    numerics: _Numerics = field(default_factory=_Numerics.take)
    version: str = _VERSION


@dataclass(frozen=True)
class Failure:
    """What a worker sends in place of a run: the exception, to be raised where the runs are collected."""

    error: Exception


class Bench:
    """Where a worker trains: it builds the task once, keeps it, and trains one setting at a time.

    Args:
        kit: What was sent.

    Raises:
        TaskError: If the task cannot be imported or built here, or its device is missing; the message names the
            worker, what was not found and where python looked.
    """

    def __init__(self, kit: Kit) -> None:
        if kit.version != _VERSION:
            raise TaskError(
                "task",
                kit.source.label,
                f"must be trained by stepsize {kit.version}, which sent it; {here()} has {_VERSION}",
                "Install the same version everywhere",
            )
        torch.set_num_threads(kit.threads)
        kit.numerics.apply()
        self._task = _built(kit.source)
        self._executor = InOrder()

    def train(self, setting: Setting, watcher: Watcher | None = None) -> Run:
        """Train the task with ``setting``."""
        (run,) = self._executor(self._task, [setting], on_progress=watcher)
        return run


def attempt(work: Callable[[], Run]) -> Run | Failure:
    """Return what ``work`` returns, or the exception that it raised in a form that can travel."""
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
        raise TaskError(
            "task",
            source.label,
            f"must be importable by every worker; {here()} got {_last_line(error)} {_where(error)}".rstrip()
            + f" (python looks in {', '.join(_shown_paths(sys.path))})",
            _remedy(error),
        ) from error
    try:
        torch.empty(1, device=task.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise TaskError(
            "device",
            str(task.device),
            f"must be there on every worker; {here()} has no such device",
            "Ask for GPUs per run (gpus=1 on Ray), or set the task's device to 'cpu'",
        ) from error
    return task


def _last_line(error: BaseException) -> str:
    return traceback.format_exception_only(error)[-1].strip()


def _where(error: BaseException) -> str:
    """Return the last line of the user's that ``error`` went through, in words; empty where there is none."""
    if isinstance(error, SyntaxError):
        return ""
    outside = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<frozen")
    ]
    return f"in {outside[-1].filename}, line {outside[-1].lineno}" if outside else ""


def _shown_paths(paths: Iterable[str]) -> list[str]:
    return [*[repr(path) for path in paths][:3], "..."]


def _remedy(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return 'Put what the file does as a program under: if __name__ == "__main__":'
    if isinstance(error, ImportError):
        return (
            "Install what is missing where the workers run, or put it into a folder that all of them see; "
            "a Task that is given itself, not by its path, brings its code along"
        )
    if isinstance(error, FileNotFoundError):
        return "Put the file into a folder that every worker sees, and name it by its full path"
    return "It must build the same task in a process of its own as here"


def _portable(error: Exception) -> Exception:
    """Return ``error``, or one that says the same where it would not survive the way, with a note of where it rose."""
    where = f"Raised in {here()}"
    if not isinstance(error, StepsizeError):  # its message is enough; others need their traceback, which cannot travel
        where += ":\n" + "".join(traceback.format_exception(error)).rstrip()
    try:
        carried = pickle.loads(pickle.dumps(error))  # noqa: S301  written on this very line
        same = type(carried) is type(error) and str(carried) == str(error) and _importable(type(error))
    except Exception:  # noqa: BLE001  exceptions with constructors of their own fail in every way
        same = False
    if not same:
        error = TaskError("task", _last_line(error), "must train without raising")
    error.add_note(where)
    return error


def _importable(kind: type[Exception]) -> bool:
    """Whether the process that collects is sure to know ``kind``: builtins, torch's and ours are everywhere."""
    return kind.__module__.partition(".")[0] in ("builtins", "torch", "stepsize", "numpy")
