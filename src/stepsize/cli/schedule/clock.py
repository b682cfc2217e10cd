"""The options that turn epochs, samples and tokens into steps, for every command that takes durations."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.schedules import Clock

__all__ = ["ClockOptions", "clocked", "told_as_options"]

_PANEL = "For epochs, samples and tokens"
_REMEDY = re.compile(r"Give Clock\((?P<field>\w+)=…\)")  # of the library, where a unit lacks something
_CALLS = ".extended(to=…)"  # of the library, where a length is not that of the horizon


def _count(option: str, text: str) -> Any:
    return typer.Option(option, metavar="N", help=text, rich_help_panel=_PANEL, show_default=False)


@dataclass(frozen=True)
class ClockOptions:
    """The fields of a ``Clock`` as they were typed, each an option of its own."""

    batch_size: Annotated[int | None, _count("--batch-size", "Samples of a micro-batch.")] = None
    accumulate: Annotated[int, _count("--accumulate", "Micro-batches an update. Default: 1")] = 1
    world_size: Annotated[int, _count("--world-size", "Processes that train together. Default: 1")] = 1
    sequence_length: Annotated[int | None, _count("--sequence-length", "Tokens a sample.")] = None
    steps_per_epoch: Annotated[
        float | None, _count("--steps-per-epoch", "Updates (not micro-batches) a pass over the data.")
    ] = None

    def clock(self) -> Clock:
        """Return the clock.

        Raises:
            InputError: If a number is not positive.
        """
        from stepsize.schedules import Clock

        return Clock(**{field.name: getattr(self, field.name) for field in fields(self)})


def clocked(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` the options of a clock, which reach it as its one argument ``clock``.

    Args:
        command: A function with a keyword argument ``clock`` of type :class:`ClockOptions`.

    Returns:
        A function for typer, with one parameter an option.

    Example:
        >>> @clocked
        ... def command(*, clock: ClockOptions) -> None:
        ...     print(clock.batch_size, clock.accumulate)
        >>> command(batch_size=8)
        8 1
    """
    names = {field.name for field in fields(ClockOptions)}

    def with_clock(**given: Any) -> None:
        typed = {name: value for name, value in given.items() if name in names}
        command(clock=ClockOptions(**typed), **{name: given[name] for name in given if name not in names})

    own = inspect.signature(command, eval_str=True)
    kept = [parameter for name, parameter in own.parameters.items() if name != "clock"]
    options = inspect.signature(ClockOptions, eval_str=True).parameters.values()
    added = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    with_clock.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    with_clock.__annotations__ = {parameter.name: parameter.annotation for parameter in (*kept, *added)}
    with_clock.__doc__ = command.__doc__
    return with_clock


@contextmanager
def told_as_options() -> Iterator[None]:
    """Name options and written forms in place of the Python that an error raised inside advises.

    Example:
        >>> from stepsize.schedules import Clock
        >>> with told_as_options():
        ...     Clock().steps("2ep")
        Traceback (most recent call last):
            ...
        stepsize.errors.InputError: duration needs steps_per_epoch to be turned into steps; got '2 epochs'. Add --steps-per-epoch N
    """  # noqa: E501
    try:
        yield
    except InputError as error:
        if _CALLS in error.remedy:
            remedy = "Leave --steps or its length out, add another phase after it, or '| extended N'"
            raise InputError(error.argument, error.received, error.rule, remedy) from None
        asked = _REMEDY.fullmatch(error.remedy)
        if asked is None:
            raise
        option = "--steps" if asked["field"] == "horizon" else f"--{asked['field'].replace('_', '-')}"
        raise InputError(error.argument, error.received, error.rule, f"Add {option} N") from None
