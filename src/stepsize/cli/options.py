"""The parameters that several commands share, each with one spelling and one help text."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from stepsize.errors import InputError

_T = TypeVar("_T")
STORE = "stepsize.db"
NOWHERE = "none"


def argument(metavar: str, text: str, **more: Any) -> Any:
    """Return an argument, as the metadata of an annotation."""
    return typer.Argument(metavar=metavar, help=text, show_default=False, **more)


def option(metavar: str, text: str, *names: str, **more: Any) -> Any:
    """Return an option with a value, as the metadata of an annotation; its name is the parameter's if none is given."""
    return typer.Option(*names, metavar=metavar, help=text, **more)


def flag(name: str, text: str) -> Any:
    """Return an option without a value, as the metadata of an annotation."""
    return typer.Option(name, help=text)


def number(text: str) -> float:
    """Return what was typed for a number; typer adds the option's name to the error."""
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number; got '{text}'. For example 0.01 or 3e-3") from None


def fraction(text: str) -> float:
    """Return what was typed for a fraction, which may be a percentage; typer adds the option's name to the error."""
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a fraction or a percentage; got '{text}'. For example 2% or 0.02") from None


def pair(option: str, text: str, kind: Callable[[str], _T], example: str) -> tuple[_T, _T]:
    """Return two numbers that were typed with a colon between them."""
    first, colon, second = text.partition(":")
    try:
        if colon:
            return kind(first), kind(second)
    except ValueError:
        pass
    raise InputError(option, text, "must be two numbers with a colon between them", f"For example {option} {example}")


def typed(*words: str, **options: object) -> str:
    """Return a command as it can be pasted: its words, then each option that has a value."""
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
    return shlex.join(["stepsize", *words, *(part for pair in pairs for part in pair)])


TaskArgument = Annotated[
    str,
    argument("TASK", "A built-in name (stepsize tasks lists them), file.py:task, or package.module:task."),
]
OptimizerOption = Annotated[str | None, option("NAME", "Optimizer. Default: the task's.")]
StepsOption = Annotated[int | None, option("N", "Number of training steps (horizon). Default: the task's.")]
ScheduleOption = Annotated[
    str | None,
    option("TEXT", "Schedule, for example 'wsd cooldown=20%' (stepsize schedule list). Default: the task's."),
]
DataOption = Annotated[Path | None, option("DIR", "Folder with data files of built-in tasks. Default: $STEPSIZE_DATA.")]
DeviceOption = Annotated[str | None, option("DEVICE", "Device, for example cpu or cuda:0. Default: the task's.")]
SeedOption = Annotated[int | None, option("N", "Random seed for initial weights, batch order and dropout.", min=0)]
PlotOption = Annotated[Path | None, option("PATH", "Save a chart here: .png, .svg, .html or .pdf.")]
HtmlOption = Annotated[Path | None, option("PATH", "Write the report as an HTML page.")]
StoreOption = Annotated[str, option("WHERE", "Where runs are saved: a path, a PostgreSQL URL, or none.")]
WorkersOption = Annotated[str, option("NAME", "population, in-order, processes or ray.")]
LastOption = Annotated[
    int | None, option("N", "Number of the newest to list. Default: 100 in a table, else all.", min=1)
]
JsonOption = Annotated[bool, flag("--json", "Print the answer as one JSON object.")]


def kept_in(store: str) -> str | None:
    """Return the argument ``store`` of the library for ``--store``."""
    return None if store == NOWHERE else store


@dataclass(frozen=True)
class StudyOptions:
    """The task of a sweep or comparison, and how its runs are trained and saved."""

    task: TaskArgument
    workers: WorkersOption = "population"
    store: StoreOption = STORE
    name: Annotated[str | None, option("NAME", "Name in the store.")] = None
    steps: StepsOption = None
    data: DataOption = None
    device: DeviceOption = None


@dataclass(frozen=True)
class TaskOptions:
    """The task, and what replaces its own parts; None replaces nothing."""

    task: TaskArgument
    optimizer: OptimizerOption = None
    data: DataOption = None
    device: DeviceOption = None


@dataclass(frozen=True)
class RunOptions(TaskOptions):
    """The task, and what replaces its own parts, schedule and number of steps; None replaces nothing."""

    schedule: ScheduleOption = None
    steps: StepsOption = None


def stored(asked: RunOptions) -> dict[str, object]:
    """Return the options that were given as plain values, by which a store says what a study was asked for."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in vars(asked).items()}
    return {name: value for name, value in plain.items() if value is not None}


def restored(asked: Mapping[str, Any]) -> RunOptions:
    """Return the options of which :func:`stored` made ``asked``; a later version may have stored more."""
    given = {field.name: asked[field.name] for field in fields(RunOptions) if field.name in asked}
    if "data" in given:
        given["data"] = Path(given["data"])
    return RunOptions(**given)
