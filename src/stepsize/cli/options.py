"""The parameters that several commands share, each with one spelling and one help text."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from stepsize.errors import InputError

_T = TypeVar("_T")


def number(text: str) -> float:
    """Return what was typed for a number; typer adds the option's name to the error.

    Example:
        >>> number("3e-3")
        0.003
    """
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number; got '{text}'. For example 0.01 or 3e-3") from None


def fraction(text: str) -> float:
    """Return what was typed for a fraction, which may be a percentage; typer adds the option's name to the error.

    Example:
        >>> fraction("2%"), fraction("0.02")
        (0.02, 0.02)
    """
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a fraction or a percentage; got '{text}'. For example 2% or 0.02") from None


def pair(option: str, text: str, kind: Callable[[str], _T], example: str) -> tuple[_T, _T]:
    """Return two numbers that were typed with a colon between them.

    Raises:
        InputError: If it is no such pair.

    Example:
        >>> pair("--lr", "1e-6:1", float, "1e-6:1")
        (1e-06, 1.0)
    """
    first, colon, second = text.partition(":")
    try:
        if colon:
            return kind(first), kind(second)
    except ValueError:
        pass
    raise InputError(option, text, "must be two numbers with a colon between them", f"For example {option} {example}")


TaskArgument = Annotated[
    str,
    typer.Argument(
        metavar="TASK",
        help="A built-in name (stepsize tasks lists them), file.py:task, or package.module:task.",
        show_default=False,
    ),
]
OptimizerOption = Annotated[
    str | None, typer.Option("--optimizer", metavar="NAME", help="Optimizer. Default: the task's.")
]
StepsOption = Annotated[
    int | None, typer.Option("--steps", metavar="N", help="Number of training steps (horizon). Default: the task's.")
]
ScheduleOption = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="TEXT",
        help="Schedule, for example 'wsd cooldown=20%' (stepsize schedule list). Default: the task's.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Folder with data files of built-in tasks. Default: $STEPSIZE_DATA."),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="Device, for example cpu or cuda:0. Default: the task's."),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, help="Random seed for initial weights, batch order and dropout."),
]
PlotOption = Annotated[
    Path | None, typer.Option("--plot", metavar="PATH", help="Save a chart here: .png, .svg, .html or .pdf.")
]
StoreOption = Annotated[
    str, typer.Option("--store", metavar="WHERE", help="Where runs are saved: a path, a PostgreSQL URL, or none.")
]
WorkersOption = Annotated[
    str, typer.Option("--workers", metavar="NAME", help="population, in-order, processes or ray.")
]
LastOption = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, show_default=False, help="Number of the newest to list. Default: 100 in a table, else all."
    ),
]
STORE = "stepsize.db"
NOWHERE = "none"
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")]


def kept_in(store: str) -> str | None:
    """Return the argument ``store`` of the library for ``--store``."""
    return None if store == NOWHERE else store


@dataclass(frozen=True)
class TaskOptions:
    """The task, and what replaces its own parts; None replaces nothing."""

    task: TaskArgument
    optimizer: OptimizerOption = None
    data: DataOption = None
    device: DeviceOption = None


@dataclass(frozen=True)
class ScheduleOptions:
    """What replaces the task's own schedule and number of steps; None replaces nothing."""

    schedule: ScheduleOption = None
    steps: StepsOption = None


def typed(options: TaskOptions | ScheduleOptions) -> dict[str, object]:
    """Return the options that were given, as they are typed.

    Example:
        >>> typed(TaskOptions("digits-mlp", optimizer="adam"))
        {'--optimizer': 'adam'}
    """
    given = {field.name: getattr(options, field.name) for field in fields(options) if field.name != "task"}
    return {f"--{name}": value for name, value in given.items() if value is not None}


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` as typer takes it: each parameter that is a dataclass of options becomes these options."""
    signature = inspect.signature(command, eval_str=True)
    annotations = {name: one.annotation for name, one in signature.parameters.items()}
    groups: dict[str, Any] = {name: group for name, group in annotations.items() if is_dataclass(group)}
    parameters: list[inspect.Parameter] = []
    for name, one in signature.parameters.items():
        parameters += _options_of(groups[name]) if name in groups else [one.replace(kind=one.KEYWORD_ONLY)]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def _options_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    defaults = inspect.signature(group).parameters
    return [
        inspect.Parameter(field.name, kind, default=defaults[field.name].default, annotation=hints[field.name])
        for field in fields(group)
    ]
