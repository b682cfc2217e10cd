"""The options that several commands share, each with one spelling and one help text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from stepsize.errors import InputError

__all__ = [
    "DataOption",
    "DeviceOption",
    "JsonOption",
    "OptimizerOption",
    "PlotOption",
    "ScheduleOption",
    "SeedOption",
    "StepsOption",
    "TaskArgument",
    "fraction",
    "number",
    "pair",
]

_T = TypeVar("_T")


def number(text: str) -> float:
    """Return what was typed for a number.

    Args:
        text: What was typed.

    Raises:
        typer.BadParameter: If it is no number; the command line adds the option's name.

    Example:
        >>> number("3e-3")
        0.003
    """
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number; got '{text}'. For example 0.01 or 3e-3") from None


def fraction(text: str) -> float:
    """Return what was typed for a fraction, which may be written in percent.

    Args:
        text: What was typed.

    Raises:
        typer.BadParameter: If it is no number; the command line adds the option's name.

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

    Args:
        option: For messages.
        text: What was typed.
        kind: Makes a number of each.
        example: For messages.

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
    str | None,
    typer.Option("--optimizer", metavar="NAME", help="Train with this optimizer instead of the task's own."),
]
StepsOption = Annotated[
    int | None,
    typer.Option("--steps", metavar="N", help="The horizon in updates, instead of the task's own."),
]
ScheduleOption = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="TEXT",
        help="Train on this schedule instead, for example 'wsd cooldown=20%' (stepsize schedule list).",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The folder with data files of built-in tasks. Default: $STEPSIZE_DATA"),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", metavar="DEVICE", help="Where to train, for example cpu or cuda:0."),
]
SeedOption = Annotated[
    int | None,
    typer.Option("--seed", metavar="N", min=0, help="Of initial weights, batch order and dropout."),
]
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", metavar="PATH", help="Save a chart here: .png, .svg, .html or .pdf."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the answer as one JSON object.")]
