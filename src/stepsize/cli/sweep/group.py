"""The commands below ``stepsize sweep``, of which the first may be left out."""

from __future__ import annotations

import typer

from stepsize.cli.groups import FirstByDefault
from stepsize.cli.sweep import export, resume, run, show

NAME = "sweep"
EXAMPLE = run.EXAMPLE

app = typer.Typer(cls=FirstByDefault)

for _command in (run, show, resume, export):
    app.command(_command.NAME, epilog=f"Example: {_command.EXAMPLE}")(_command.command)


@app.callback(invoke_without_command=True, epilog=f"Example: {EXAMPLE}")
def _root(context: typer.Context) -> None:
    """Train many configurations, recommend a learning rate and the range that is as good, and say how sure that is.

    Each run is saved as it ends: the same command continues where it was stopped, and so does 'resume'.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit
