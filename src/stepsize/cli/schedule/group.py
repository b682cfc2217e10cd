"""The commands below ``stepsize schedule``, of which the first may be left out."""

from __future__ import annotations

import typer

from stepsize.cli.groups import FirstByDefault
from stepsize.cli.schedule import compare, entries, show

NAME = "schedule"


app = typer.Typer(cls=FirstByDefault)

for _command in (show, entries, compare):
    app.command(_command.NAME, epilog=f"Example: {_command.EXAMPLE}")(_command.command)


@app.callback(invoke_without_command=True, epilog=f"Example: {show.EXAMPLE}")
def _root(context: typer.Context) -> None:
    """Show what a schedule will do, before anything is trained."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
