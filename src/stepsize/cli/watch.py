"""``stepsize watch``: a run that another process trains, live in the terminal."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stepsize.cli.diagnosis import findings_text
from stepsize.cli.failures import STOPPED
from stepsize.cli.options import STORE, JsonOption, flag
from stepsize.cli.output import answers, hint, print_json, show
from stepsize.cli.saved import RunArgument, RunStoreOption, again, opened_run, status_text, steps_text
from stepsize.curves.numerals import number_text

if TYPE_CHECKING:
    from stepsize.monitor.saved_runs import RunReader, RunSummary, SavedRun

NAME = "watch"
EXAMPLE = "stepsize watch"
_EVERY = 0.5  # seconds between two reads
_BAR = 24  # columns
_NARROWEST, _WIDEST = 10, 60  # columns of a curve
_BESIDE = 40  # columns for the text next to it
_MOST_FINDINGS = 6
_SIGNALS = {
    "loss": "training loss",
    "val_loss": "validation loss",
    "lr/0": "learning rate",
    "update_ratio": "update / weight",
    "cosine": "cosine of gradients",
    "grad_norm": "gradient norm",
    "headroom": "critical LR / LR",
}

_BLOCKS = "▁▂▃▄▅▆▇█"
_LOST = "×"
_LOG_SPAN = 30.0  # the largest value over the smallest, beyond which their logarithms are shown


def command(
    run: RunArgument = None,
    *,
    store: RunStoreOption = STORE,
    once: Annotated[bool, flag("--once", "Print the current state once and exit.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Follow a watched run of another process until it ends; Ctrl-C stops following, and training continues."""
    from stepsize.monitor.saved_runs import RunReader

    with opened_run(store, run) as (opened, name):
        reader = RunReader(opened, name)
        if as_json:
            print_json({"store": opened.where, **_values(reader.read())})
        elif once or not answers().is_terminal:
            show(frame(reader.read(), answers().width))
        else:
            _follow(reader, store)


def frame(saved: SavedRun, width: int) -> RenderableType:
    """Return the state of a watched run, for a terminal of that width."""
    parts = [
        Text(f"{saved.head.what}, {saved.head.optimizer}\n", style="dim"),
        _curves(saved, width),
        findings_text(saved.report, saved.actions, saved.orders, most=_MOST_FINDINGS),
    ]
    return Group(_top(saved.head, width), Padding(Group(*parts), (0, 0, 0, 2)))


def _follow(reader: RunReader, store: str) -> None:
    console = answers()
    saved = reader.read()
    try:
        with Live(frame(saved, console.width), console=console, auto_refresh=False) as live:
            while not saved.head.over:
                time.sleep(_EVERY)
                saved = reader.read()
                live.update(frame(saved, console.width), refresh=True)
    except KeyboardInterrupt:
        hint("Stopped following; training continues.")
        raise typer.Exit(STOPPED) from None
    hint(f"Full report: {again('report', saved.head.name, store)}")


def _values(saved: SavedRun) -> dict[str, Any]:
    values = saved.to_json()
    signals = values.pop("signals")
    return {**values, "last": {name: one["values"][-1] if one["values"] else None for name, one in signals.items()}}


def _top(head: RunSummary, width: int) -> RenderableType:
    done = head.steps / head.planned if head.planned else 0.0
    columns = min(_BAR, max(_NARROWEST, width - _BESIDE))
    bar = ProgressBar(total=1.0, completed=min(1.0, done), width=columns, complete_style="cyan", finished_style="cyan")
    text = Text(f"{steps_text(head)} steps")
    if head.updated is not None:
        took = head.updated - head.begun
        text.append(f"  {_duration(took)}")
        if head.planned and head.steps and not head.over:
            text.append(f"  about {_duration(took * (head.planned / head.steps - 1))} left", style="dim")
    grid = Table.grid(padding=(0, 1))
    grid.add_row(*([bar, text] if head.planned else [text]))
    return Group(Text.assemble((head.name, "bold"), "  ", status_text(head)), grid)


def _curves(saved: SavedRun, width: int) -> RenderableType:
    grid = Table.grid(padding=(0, 1))
    columns = min(_WIDEST, max(_NARROWEST, width - _BESIDE))
    for name, title in _SIGNALS.items():
        signal = saved.report.signals.get(name)
        values = [] if signal is None else signal.values.tolist()
        finite = [value for value in values if math.isfinite(value)]
        if finite:
            shown = Text(spark(values, columns), style="cyan", no_wrap=True)
            grid.add_row(Text(title, style="bold"), Text(number_text(finite[-1], 4), justify="right"), shown)
    return grid if grid.row_count else Text("no signals yet", style="dim")


def _duration(time_taken: timedelta) -> str:
    minutes, seconds = divmod(max(0, round(time_taken.total_seconds())), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def spark(values: Sequence[float], width: int) -> str:
    """Return values as one line, each column the mean of its share of them.

    Positive values that span more than a factor of 30 are shown by their logarithms; × stands where nothing is finite.
    """
    columns = [_mean(part) for part in _parts(values, width)]
    finite = [value for value in columns if math.isfinite(value)]
    if not finite:
        return _LOST * len(columns)
    low, high = min(finite), max(finite)
    if low > 0 and high > _LOG_SPAN * low:
        columns = [math.log(value) if math.isfinite(value) else value for value in columns]
        low, high = math.log(low), math.log(high)
    return "".join(_block(value, low, high) for value in columns)


def _parts(values: Sequence[float], width: int) -> list[Sequence[float]]:
    count = min(width, len(values))
    places = [round(len(values) * column / count) for column in range(count + 1)] if count else [0]
    return [values[begin:end] for begin, end in pairwise(places)]


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _block(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return _LOST
    share = (value - low) / (high - low) if high > low else 0.0
    return _BLOCKS[min(len(_BLOCKS) - 1, int(share * len(_BLOCKS)))]
