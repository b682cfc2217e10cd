"""``stepsize sweep resume``: continue a sweep that was stopped, with what it was asked for."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from stepsize.cli.options import STORE, StoreOption, WorkersOption, flag
from stepsize.cli.sweep.run import NameArgument, SweepOutput, names_code, train
from stepsize.errors import InputError

NAME = "resume"
EXAMPLE = "stepsize sweep resume digits-mlp-1a2b3c"


def command(
    name: NameArgument,
    *,
    store: StoreOption = STORE,
    workers: WorkersOption = "population",
    output: SweepOutput,
    yes: Annotated[bool, flag("--yes", "Run the task's file without asking.")] = False,
) -> None:
    """Continue a sweep that was stopped or killed; one that is done gives its answer again.

    A task from a file is searched where it was: run this in the same folder. The store names the file, so it is shown
    and confirmed before it is run.
    """
    from stepsize.store import Store
    from stepsize.study.sweeping import stored_sweep

    with Store.open(store, create=False) as opened:
        kept = stored_sweep(opened, name)
    if "task" not in kept.asked:
        rule = "must be a sweep that was begun on the command line"
        raise InputError("name", name, rule, "Continue this one by calling stepsize.sweep as before")
    _allow(str(kept.asked["task"]), yes=yes)
    train(kept.asked, {"name": name, **kept.arguments}, workers=workers, store=store, output=output)


def _allow(task: str, *, yes: bool) -> None:
    """Ask before code is run that a store names: somebody else may have made the store."""
    if yes or not names_code(task):
        return
    question = f"The store says that the task of this sweep is {task!r}. Run that code?"
    if not sys.stdin.isatty():
        raise InputError("name", task, "is a task whose code the store names", "Check it, and add --yes to run it")
    if not typer.confirm(question, err=True):
        raise InputError("name", task, "is a task whose code may not be run", "Add --yes to run it")
