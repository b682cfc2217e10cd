"""``stepsize runs``: the watched runs of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import reporting_failures
from stepsize.cli.kept import BEGIN, RunStoreOption, again, opened_store, status_text, steps_text, verdict_style
from stepsize.cli.options import JsonOption
from stepsize.cli.output import answers, hint, print_json, show
from stepsize.cli.sweep.run import STORE

if TYPE_CHECKING:
    from stepsize.monitor.stored import WatchHead

__all__ = ["EXAMPLE", "NAME", "command"]

NAME = "runs"
EXAMPLE = "stepsize runs"
_ROOM = {"what": 110, "begun (UTC)": 84}  # columns of a terminal from which on there is room for these


def command(*, store: RunStoreOption = STORE, as_json: JsonOption = False) -> None:
    """List the watched runs of a store, the newest last."""
    with reporting_failures():
        from stepsize.monitor.stored import list_watched

        with opened_store(store) as opened:
            heads = [] if opened is None else list_watched(opened)
            where = STORE if opened is None else opened.where
        if as_json:
            print_json({"store": where, "runs": [head.to_json() for head in heads]})
        elif not heads:
            hint(f"No watched run is kept in {where}. Begin one with: {BEGIN}")
        else:
            show(_table(heads, where))
            going = [head.name for head in heads if not head.over]
            last = again("watch", going[-1], store) if going else again("report", heads[-1].name, store)
            hint(f"{'Follow it' if going else 'One in full'}: {last}")


def _table(heads: list[WatchHead], where: str) -> Table:
    room = answers().width
    columns = ["name", "what", "status", "steps", "the rate", "findings", "begun (UTC)"]
    shown = [one for one in columns if room >= _ROOM.get(one, 0)]
    table = Table(title=f"Watched runs in {where}", title_justify="left")
    for column in shown:
        least = max(len(head.name) for head in heads) if column == "name" else None  # what is to be typed stays whole
        right = column in ("steps", "findings")
        table.add_column(column, justify="right" if right else "left", min_width=least, overflow="fold")
    for head in heads:
        cells: dict[str, RenderableType] = {
            "name": head.name,
            "what": f"{head.what}, {head.optimizer}",
            "status": status_text(head),
            "steps": steps_text(head),
            "the rate": Text(head.verdict.code, style=verdict_style(head.verdict.code)),
            "findings": str(head.findings),
            "begun (UTC)": f"{head.begun:%Y-%m-%d %H:%M}",
        }
        table.add_row(*(cells[column] for column in shown))
    return table
