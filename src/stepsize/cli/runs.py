"""``stepsize runs``: the watched runs of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.options import STORE, JsonOption, LastOption
from stepsize.cli.output import answers, hint, newest, print_json, show
from stepsize.cli.saved import BEGIN, RunStoreOption, again, opened_store, status_text, steps_text, verdict_style

if TYPE_CHECKING:
    from stepsize.monitor.saved_runs import RunSummary

NAME = "runs"
EXAMPLE = "stepsize runs"
_LEAST = {"model": 110, "started (UTC)": 84}  # columns of the terminal that these need


def command(*, store: RunStoreOption = STORE, last: LastOption = None, as_json: JsonOption = False) -> None:
    """List the watched runs of a store, the newest last."""
    from stepsize.monitor.saved_runs import list_runs

    with opened_store(store) as opened:
        heads = [] if opened is None else list_runs(opened)
        where = STORE if opened is None else opened.where
    heads = newest(heads, last, as_json=as_json)
    if as_json:
        print_json({"store": where, "runs": [head.to_json() for head in heads]})
    elif not heads:
        hint(f"No watched run is saved in {where}. Start one with: {BEGIN}")
    else:
        show(_table(heads, where))
        running = [head.name for head in heads if not head.over]
        command = again("watch", running[-1], store) if running else again("report", heads[-1].name, store)
        hint(f"{'Follow it' if running else 'Full report'}: {command}")


def _table(heads: list[RunSummary], where: str) -> Table:
    table = Table(title=f"Watched runs in {where}", title_justify="left")
    rows = [_cells(head) for head in heads]
    shown = [column for column in rows[0] if answers().width >= _LEAST.get(column, 0)]
    for column in shown:
        least = max(len(head.name) for head in heads) if column == "name" else None  # what is to be typed stays whole
        right = column in ("steps", "findings")
        table.add_column(column, justify="right" if right else "left", min_width=least, overflow="fold")
    for cells in rows:
        table.add_row(*(cells[column] for column in shown))
    return table


def _cells(head: RunSummary) -> dict[str, RenderableType]:
    return {
        "name": head.name,
        "model": f"{head.what}, {head.optimizer}",
        "status": status_text(head),
        "steps": steps_text(head),
        "learning rate": Text(head.verdict.code, style=verdict_style(head.verdict.code)),
        "findings": str(head.findings),
        "started (UTC)": f"{head.begun:%Y-%m-%d %H:%M}",
    }
