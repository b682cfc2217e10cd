"""``stepsize find``: the recommended learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stepsize.cli.failures import STOPPED, check_answer
from stepsize.cli.options import RunOptions, SeedOption, fraction, option, stored, typed
from stepsize.cli.output import OutputOptions, answer_of, hint
from stepsize.cli.progress import metered, show_find
from stepsize.cli.resolve import opened_task
from stepsize.curves.numerals import number_text

if TYPE_CHECKING:
    from stepsize.study.finding import Found

NAME = "find"
EXAMPLE = "stepsize find digits-mlp --budget 4 --plot lr.png"
_UNTIL = 0.02


def command(
    asked: RunOptions,
    *,
    until: Annotated[
        float | None, option("X", "Final loss above the best that is as good. Default: 2%.", parser=fraction)
    ] = None,
    budget: Annotated[
        str | None,
        option("X", "Full runs, or a time such as 10min. Default: 3 full runs or 1 min, whichever is more."),
    ] = None,
    workers: Annotated[str, option("NAME", "in-order, population, processes or ray.")] = "in-order",
    store: Annotated[
        str | None, option("WHERE", "Save each run here, a path or a PostgreSQL URL, and continue from it.")
    ] = None,
    name: Annotated[str | None, option("NAME", "Name of the search in the store.")] = None,
    seed: SeedOption = None,
    output: OutputOptions,
) -> None:
    """Recommend a peak learning rate, the range that is as good, and say how sure that is.

    Ctrl-C stops the search and prints what is known.
    """
    from stepsize.study.finding import as_budget, find

    limit = as_budget(budget)
    with opened_task(asked) as opened, metered(f"find {opened.name} ({limit})", quiet=output.as_json) as meter:
        found = find(
            opened,
            _UNTIL if until is None else until,
            budget,
            seed=seed,
            workers=workers,
            store=store,
            name=name,
            on_progress=partial(show_find, meter, opened.horizon, opened.seed if seed is None else seed),
        )
    search = {
        "until": until,
        "seed": seed,
        "workers": None if workers == "in-order" else workers,
        "store": None if store is None else found.where,
        "name": name,
    }
    again = next_command(found, asked, search, budget)
    differ = Text("no: random generators or data positions differ from before", style="red")
    rows = [] if found.restored else [("restored", differ)]
    output.give(
        lambda: {**found.to_json(), "next": again},
        lambda: answer_of(found, rows, limit=f" (budget {limit})"),
        found.plot if found.runs else None,
    )
    _conclude(found, again, output)


def next_command(found: Found, asked: RunOptions, search: Mapping[str, object], budget: str | None) -> str:
    """Return what to do now as a command that can be pasted.

    If the rate is decided, that is ``stepsize train``; if no rate trained the model, ``stepsize profile``; otherwise
    ``stepsize find``, with the same budget if it was interrupted and twice the budget if more runs may settle it.
    """
    given = {name: value for name, value in stored(asked).items() if name != "task"}
    if found.cost.stopped == "interrupted":
        return typed("find", asked.task, **given, **search, budget=budget)
    if found.answer.decided and found.lr is not None:
        return typed("train", asked.task, lr=number_text(found.lr), **given)
    if found.lr is None and found.runs:
        return typed("profile", asked.task, **{**given, "schedule": None, "steps": None})
    return typed("find", asked.task, **given, **search, budget=_twice(found, budget))


def _twice(found: Found, budget: str | None) -> str:
    """Return twice the budget, as it is typed."""
    from stepsize.study.finding import as_budget

    limit = as_budget(budget)
    if math.isinf(limit.runs):
        seconds = 2 * limit.seconds
        return f"{seconds / 60:.3g}min" if seconds >= 60 else f"{seconds:.3g}s"
    return str(math.ceil(2 * max(limit.runs, found.cost.full_runs)))


def _conclude(found: Found, again: str, output: OutputOptions) -> None:
    """Say what to do now, and end with the exit code."""
    if found.cost.stopped == "interrupted":
        if found.where is None:
            hint("Stopped. Nothing was saved; with --store FILE a search continues where it was stopped.")
        else:
            hint(f"Stopped. The runs are saved. Continue with: {again}")
            if "://" in found.where and not found.where.startswith("sqlite"):
                hint("The password is left out: write it into the URL, or set PGPASSWORD.")
        raise typer.Exit(STOPPED)
    if found.lr is None:
        output.hint(found.answer.next)
    output.hint(f"{'Train with it' if found.answer.decided else 'Next'}: {again}")
    check_answer(found.lr)
