"""``stepsize watch``: a run that is trained elsewhere, live in the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stepsize.cli.diagnosis import SEVERITY_COLOURS
from stepsize.cli.failures import STOPPED, reporting_failures
from stepsize.cli.kept import (
    RunArgument,
    RunStoreOption,
    again,
    opened_store,
    run_name,
    status_text,
    steps_text,
    verdict_style,
)
from stepsize.cli.options import JsonOption
from stepsize.cli.output import answers, hint, print_json, show
from stepsize.cli.sparks import spark
from stepsize.cli.sweep.run import STORE

if TYPE_CHECKING:
    from stepsize.monitor.stored import Follower, StoredWatch, WatchHead

__all__ = ["EXAMPLE", "NAME", "command", "frame"]

NAME = "watch"
EXAMPLE = "stepsize watch"
_EVERY = 0.5  # seconds between two looks
_BAR = 24  # columns
_NARROWEST, _WIDEST = 10, 60  # columns of a curve
_BESIDE = 40  # columns that stand beside it
_MOST_FINDINGS = 6
_SIGNALS = {
    "loss": "training loss",
    "val_loss": "loss on unseen data",
    "lr/0": "learning rate",
    "update_ratio": "update / weight",
    "cosine": "cosine of gradients",
    "grad_norm": "gradient norm",
    "headroom": "critical rate / rate",
}


def command(
    run: RunArgument = None,
    *,
    store: RunStoreOption = STORE,
    once: Annotated[bool, typer.Option("--once", help="Show how it stands now, and end.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Follow a watched run that another process trains, until it ends; Ctrl-C leaves, and the training goes on."""
    with reporting_failures():
        from stepsize.monitor.stored import Follower

        with opened_store(store) as opened:
            name = run_name(opened, run)
            assert opened is not None  # or there was no name
            follower = Follower(opened, name)
            if as_json:
                print_json({"store": opened.where, **_values(follower.look())})
            elif once or not answers().is_terminal:
                show(frame(follower.look(), answers().width))
            else:
                _follow(follower, store)


def frame(kept: StoredWatch, width: int) -> RenderableType:
    """Return how a watched run stands: progress, signals as small curves, the verdict, findings.

    Args:
        kept: The run, as far as it was written down.
        width: Of the terminal, in columns.

    Returns:
        What a rich console prints.
    """
    verdict = kept.head.verdict
    style = f"bold {verdict_style(verdict.code)}"
    below = [
        Text(f"{kept.head.what}, {kept.head.optimizer}\n", style="dim"),
        _curves(kept, width),
        Text.assemble("\nThe rate: ", (f"{verdict.code}. ", style), verdict.reason),
        *_findings(kept),
    ]
    return Group(_top(kept.head, width), Padding(Group(*below), (0, 0, 0, 2)))


def _follow(follower: Follower, store: str) -> None:
    console = answers()
    kept = follower.look()
    try:
        with Live(frame(kept, console.width), console=console, auto_refresh=False) as live:
            while not kept.head.over:
                time.sleep(_EVERY)
                kept = follower.look()
                live.update(frame(kept, console.width), refresh=True)
    except KeyboardInterrupt:
        hint("Left; the training goes on.")
        raise typer.Exit(STOPPED) from None
    hint(f"In full: {again('report', kept.head.name, store)}")


def _values(kept: StoredWatch) -> dict[str, Any]:
    told = kept.to_json()
    signals = told.pop("signals")
    last = {name: one["values"][-1] if one["values"] else None for name, one in signals.items()}
    return {**told, "last": last}


def _top(head: WatchHead, width: int) -> RenderableType:
    share = head.steps / head.planned if head.planned else 0.0
    columns = min(_BAR, max(_NARROWEST, width - _BESIDE))
    bar = ProgressBar(total=1.0, completed=min(1.0, share), width=columns, complete_style="cyan", finished_style="cyan")
    took = None if head.updated is None else head.updated - head.begun
    told = Text(f"{steps_text(head)} steps")
    if took is not None:
        told.append(f"  {_duration(took)}")
    if took is not None and head.planned and head.steps and not head.over:
        told.append(f"  about {_duration(took * (head.planned / head.steps - 1))} left", style="dim")
    grid = Table.grid(padding=(0, 1))
    grid.add_row(*([bar, told] if head.planned else [told]))
    return Group(Text.assemble((head.name, "bold"), "  ", status_text(head)), grid)


def _curves(kept: StoredWatch, width: int) -> RenderableType:
    from stepsize.curves.numerals import number_text

    grid = Table.grid(padding=(0, 1))
    columns = min(_WIDEST, max(_NARROWEST, width - _BESIDE))
    for name, title in _SIGNALS.items():
        signal = kept.report.signals.get(name)
        values = [] if signal is None else signal.values.tolist()
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            shown = Text(spark(values, columns), style="cyan", no_wrap=True)
            grid.add_row(Text(title, style="bold"), Text(number_text(finite[-1], 4), justify="right"), shown)
    return grid if grid.row_count else Text("no signal yet", style="dim")


def _findings(kept: StoredWatch) -> Iterator[RenderableType]:
    found = kept.report.findings
    if len(found) > _MOST_FINDINGS:
        yield Text(f"\n{len(found) - _MOST_FINDINGS} earlier findings", style="dim")
    for one in found[-_MOST_FINDINGS:]:
        head = (f"\n{one.code}", f"bold {SEVERITY_COLOURS[one.severity]}"), (f"  step {one.step:,}", "dim")
        yield Text.assemble(*head, f"\n{one.message}")
        if one.remedy:
            yield Text(one.remedy, style="bold")
    if kept.acts:
        yield Text("\nWhat the guard did", style="bold")
        yield from (Text(str(act)) for act in kept.acts[-_MOST_FINDINGS:])
    if not found:
        yield Text("\nNothing was found so far.", style="dim")


def _duration(time_taken: timedelta) -> str:
    minutes, seconds = divmod(max(0, round(time_taken.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
