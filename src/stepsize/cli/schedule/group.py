"""The commands below ``stepsize schedule``, of which the first may be left out."""

from __future__ import annotations

import copy
from typing import Any

import typer
from typer.core import TyperGroup

from stepsize.cli.schedule import compare, entries, show

__all__ = ["NAME", "app"]

NAME = "schedule"


class _Defaulting(TyperGroup):
    """A group that takes what is none of its commands for the arguments of ``show``.

    Contexts are Any: they are click's in older versions of typer and typer's own in newer ones.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [show.NAME, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Show the arguments and options of ``show`` as the group's own: they are what most people look for."""
        shown = copy.copy(self)
        shown.commands = {name: command for name, command in self.commands.items() if name != show.NAME}
        shown.params = self.commands[show.NAME].params
        shown.subcommand_metavar = f"| {' | '.join(shown.commands)}"
        super(_Defaulting, shown).format_help(ctx, formatter)


app = typer.Typer(cls=_Defaulting)

for _command in (show, entries, compare):
    app.command(_command.NAME, epilog=f"Example: {_command.EXAMPLE}")(_command.command)


@app.callback(invoke_without_command=True, epilog=f"Example: {show.EXAMPLE}")
def _root(context: typer.Context) -> None:
    """Show what a schedule will do, before anything is trained."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
