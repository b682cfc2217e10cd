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
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from stepsize.cli.failures import task_frames
from stepsize.cli.options import RunOptions, TaskOptions
from stepsize.cli.output import hint
from stepsize.errors import InputError, StepsizeError, UnknownNameError

if TYPE_CHECKING:
    from stepsize.training import Task

_T = TypeVar("_T")


@contextmanager
def opened_task(options: TaskOptions) -> Iterator[Task]:
    """Find the task that is asked for and give it for the duration of the context.

    Meanwhile stdout belongs to the answer alone: what the task prints goes to stderr. A task file can import its
    neighbors, and leaves no bytecode behind.
    """
    asked, spec = RunOptions(**vars(options)), options.task
    if "\0" in spec:
        raise InputError("task", spec, "must not hold a NUL character")
    with contextlib.redirect_stdout(sys.stderr):
        if asked.schedule is not None:
            from stepsize.schedules import parse

            parse(asked.schedule)  # a fault in it shows before any data are read
        from stepsize.study.remote import split_spec

        place, attribute = split_spec(spec)
        if place.endswith(".py"):
            folder, load = Path(place).resolve().parent, _load_file
        elif place != spec or "." in place:
            folder, load = Path.cwd(), _load_module
        else:
            yield _usable(_built_in(asked))
            return
        with _importing_from(folder):
            yield _usable(_changed(_attribute(load(place), attribute, spec), asked))


def _built_in(asked: RunOptions) -> Task:
    from stepsize.tasks import TASKS, build_task

    name, data = asked.task, asked.data
    if data is not None and not data.is_dir():
        raise InputError("--data", str(data), "must be an existing folder")
    if data is not None and name in TASKS and not TASKS[name].files:
        hint(f"--data is not used: {name} needs no data files.")
    try:
        task = build_task(name, optimizer=asked.optimizer, data=data, device=asked.device, steps=asked.steps)
    except UnknownNameError as error:
        if error.argument == "task":
            beside = f" There is a file {name}.py here." if Path(f"{name}.py").is_file() else ""
            error.add_note(f"A task of your own is written file.py:task or package.module:task.{beside}")
        raise
    return task if asked.schedule is None else replace(task, schedule=asked.schedule)


def _changed(task: Task, asked: RunOptions) -> Task:
    """Return the user's ``task`` with what the command line asks for instead of its own."""
    from stepsize.schedules import Schedule
    from stepsize.training.stepping import rung_schedule

    if asked.data is not None:
        raise InputError("--data", str(asked.data), "is for built-in tasks only", "Your own task has its own data")
    parts = ("optimizer", "device", "schedule", "steps")
    changes = {name: getattr(asked, name) for name in parts if getattr(asked, name) is not None}
    steps, given = asked.steps, task.schedule
    if steps is not None and steps >= 1 and asked.schedule is None and given is not None:
        # the same shape over the other horizon
        scaled = given.extended(to=steps) if isinstance(given, Schedule) else rung_schedule(task, steps)
        changes["schedule"] = scaled
    return replace(task, **{"steps": task.horizon, "epochs": None, **changes}) if changes else task


def _usable(task: Task) -> Task:
    import torch

    try:
        torch.empty(1, device=task.device)
    except (RuntimeError, AssertionError, NotImplementedError):
        rule = "must be one that this machine has"
        raise InputError("device", str(task.device), rule, "stepsize doctor lists them") from None
    return task


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Let Python import from ``folder`` first, write no bytecode, and forget what was imported from there."""
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
            origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
            if origin is not None and Path(origin).parent == folder:
                del sys.modules[name]


def _load_file(place: str) -> ModuleType:
    path = Path(place)
    try:
        others = None if path.is_file() else [each.name for each in path.parent.glob("*.py")]
    except OSError as error:  # a name that no file can have
        raise InputError("task", place, f"must be a file that exists ({error.strerror})") from None
    if others is not None:
        near = difflib.get_close_matches(path.name, others, n=1)
        remedy = f"Did you mean '{path.with_name(near[0])}'?" if near else f"Looked in {path.resolve().parent}"
        raise InputError("task", place, "must be a file that exists", remedy)
    from stepsize.study.remote import import_file

    return _running(lambda: import_file(path.resolve()), place)


def _load_module(place: str) -> ModuleType:
    try:
        known = importlib.util.find_spec(place) is not None
    except (ImportError, ValueError):  # a parent that is no package, or an empty name
        known = False
    except Exception as error:  # noqa: BLE001  a parent package is imported on the way, and may raise anything
        raise _failed(error, place) from None
    if not known:
        rule = "must be a module that can be imported from here"
        raise InputError("task", place, rule, "Is its folder the current one?")
    return _running(lambda: importlib.import_module(place), place)


def _running(code: Callable[[], _T], place: str) -> _T:
    """Return what the user's ``code`` returns; whatever it raises becomes a message with file and line."""
    try:
        return code()
    except StepsizeError as error:
        _add_place(error, error)
        raise
    except SystemExit:
        remedy = 'Put what the file does as a program under: if __name__ == "__main__":'
        raise InputError("task", place, "must be importable without ending the program", remedy) from None
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
    _add_place(failed, error)
    return failed


def _add_place(told: Exception, error: Exception) -> None:
    """Add to ``told`` the line of the task's own code that raised ``error``."""
    frames = task_frames(error)
    if frames:
        told.add_note(f"Raised in {frames[-1].filename}, line {frames[-1].lineno}:\n    {frames[-1].line}")


def _attribute(module: ModuleType, name: str, spec: str) -> Task:
    from stepsize.training import Task
    from stepsize.training.from_trainers import is_described

    if not hasattr(module, name):
        tasks = [key for key, value in vars(module).items() if isinstance(value, Task)]
        place = spec.rpartition(":")[0] or spec
        remedy = "It holds no Task; define one, for example: task = stepsize.Task(...)"
        if tasks:
            remedy = f"There is: {', '.join(f'{place}:{task}' for task in tasks)}"
        raise InputError("task", spec, f"must name an attribute of the module; '{name}' does not exist", remedy)
    value = getattr(module, name)
    if callable(value) and not isinstance(value, type) and not is_described(value):
        _check_no_arguments(value, spec)
        value = _running(value, spec)
    if is_described(value):
        value = _running(lambda: Task.of(value), spec)
    if not isinstance(value, Task):
        rule = "must be a stepsize.Task, or a function without arguments that returns one"
        kind = f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
        raise InputError("task", spec, rule, f"It is {'None' if value is None else kind}")
    return value


def _check_no_arguments(function: Callable[..., Any], spec: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins without a signature
        return
    try:
        signature.bind()
    except TypeError:
        rule = "must be a function that can be called without arguments"
        raise InputError("task", spec, rule, f"It takes {signature}") from None
