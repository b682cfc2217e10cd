"""Where things go: answers to stdout, everything else to stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.options import JsonOption, PlotOption
from stepsize.curves.numerals import number_text, span_text
from stepsize.files import write_whole
from stepsize.plain import plain

if TYPE_CHECKING:
    from stepsize.study.finding import Found
    from stepsize.study.result import SweepResult
    from stepsize.views import Chart

_T = TypeVar("_T")
Rows: TypeAlias = "Iterable[tuple[str, RenderableType]]"
"""Names and what is shown for them."""

_COLORS = {"settled": "green", "flat": "green", "distinguishable": "green", "alone": "green", "no answer": "red"}
_ROWS = 100  # of a table: a longer one is slow to draw, and nobody reads it
_FILE_WIDTH = 120  # columns where the output is no terminal: few lines need to be broken


def answers() -> Console:
    """Return the console of what was asked for: stdout."""
    return _console(stderr=False)


def messages() -> Console:
    """Return the console of progress, hints and errors: stderr."""
    return _console(stderr=True)


def show(renderable: RenderableType) -> None:
    """Print ``renderable`` on stdout."""
    answers().print(renderable)


def give(content: Callable[[], Mapping[str, Any]], text: Callable[[], RenderableType], *, as_json: bool) -> None:
    """Print an answer on stdout: as one JSON object, or for people."""
    if as_json:
        print_json(content())
    else:
        show(text())


def print_json(content: Mapping[str, Any]) -> None:
    """Print ``content`` on stdout as one JSON object, by the letter of the standard: NaN and infinities become null."""
    sys.stdout.write(json.dumps(plain(content), allow_nan=False, indent=2) + "\n")


def save_table(path: str | Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file whole or not at all: a head with the names, then a line per row; what it lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(Path(path), text.getvalue().encode())


@dataclass(frozen=True)
class OutputOptions:
    """Where an answer goes: what commands with ``--plot`` and ``--json`` have in common."""

    plot: PlotOption = None
    as_json: JsonOption = False

    def __post_init__(self) -> None:
        """Refuse a place where no chart can be written, before anything is trained."""
        from stepsize.views import check_plot_path

        if self.plot is not None:
            check_plot_path(self.plot)

    def give(
        self,
        content: Callable[[], Mapping[str, Any]],
        text: Callable[[], RenderableType],
        chart: Callable[[], Chart] | None,
    ) -> None:
        """Print an answer and draw it; the chart is None if there is nothing to draw."""
        give(content, text, as_json=self.as_json)
        if self.plot is None:
            return
        if chart is None:
            hint("No chart: there is nothing to draw.")
            return
        from stepsize.views import save_chart

        say(f"Chart saved to {save_chart(chart(), self.plot)}")

    def hint(self, text: str) -> None:
        """Print a quiet line on stderr, unless a program reads the answer."""
        if not self.as_json:
            hint(text)


def newest(rows: list[_T], last: int | None, *, as_json: bool) -> list[_T]:
    """Return the rows to list, the newest last: all, or in a table 100 unless more are asked for."""
    most = last or (len(rows) if as_json else _ROWS)
    if len(rows) > most and not as_json:
        hint(f"The newest {most} of {len(rows):,} are listed. For all: --last {len(rows)}")
    return rows[-most:]


def say(text: str, style: str = "") -> None:
    """Print a line on stderr."""
    messages().print(Text(text, style=style), soft_wrap=True)


def hint(text: str) -> None:
    """Print a quiet line on stderr."""
    say(text, "dim")


def facts(rows: Rows) -> Table:
    """Return a quiet two-column table of names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, Text(value) if isinstance(value, str) else value)
    return table


def quiet_table(*columns: str, right: Iterable[str] = (), gap: int = 0) -> Table:
    """Return a table without lines; columns of numbers are on the ``right``, rows have a ``gap`` between them."""
    table = Table(box=None, padding=(0, 2, gap, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left")
    return table


def rate_lines(lr: float | None, as_good: tuple[float, float] | None) -> list[RenderableType]:
    """Return the recommended rate on a line of its own, and the range that is as good; nothing without an answer."""
    if lr is None:
        return []
    rate = Text.assemble("\n", (f"learning rate {number_text(lr)}", "bold cyan"))
    return [rate, *([] if as_good is None else [Text(f"as good from {span_text(as_good)}")])]


def verdict_text(verdict: str, reason: str) -> Text:
    """Return a verdict as a colored word and its reason, between empty lines; what more runs may change is yellow."""
    return Text.assemble("\n", (f"{verdict.capitalize()}. ", f"bold {_COLORS.get(verdict, 'yellow')}"), reason, "\n")


def answer_of(found: Found | SweepResult, first: Rows = (), limit: str = "") -> RenderableType:
    """Return an answer: the rate on a line of its own, the range that is as good, the verdict, and facts."""
    cost = found.cost
    counts = ((cost.full_runs, "full run"), (cost.runs, "run"))
    full, some = (f"{number_text(count)} {kind}{'s' * (count != 1)}" for count, kind in counts)
    took = f"{number_text(cost.seconds)} s" if cost.seconds < 100 else f"{cost.seconds / 60:.1f} min"
    rows: list[tuple[str, RenderableType]] = [
        *first,
        ("valid for", str(found.conditions)),
        ("cost", f"{full} in {some}, {took}{limit}"),
    ]
    if found.where is not None:
        rows.append(("saved as", f"{found.name} in {found.where}"))
    rows += [("note" if not index else "", note) for index, note in enumerate(found.notes)]
    return Group(
        Text(found.conditions.task, style="bold underline"),
        *rate_lines(found.lr, found.as_good),
        verdict_text(found.answer.verdict, found.answer.reason),
        facts(rows),
    )


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console
