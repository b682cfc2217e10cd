"""A group of commands of which the first may be left out."""

from __future__ import annotations

import copy
from typing import Any

from typer.core import TyperGroup


class FirstByDefault(TyperGroup):
    """A group that takes what is none of its commands for the arguments of the first one.

    Contexts are Any: they are click's in older versions of typer and typer's own in newer ones.
    """

    @property
    def _first(self) -> str:
        return next(iter(self.commands))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self._first, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the arguments and options of the first as the group's own: they are what most people look for."""
        shown = copy.copy(self)
        shown.commands = {name: command for name, command in self.commands.items() if name != self._first}
        shown.params = self.commands[self._first].params
        shown.subcommand_metavar = f"| {' | '.join(shown.commands)}"
        super(FirstByDefault, shown).format_help(ctx, formatter)
