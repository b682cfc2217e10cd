"""Watched runs in a store: which one is meant, and what to say where there is none."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stepsize.cli.sweep.run import STORE
from stepsize.errors import DataUnavailableError, InputError

if TYPE_CHECKING:
    from stepsize.monitor.stored import WatchHead
    from stepsize.store import Store

__all__ = [
    "BEGIN",
    "RunArgument",
    "RunStoreOption",
    "again",
    "opened_store",
    "run_name",
    "status_text",
    "steps_text",
    "verdict_style",
]

BEGIN = "stepsize train digits-mlp --lr 0.01 --watch"
"""What begins a watched run."""

RunStoreOption = Annotated[
    str, typer.Option("--store", metavar="WHERE", help="Where watched runs are kept: a path or a PostgreSQL URL.")
]
RunArgument = Annotated[
    str | None,
    typer.Argument(metavar="RUN", help="Its name (stepsize runs lists them). Default: the newest.", show_default=False),
]
_STATUSES = {"running": "cyan", "done": "green", "diverged": "red", "failed": "red", "broken": "red"}
_VERDICTS = {"fine": "green", "cannot tell": "dim"}


def again(command: str, name: str, store: str) -> str:
    """Return the command line that asks for a run again, without a password.

    Example:
        >>> again("report", "digits-mlp", "stepsize.db"), again("watch", "my net", "postgresql://ann:secret@host/lab")
        ('stepsize report digits-mlp', "stepsize watch 'my net' --store postgresql://ann@host/lab")
    """
    from stepsize.store.address import as_address

    where = [] if store == STORE else ["--store", str(as_address(store))]
    return shlex.join(["stepsize", command, name, *where])


@contextmanager
def opened_store(where: str) -> Iterator[Store | None]:
    """Open a store for reading; None where none was asked for by name and there is none yet."""
    from stepsize.store import Store

    try:
        store = Store.open(where, create=False)
    except DataUnavailableError:
        if where != STORE:
            raise
        yield None
        return
    with store:
        yield store


def run_name(store: Store | None, run: str | None) -> str:
    """Return the run that is meant: the newest where none is named.

    Raises:
        InputError: If there is none.
    """
    from stepsize.monitor.keeping import KIND

    kept = [] if store is None else [study.name for study in store.studies() if study.kind == KIND]
    if store is None or not kept:
        where = STORE if store is None else store.where
        raise InputError("store", where, "must hold a watched run", f"Begin one with: {BEGIN}")
    return kept[-1] if run is None else run


def status_text(head: WatchHead) -> Text:
    """Return how a run stands, in its colour."""
    return Text(head.status, style=_STATUSES.get(head.status, "yellow"))


def verdict_style(code: str) -> str:
    """Return the colour of a verdict."""
    return _VERDICTS.get(code, "red")


def steps_text(head: WatchHead) -> str:
    """Return how many steps of a run were made, and of how many; a guard that goes back makes more than planned."""
    if head.planned is None:
        return f"{head.steps:,}"
    return f"{head.steps:,} {'of' if head.steps <= head.planned else 'for'} {head.planned:,}"
