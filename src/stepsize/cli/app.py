"""The command ``stepsize``: its table of commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import stepsize
from stepsize.cli import (
    compare,
    diagnose,
    doctor,
    find,
    live,
    profile,
    range_test,
    report,
    runs,
    schedule,
    steer,
    sweep,
    tasks,
    train,
    translate,
    watch,
)
from stepsize.cli.commands import add_command
from stepsize.cli.failures import STOPPED, tell_stopped
from stepsize.cli.options import flag

_EXIT_CODES = (
    "Exit codes: 0 success · 1 error while running · 2 invalid input · 3 no answer, or the run diverged · "
    "130 interrupted (Ctrl-C)."
)

app = typer.Typer(
    name="stepsize",
    add_completion=False,
    pretty_exceptions_enable=False,  # a bug of stepsize shows a plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (
    find, range_test, compare, profile, train, watch, live, steer, runs, report, diagnose, translate, tasks, doctor,
):  # fmt: skip
    add_command(app, _command)
app.add_typer(sweep.app, name=sweep.NAME)
app.add_typer(schedule.app, name=schedule.NAME)


@app.callback(invoke_without_command=True, epilog=f"Example: {find.EXAMPLE}\n\n{_EXIT_CODES}")
def _root(
    context: typer.Context, *, version: Annotated[bool, flag("--version", "Print the version and exit.")] = False
) -> None:
    """Find a learning rate for a PyTorch training run, with an interval and the evidence."""
    if version:
        typer.echo(stepsize.__version__)
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        return
    raise typer.Exit


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        app(arguments, prog_name="stepsize")
    except KeyboardInterrupt:  # between the commands' own handling and ours, for example while torch loads
        tell_stopped()
        sys.exit(STOPPED)
    finally:
        # Python ends by SIGINT, whatever the exit code, if Ctrl-C came in source text that it was executing, although
        # it was caught further out: dataclasses are made so while a module loads. The next such text clears that.
        exec("")  # noqa: S102
