"""``stepsize report``: what was seen of a watched run, in the terminal and as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.diagnosis import check_page_path, findings_text, save_page
from stepsize.cli.failures import reporting_failures
from stepsize.cli.kept import RunArgument, RunStoreOption, opened_store, run_name, status_text, steps_text
from stepsize.cli.options import JsonOption
from stepsize.cli.output import facts, print_json, show
from stepsize.cli.sweep.run import STORE

if TYPE_CHECKING:
    from stepsize.monitor.stored import StoredWatch

__all__ = ["EXAMPLE", "NAME", "command", "head_rows"]

NAME = "report"
EXAMPLE = "stepsize report --html report.html"


def command(
    run: RunArgument = None,
    *,
    html: Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Write the report as one page.")] = None,
    store: RunStoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Say what was seen of a watched run: the rate, findings, and what a guard did."""
    with reporting_failures():
        path = None if html is None else check_page_path(html)
        from stepsize.monitor.stored import read_watched

        with opened_store(store) as opened:
            name = run_name(opened, run)
            assert opened is not None  # or there was no name
            kept = read_watched(opened, name)
            where = opened.where
        if as_json:
            print_json({"store": where, **kept.to_json()})
        else:
            show(_render(kept))
        if path is not None:
            told = [(title, str(value)) for title, value in head_rows(kept)]
            save_page(kept.report, path, kept.head.name, facts=told, acts=kept.acts)


def head_rows(kept: StoredWatch) -> list[tuple[str, str | Text]]:
    """Return what is said of a watched run before what was seen of it."""
    head = kept.head
    return [
        ("of", f"{head.what}, {head.optimizer}"),
        ("status", status_text(head)),
        ("steps", steps_text(head)),
        ("begun", f"{head.begun:%Y-%m-%d %H:%M} UTC"),
    ]


def _render(kept: StoredWatch) -> RenderableType:
    title = Text(kept.head.name, style="bold underline")
    return Group(title, facts(head_rows(kept)), findings_text(kept.report, kept.acts))
