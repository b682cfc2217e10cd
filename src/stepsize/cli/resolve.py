"""From what was typed to a Task: built-in names, ``file.py:attribute`` and ``package.module:attribute``."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from stepsize.cli.failures import task_frames
from stepsize.errors import InputError, StepsizeError, UnknownNameError

if TYPE_CHECKING:
    from stepsize.training import Task

__all__ = ["Wishes", "opened_task"]

_T = TypeVar("_T")
_DEFAULT_ATTRIBUTE = "task"
_FORMS = "A task of your own is written file.py:task or package.module:task."


@dataclass(frozen=True)
class Wishes:
    """What the command line asks of a task in place of its own; None asks for nothing."""

    optimizer: str | None = None
    steps: int | None = None
    data: Path | None = None
    device: str | None = None
    schedule: str | None = None


@contextmanager
def opened_task(spec: str, wishes: Wishes) -> Iterator[Task]:
    """Find the task that ``spec`` names and give it for the duration of the context.

    Meanwhile stdout belongs to the answer alone: what the task prints goes to stderr. A task file can import its
    neighbours, and leaves no bytecode behind.

    Args:
        spec: A built-in name, ``file.py:attribute`` or ``package.module:attribute``; the attribute is a Task or a
            function without arguments that returns one, ``task`` by default.
        wishes: What to change about it.

    Yields:
        The task.

    Raises:
        InputError: If there is no such task, or a wish cannot be fulfilled.

    Example:
        >>> with opened_task("digits-mlp", Wishes(optimizer="sgd", device="cpu")) as task:
        ...     name = task.optimizer_name
        >>> name
        'SGD'
    """
    with contextlib.redirect_stdout(sys.stderr):
        if wishes.schedule is not None:
            from stepsize.schedules import parse

            parse(wishes.schedule)  # a fault in it shows before any data are read
        place, colon, attribute = spec.rpartition(":")
        if not colon or not place:
            place, attribute = spec, _DEFAULT_ATTRIBUTE
        if place.endswith(".py"):
            folder, load = Path(place).resolve().parent, _load_file
        elif place != spec or "." in place:
            folder, load = Path.cwd(), _load_module
        else:
            yield _usable(_built_in(spec, wishes))
            return
        with _importing_from(folder):
            yield _usable(_changed(_attribute(load(place), attribute, spec), wishes))


def _built_in(name: str, wishes: Wishes) -> Task:
    from stepsize.tasks import build_task

    try:
        task = build_task(name, optimizer=wishes.optimizer, data=wishes.data, device=wishes.device, steps=wishes.steps)
    except UnknownNameError as error:
        if error.argument == "task":
            beside = f" There is a file {name}.py here." if Path(f"{name}.py").is_file() else ""
            error.add_note(_FORMS + beside)
        raise
    return task if wishes.schedule is None else replace(task, schedule=wishes.schedule)


def _changed(task: Task, wishes: Wishes) -> Task:
    """Return the user's ``task`` with what the command line asks for instead of its own."""
    from stepsize.schedules import Schedule
    from stepsize.training.stepping import rung_schedule

    if wishes.data is not None:
        raise InputError(
            "--data", str(wishes.data), "is for built-in tasks only", "A task of your own brings its own data"
        )
    changes: dict[str, Any] = {}
    if wishes.optimizer is not None:
        changes["optimizer"] = wishes.optimizer
    if wishes.device is not None:
        changes["device"] = wishes.device
    if wishes.schedule is not None:
        changes["schedule"] = wishes.schedule
    if wishes.steps is not None:
        changes["steps"] = wishes.steps
        given = task.schedule
        if wishes.schedule is None and given is not None and wishes.steps >= 1:  # the same shape over the other horizon
            changes["schedule"] = (
                given.extended(to=wishes.steps) if isinstance(given, Schedule) else rung_schedule(task, wishes.steps)
            )
    if not changes:
        return task
    return replace(task, **{"steps": task.horizon, "epochs": None, **changes})


def _usable(task: Task) -> Task:
    import torch

    try:
        torch.empty(1, device=task.device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(
            "device", str(task.device), "must be one that this machine has", "stepsize doctor lists them"
        ) from None
    return task


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let python import from ``folder`` first, write no bytecode, and forget what was imported from there."""
    wrote_nothing, known = sys.dont_write_bytecode, set(sys.modules)
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.dont_write_bytecode = wrote_nothing
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if _lies_in(sys.modules[name], folder):
                del sys.modules[name]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return origin is not None and Path(origin).parent == folder


def _load_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise InputError("task", place, "must be a file that exists", _nearest_file(path))
    name = path.stem if path.stem not in sys.modules else f"_task_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path.resolve())
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickles of the file look their module up
    try:
        _running(lambda: found.loader.exec_module(module), place)  # type: ignore[union-attr]
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(place: str) -> ModuleType:
    try:
        known = importlib.util.find_spec(place) is not None
    except (ImportError, ValueError):  # a parent that is no package, or an empty name
        known = False
    except Exception as error:  # noqa: BLE001  a parent package is imported on the way, and may raise anything
        raise _failed(error, place) from None
    if not known:
        raise InputError(
            "task", place, "must be a module that can be imported from here", "Is its folder the current one?"
        )
    return _running(lambda: importlib.import_module(place), place)


def _running(code: Callable[[], _T], place: str) -> _T:
    """Return what the user's ``code`` returns; whatever it raises becomes a message with file and line."""
    try:
        return code()
    except StepsizeError as error:
        frames = task_frames(error)
        if frames:
            error.add_note(f"Raised in {_at(frames[-1])}")
        raise
    except SystemExit:
        raise InputError(
            "task",
            place,
            "must be importable without ending the program",
            'Put what the file does as a program under: if __name__ == "__main__":',
        ) from None
    except Exception as error:  # noqa: BLE001  anything may be raised by a user's file
        raise _failed(error, place) from None


def _failed(error: Exception, place: str) -> InputError:
    """Return the error that says what went wrong while ``place`` was read or run, and in which line."""
    if isinstance(error, SyntaxError):
        failed = InputError("task", place, "must be valid Python", f"{type(error).__name__}: {error.msg}")
        lines = traceback.format_exception_only(error)[:-1]  # file and line, the text, the caret
        failed.add_note("".join(lines).rstrip())
        return failed
    text = traceback.format_exception_only(error)[-1].strip()
    failed = InputError("task", place, "must be a file or module that can be imported", f"It raised {text}")
    frames = task_frames(error)
    if frames:
        failed.add_note(f"Raised in {_at(frames[-1])}")
    return failed


def _at(frame: traceback.FrameSummary) -> str:
    return f"{frame.filename}, line {frame.lineno}:\n    {frame.line}"


def _attribute(module: ModuleType, name: str, spec: str) -> Task:
    from stepsize.training import Task

    if not hasattr(module, name):
        tasks = [key for key, value in vars(module).items() if isinstance(value, Task)]
        raise InputError("task", spec, f"must name something that is there: no '{name}' is", _offer(spec, tasks))
    value = getattr(module, name)
    if callable(value) and not isinstance(value, type | Task):
        _check_no_arguments(value, spec)
        value = _running(value, spec)
    if not isinstance(value, Task):
        raise InputError(
            "task",
            spec,
            "must be a stepsize.Task, or a function without arguments that returns one",
            f"It is {_described(value)}",
        )
    return value


def _check_no_arguments(function: Callable[..., Any], spec: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins without a signature
        return
    try:
        signature.bind()
    except TypeError:
        raise InputError(
            "task", spec, "must be a function that can be called without arguments", f"It takes {signature}"
        ) from None


def _described(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return "None" if value is None else f"of type {type(value).__name__}"


def _offer(spec: str, tasks: list[str]) -> str:
    place = spec.rpartition(":")[0] or spec
    if not tasks:
        return f"It holds no Task; define one, for example: {_DEFAULT_ATTRIBUTE} = stepsize.Task(...)"
    return f"There is: {', '.join(f'{place}:{name}' for name in tasks)}"


def _nearest_file(path: Path) -> str:
    try:
        names = [each.name for each in path.parent.glob("*.py")]
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"Did you mean '{path.with_name(near[0])}'?" if near else f"Looked in {path.resolve().parent}"
