"""A running sweep on stderr: a live table on a terminal, a line per finished run in a file, nothing if quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stepsize.cli.output import messages
from stepsize.curves.numerals import number_text

if TYPE_CHECKING:
    from stepsize.study.study import StudyProgress
    from stepsize.training import Run
    from stepsize.training.runs import Value

_BAR_WIDTH = 30
_REFRESHES = 4.0  # per second
_MOST_NOTES = 3


@contextmanager
def sweep_screen(
    title: str, *, quiet: bool, console: Console | None = None
) -> Iterator[Callable[[StudyProgress], None]]:
    """Show a sweep on stderr while the context lasts, from what the function that it gives is called with."""
    console = messages() if console is None else console
    if not console.is_interactive:
        yield _printing(title, console) if not quiet else lambda _: None
        return
    known: tuple[StudyProgress, float] | None = None

    def update(progress: StudyProgress) -> None:
        nonlocal known
        known = progress, time.monotonic()

    def drawn() -> RenderableType:  # by the display's own thread, with a clock that goes on
        if known is None:
            return _line("getting ready")
        return sweep_table(title, known[0], time.monotonic() - known[1])

    with Live(console=console, get_renderable=drawn, refresh_per_second=_REFRESHES, transient=True):
        yield update


def _printing(title: str, console: Console) -> Callable[[StudyProgress], None]:
    """Return what prints a line for each run that ended and each new note."""
    printed = 0

    def update(progress: StudyProgress) -> None:
        nonlocal printed
        lines = [f"{title}: {note}" for note in progress.notes[printed:]]
        printed = len(progress.notes)
        lines += [] if progress.run is None else [_finished(title, progress, progress.run)]
        for line in lines:
            console.print(Text(line), soft_wrap=True)

    return update


def sweep_table(title: str, progress: StudyProgress, passed: float = 0.0) -> RenderableType:
    """Return the table of the live display, ``passed`` seconds after ``progress``; it reads no clock."""
    parts: list[RenderableType] = [_head(title, progress, passed), _line(_spent(progress))]
    parts.append(_line(f"best {_named(progress, progress.top[0])}" if progress.top else "no result yet", style="bold"))
    if progress.top:
        parts.append(_runs(progress))
    if progress.running is not None:
        parts.append(_line(f"now: step {progress.running.step} of {progress.running.setting.steps}", style="dim"))
    parts += [Text(f"  {note}", style="yellow") for note in progress.notes[-_MOST_NOTES:]]
    return Group(*parts)


def _left(progress: StudyProgress) -> float | None:
    """Return the seconds that it will take, as far as known."""
    fresh = progress.done - progress.resumed
    return progress.seconds / fresh * progress.remaining if fresh else None


def _head(title: str, progress: StudyProgress, passed: float) -> RenderableType:
    total = progress.done + progress.remaining
    share = progress.done / total if total else 0.0
    bar = ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH, complete_style="cyan", finished_style="cyan")
    left = _left(progress)
    about = "" if left is None else f"about {_duration(left - passed)} left"
    head = Table.grid(padding=(0, 1))
    for _ in range(5):
        head.add_column(no_wrap=True)
    clock = _duration(progress.seconds + passed)
    head.add_row(Text(title, style="bold"), bar, f"{progress.done} of {total}", clock, Text(about, style="dim"))
    return head


def _spent(progress: StudyProgress) -> Text:
    text = Text(f"cost {number_text(progress.spent)} full runs")
    if progress.diverged:
        text.append(f", {progress.diverged} of {progress.done} runs diverged", style="red")
    return text


def _named(progress: StudyProgress, run: Run) -> str:
    return f"{_values(run.trial.values)}: {progress.objective} {number_text(run.value, 4)}"


def _runs(progress: StudyProgress) -> RenderableType:
    """The best few runs; a column for each dimension that any of them has."""
    from stepsize.study.plan_ladder import written_share

    names = list(dict.fromkeys(name for run in progress.top for name in run.trial.values))
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=True)
    for name in ("  trial", *names, progress.objective, "seed", "rung"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in progress.top:
        values = [_value(run.trial.values[name]) if name in run.trial.values else "" for name in names]
        rung = "full" if run.share == 1 else written_share(run.share).partition(" ")[0]
        cells = (f"  {run.trial.number}", *values, number_text(run.value, 4), str(run.seed), rung)
        table.add_row(*map(Text, cells))
    return table


def _finished(title: str, progress: StudyProgress, run: Run) -> str:
    from stepsize.study.plan_ladder import written_share

    result = f"{_values(run.trial.values)}: diverged" if run.diverged else _named(progress, run)
    total = progress.done + progress.remaining
    parts = [
        f"{title}: {progress.done} of {total}, trial {run.trial.number} on {written_share(run.share)}, {result}",
        *([f"best {_named(progress, progress.top[0])}"] if progress.top else []),
        f"cost {number_text(progress.spent)} full runs",
    ]
    left = _left(progress)
    return "; ".join([*parts, *([] if left is None else [f"about {_duration(left)} left"])])


def _values(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Value) -> str:
    return number_text(value) if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _line(text: str | Text, style: str = "") -> Text:
    """One indented line that never wraps."""
    line = Text("  ", no_wrap=True, overflow="ellipsis")
    line.append_text(text if isinstance(text, Text) else Text(text, style=style))
    return line
