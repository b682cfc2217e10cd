"""From functions to commands of typer: groups of options, failures, and groups of commands."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any, get_type_hints

import typer
from typer.core import TyperGroup

from stepsize.cli.failures import reporting_failures


def add_command(app: typer.Typer, module: ModuleType) -> None:
    """Add the command of ``module``: its ``command``, with ``NAME`` and ``EXAMPLE``."""
    app.command(module.NAME, epilog=f"Example: {module.EXAMPLE}")(expanded(module.command))


def command_group(first: ModuleType, *others: ModuleType, text: str) -> typer.Typer:
    """Return a group of commands, of which the first may be left out."""
    app = typer.Typer(cls=_FirstByDefault, help=text, epilog=f"Example: {first.EXAMPLE}")
    for module in (first, *others):
        add_command(app, module)
    return app


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Return ``command`` as typer takes it: failures become exit codes, a parameter with a dataclass its options."""
    signature = inspect.signature(command, eval_str=True)
    annotations = {name: one.annotation for name, one in signature.parameters.items()}
    groups: dict[str, Any] = {name: group for name, group in annotations.items() if is_dataclass(group)}
    parameters: list[inspect.Parameter] = []
    for name, one in signature.parameters.items():
        parameters += _options_of(groups[name]) if name in groups else [one.replace(kind=one.KEYWORD_ONLY)]

    @functools.wraps(command)
    def called(**given: Any) -> None:
        with reporting_failures():
            for name, group in groups.items():
                given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
            command(**given)

    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def _options_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    options = inspect.signature(group).parameters.values()
    return [one.replace(kind=one.KEYWORD_ONLY, annotation=hints[one.name]) for one in options]


class _FirstByDefault(TyperGroup):
    """A group that takes what is none of its commands for the arguments of the first one.

    Contexts are Any: they are click's in older versions of typer and typer's own in newer ones.
    """

    @property
    def _first(self) -> str:
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args:
            args = ["--help"]
        elif args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self._first, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the arguments and options of the first as the group's own: they are what most people look for."""
        shown = copy.copy(self)
        shown.commands = {name: command for name, command in self.commands.items() if name != self._first}
        shown.params = self.commands[self._first].params
        shown.subcommand_metavar = f"| {' | '.join(shown.commands)}"
        super(_FirstByDefault, shown).format_help(ctx, formatter)
