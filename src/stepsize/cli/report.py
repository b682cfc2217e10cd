"""``stepsize report``: a watched run, in the terminal and as one page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from stepsize.cli.diagnosis import check_page_path, findings_text, save_page
from stepsize.cli.options import STORE, HtmlOption, JsonOption
from stepsize.cli.output import facts, give
from stepsize.cli.saved import RunArgument, RunStoreOption, opened_run, status_text, steps_text

if TYPE_CHECKING:
    from stepsize.monitor.saved_runs import SavedRun

NAME = "report"
EXAMPLE = "stepsize report --html report.html"


def command(
    run: RunArgument = None,
    *,
    html: HtmlOption = None,
    store: RunStoreOption = STORE,
    as_json: JsonOption = False,
) -> None:
    """Show a watched run: the learning rate, findings, the actions of a guard, and orders."""
    check_page_path(html)
    from stepsize.monitor.saved_runs import read_run

    with opened_run(store, run) as (opened, name):
        saved = read_run(opened, name)
        where = opened.where
    rows = _head_rows(saved)

    def text() -> RenderableType:
        title = Text(saved.head.name, style="bold underline")
        return Group(title, facts(rows), findings_text(saved.report, saved.actions, saved.orders))

    give(lambda: {"store": where, **saved.to_json()}, text, as_json=as_json)
    plain_rows = [(title, str(value)) for title, value in rows]
    save_page(saved.report, html, saved.head.name, facts=plain_rows, actions=saved.actions)


def _head_rows(saved: SavedRun) -> list[tuple[str, str | Text]]:
    head = saved.head
    return [
        ("model", f"{head.what}, {head.optimizer}"),
        ("status", status_text(head)),
        ("steps", steps_text(head)),
        ("started", f"{head.begun:%Y-%m-%d %H:%M} UTC"),
    ]
