"""A running sweep on stderr: a live table on a terminal, a line a finished run in a file, nothing when asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stepsize.cli.output import messages
from stepsize.errors import InputError

__all__ = ["RungCount", "SweepScreen", "SweepState", "SweepTrial", "sweep_table"]

_BAR_WIDTH = 30
_REFRESHES = 4.0  # a second
_MOST_TRIALS = 5
_MOST_NOTES = 3


@dataclass(frozen=True)
class SweepTrial:
    """A trial, as the table shows it.

    Attributes:
        number: From 0, in the order of proposal.
        values: What was chosen, by name; the rate under ``"lr"``.
        value: The judged figure, lower is better; infinite if it diverged. The mean where there are several seeds.
        share: The longest rung that it was trained on, as a share of the full horizon.
        seeds: How many seeds it was trained with there.
        diverged: Whether it was given up as diverged.
    """

    number: int
    values: Mapping[str, float | int | str]
    value: float
    share: float = 1.0
    seeds: int = 1
    diverged: bool = False


@dataclass(frozen=True)
class RungCount:
    """How far a rung is.

    Attributes:
        share: Of the full horizon.
        done: Runs that ended.
        total: Runs that are planned as of now; None where that is not known.
        diverged: Those of ``done`` that diverged.
    """

    share: float
    done: int
    total: int | None = None
    diverged: int = 0


@dataclass(frozen=True, kw_only=True)
class SweepState:
    """Where a sweep is.

    Args:
        title: What is done, for example ``"sweep digits-mlp"``.
        done: Runs that ended.
        total: Runs that are planned as of now, at least ``done``.
        diverged: Those of ``done`` that diverged.
        best: The best trials so far, the best first.
        cost: What was spent, in full runs.
        elapsed: Seconds since it began.
        remaining: Seconds that it will about go on; None where that is not known.
        rungs: One a rung, from the shortest to the longest.
        now: What runs, in words.
        notes: What the sweep did by itself, as sentences, in order.
        judge: What the figures are.

    Raises:
        InputError: If more runs are done than planned, or more diverged than done.
    """

    title: str
    done: int
    total: int
    diverged: int = 0
    best: tuple[SweepTrial, ...] = ()
    cost: float = 0.0
    elapsed: float = 0.0
    remaining: float | None = None
    rungs: tuple[RungCount, ...] = ()
    now: str = ""
    notes: tuple[str, ...] = ()
    judge: str = "validation loss"

    def __post_init__(self) -> None:
        if not 0 <= self.diverged <= self.done <= self.total:
            received = (self.diverged, self.done, self.total)
            raise InputError("diverged, done, total", received, "must not fall: 0 <= diverged <= done <= total")


def sweep_table(state: SweepState) -> RenderableType:
    """Return where a sweep is, as the live display shows it: progress, the best, the best few, rungs, notes.

    Args:
        state: Plain data.

    Returns:
        What a rich console prints; it reads no clock and no terminal.
    """
    parts: list[RenderableType] = [_head(state), _line(_spent(state)), _line(_best(state), style="bold")]
    if state.best:
        parts.append(_trials(state))
    if len(state.rungs) > 1 or (state.rungs and state.rungs[0].share < 1):
        parts.append(_line("rungs: " + ", ".join(_rung(rung) for rung in state.rungs), style="dim"))
    if state.now:
        parts.append(_line(f"now: {state.now}", style="dim"))
    parts += [Text(f"  {note}", style="yellow") for note in state.notes[-_MOST_NOTES:]]
    return Group(*parts)


class SweepScreen:
    """Shows a sweep on stderr while the context lasts.

    On a terminal, a table is drawn anew up to four times a second, and taken away at the end. Elsewhere each
    finished run and each new note gets a line. ``NO_COLOR`` is honoured, as by all output.

    Args:
        quiet: Whether to say nothing where stderr is no terminal.
        console: Where to draw; default stderr.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = messages() if console is None else console
        self._quiet = quiet
        self._state: SweepState | None = None
        self._told_at = 0.0
        self._told_notes = 0
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

    def update(self, state: SweepState, finished: SweepTrial | None = None) -> None:
        """Take where the sweep is; cheap enough to be told at each step.

        Args:
            state: From here on shown.
            finished: The run that just ended, where one did.
        """
        self._state, self._told_at = state, time.monotonic()
        if self._live is not None or self._console.is_interactive or self._quiet:
            return
        for note in state.notes[self._told_notes :]:
            self._print(f"{state.title}: {note}")
        self._told_notes = len(state.notes)
        if finished is not None:
            self._print(_finished(state, finished))

    def _print(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _render(self) -> RenderableType:
        """The last state, its clock going on; called by the display's own thread."""
        if self._state is None:
            return _line("getting ready")
        state, passed = self._state, time.monotonic() - self._told_at
        left = None if state.remaining is None else max(0.0, state.remaining - passed)
        return sweep_table(replace(state, elapsed=state.elapsed + passed, remaining=left))


def _head(state: SweepState) -> RenderableType:
    share = state.done / state.total if state.total else 0.0
    bar = ProgressBar(total=1.0, completed=share, width=_BAR_WIDTH, complete_style="cyan", finished_style="cyan")
    left = "" if state.remaining is None else f"about {_duration(state.remaining)} left"
    head = Table.grid(padding=(0, 1))
    for _ in range(5):
        head.add_column(no_wrap=True)
    title = Text(state.title, style="bold")
    head.add_row(title, bar, f"{state.done} of {state.total}", _duration(state.elapsed), Text(left, style="dim"))
    return head


def _spent(state: SweepState) -> Text:
    from stepsize.views import number_text

    text = Text(f"spent {number_text(state.cost)} full runs")
    if state.diverged:
        text.append(f", {state.diverged} of {state.done} runs diverged", style="red")
    return text


def _best(state: SweepState) -> str:
    from stepsize.views import number_text

    if not state.best:
        return "nothing reached yet"
    best = state.best[0]
    return f"best {_values(best.values)}: {state.judge} {number_text(best.value, 4)}"


def _trials(state: SweepState) -> RenderableType:
    """The best few trials; a column for each dimension that any of them has."""
    from stepsize.views import number_text

    shown = state.best[:_MOST_TRIALS]
    names = list(dict.fromkeys(name for trial in shown for name in trial.values))
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=True)
    table.add_column("  trial", justify="right", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for name in (state.judge, "seeds", "rung"):
        table.add_column(name, justify="right", no_wrap=True)
    for trial in shown:
        values = [_value(trial.values[name]) if name in trial.values else "" for name in names]
        figures = [number_text(trial.value, 4), str(trial.seeds), _share(trial.share)]
        table.add_row(*(Text(cell) for cell in (f"  {trial.number}", *values, *figures)))
    return table


def _rung(rung: RungCount) -> str:
    of = "" if rung.total is None else f" of {rung.total}"
    lost = f" ({rung.diverged} diverged)" if rung.diverged else ""
    return f"{_share(rung.share)}: {rung.done}{of}{lost}"


def _finished(state: SweepState, trial: SweepTrial) -> str:
    from stepsize.views import number_text

    came = "diverged" if trial.diverged else f"{state.judge} {number_text(trial.value, 4)}"
    parts = [
        f"{state.title}: {state.done} of {state.total}, trial {trial.number} on {_share(trial.share)}, "
        f"{_values(trial.values)}: {came}"
    ]
    if state.best:
        best = state.best[0]
        parts.append(f"best {_values(best.values)}: {number_text(best.value, 4)}")
    parts.append(f"spent {number_text(state.cost)} full runs")
    if state.remaining is not None:
        parts.append(f"about {_duration(state.remaining)} left")
    return "; ".join(parts)


def _values(values: Mapping[str, float | int | str]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: float | int | str) -> str:
    from stepsize.views import number_text

    return value if isinstance(value, str) else str(value) if isinstance(value, int) else number_text(value)


def _share(share: float) -> str:
    """A rung in words: simple fractions as such, others in percent.

    The whole horizon is ``full``.
    """
    fraction = Fraction(share).limit_denominator(256)
    if fraction == 1:
        return "full"
    if fraction.numerator == 1 and abs(float(fraction) - share) < 1e-6:
        return f"1/{fraction.denominator}"
    return f"{100 * share:.3g} %"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _line(text: str | Text, style: str = "") -> Text:
    """One indented line that never wraps."""
    line = Text("  ", no_wrap=True, overflow="ellipsis")
    line.append_text(text if isinstance(text, Text) else Text(text, style=style))
    return line
