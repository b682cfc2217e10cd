"""A running sweep on stderr: a live table on a terminal, a line per finished run in a file, nothing if quiet."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stepsize.cli.output import messages
from stepsize.curves.numerals import number_text

if TYPE_CHECKING:
    from stepsize.study import StudyProgress
    from stepsize.training import Run
    from stepsize.training.runs import Value

_BAR_WIDTH = 30
_REFRESHES = 4.0  # per second
_MOST_NOTES = 3


class SweepScreen:
    """Shows a sweep on stderr while the context lasts.

    On a terminal, a table is drawn up to four times a second, and removed at the end. Elsewhere each finished run and
    each new note gets a line. ``NO_COLOR`` is respected, as by all output.

    Args:
        title: What is done, for example ``"sweep digits-mlp"``.
        quiet: Whether to print nothing if stderr is not a terminal.
        console: Where to draw. Default: stderr.
    """

    def __init__(self, title: str, *, quiet: bool = False, console: Console | None = None) -> None:
        self._title = title
        self._console = messages() if console is None else console
        self._quiet = quiet
        self._progress: StudyProgress | None = None
        self._updated = 0.0
        self._printed_notes = 0
        self._live: Live | None = None

    def __enter__(self) -> Self:
        if self._console.is_interactive:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=_REFRESHES,
                transient=True,
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def update(self, progress: StudyProgress) -> None:
        """Show the progress of a study; cheap enough to be called at each step."""
        self._progress, self._updated = progress, time.monotonic()
        if self._live is not None or self._console.is_interactive or self._quiet:
            return
        for note in progress.notes[self._printed_notes :]:
            self._print(f"{self._title}: {note}")
        self._printed_notes = len(progress.notes)
        if progress.run is not None:
            self._print(_finished(self._title, progress, progress.run))

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _render(self) -> RenderableType:
        """Return the last progress, with a clock that goes on; called by the display's own thread."""
        if self._progress is None:
            return _line("getting ready")
        passed = time.monotonic() - self._updated
        return sweep_table(self._title, self._progress, passed)


def sweep_table(title: str, progress: StudyProgress, passed: float = 0.0) -> RenderableType:
    """Return the table of the live display, ``passed`` seconds after ``progress``; it reads no clock and no terminal.

    It holds the progress, the cost, the best run, the best few, what runs now, and the last notes.
    """
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
