"""``stepsize report``: a watched run, in the terminal and as one page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from stepsize.cli.diagnosis import check_page_path, findings_text, save_page
from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import STORE, JsonOption
from stepsize.cli.output import facts, print_json, show
from stepsize.cli.saved import RunArgument, RunStoreOption, opened_run, status_text, steps_text

if TYPE_CHECKING:
    from stepsize.monitor.saved_runs import SavedRun

NAME = "report"
EXAMPLE = "stepsize report --html report.html"


def command(
    run: RunArgument = None,
    *,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PATH", help="Write the report as an HTML page.")
    ] = None,
    store: RunStoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Show a watched run: the learning rate, findings, and the actions of a guard."""
    with reporting_failures():
        path = None if html is None else check_page_path(html)
        from stepsize.monitor.saved_runs import read_run

        with opened_run(store, run) as (opened, name):
            saved = read_run(opened, name)
            where = opened.where
        if as_json:
            print_json({"store": where, **saved.to_json()})
        else:
            show(Text(saved.head.name, style="bold underline"))
            show(facts(_head_rows(saved)))
            show(findings_text(saved.report, saved.actions))
        if path is not None:
            rows = [(title, str(value)) for title, value in _head_rows(saved)]
            save_page(saved.report, path, saved.head.name, facts=rows, actions=saved.actions)


def _head_rows(saved: SavedRun) -> list[tuple[str, str | Text]]:
    head = saved.head
    return [
        ("model", f"{head.what}, {head.optimizer}"),
        ("status", status_text(head)),
        ("steps", steps_text(head)),
        ("started", f"{head.begun:%Y-%m-%d %H:%M} UTC"),
    ]
