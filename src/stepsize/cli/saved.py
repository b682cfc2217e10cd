"""Watched runs in a store: which one is meant, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

from rich.text import Text

from stepsize.cli.options import STORE, argument, option, typed
from stepsize.errors import DataUnavailableError, InputError

if TYPE_CHECKING:
    from stepsize.monitor.saved_runs import RunSummary
    from stepsize.store import Store

BEGIN = "stepsize train digits-mlp --lr 0.01 --watch"
"""A command that watches a run."""

RunStoreOption = Annotated[str, option("WHERE", "Store of watched runs: a path or a PostgreSQL URL.")]
RunArgument = Annotated[str | None, argument("RUN", "Name of the run (stepsize runs lists them). Default: the newest.")]
_STATUSES = {"running": "cyan", "done": "green", "diverged": "red", "failed": "red", "broken": "red"}
_VERDICTS = {"fine": "green", "inconclusive": "dim"}


def again(command: str, name: str, store: str, *options: str) -> str:
    """Return the command line that asks for a run again, without a password.

    Example:
        >>> again("report", "digits-mlp", "stepsize.db"), again("watch", "my net", "postgresql://ann:secret@host/lab")
        ('stepsize report digits-mlp', "stepsize watch 'my net' --store postgresql://ann@host/lab")
    """
    from stepsize.store.address import as_address

    where = None if store == STORE else as_address(store)
    return typed(*command.split(), name, *options, store=where)


@contextmanager
def opened_store(where: str) -> Iterator[Store | None]:
    """Open a store for reading; None if it is the default store and does not exist yet."""
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


@contextmanager
def opened_run(where: str, run: str | None) -> Iterator[tuple[Store, str]]:
    """Open a store, and find the run: the newest if none is named."""
    from stepsize.monitor.recorder import KIND

    with opened_store(where) as store:
        names = [] if store is None else [study.name for study in store.studies() if study.kind == KIND]
        if store is None or not names:
            received = STORE if store is None else store.where
            raise InputError("store", received, "must hold a watched run", f"Start one with: {BEGIN}")
        yield store, names[-1] if run is None else run


def status_text(head: RunSummary) -> Text:
    """Return the status of a run, in its color."""
    return Text(head.status, style=_STATUSES.get(head.status, "yellow"))


def verdict_style(code: str) -> str:
    """Return the color of a verdict."""
    return _VERDICTS.get(code, "red")


def steps_text(head: RunSummary) -> str:
    """Return how many steps were made, and of how many; a guard that rolls back makes more than planned."""
    if head.planned is None:
        return f"{head.steps:,}"
    return f"{head.steps:,} {'of' if head.steps <= head.planned else 'made for'} {head.planned:,}"
