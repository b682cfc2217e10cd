"""``stepsize schedule compare``: several schedules over one horizon, and where they part."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import JsonOption, PlotOption
from stepsize.cli.output import hint, print_json, save_plot, show
from stepsize.cli.schedule.clock import ClockOptions, clocked
from stepsize.cli.schedule.plan import HorizonOption, LogOption, PeakOption, checked_lr, read, settled, steps_text
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.schedules import Difference, Schedule
    from stepsize.views import ScheduleView

__all__ = ["EXAMPLE", "NAME", "Compared", "command", "compared", "document", "render", "view_of"]

NAME = "compare"
EXAMPLE = 'stepsize schedule compare "linear warmup=5%" "cosine warmup=5%" "wsd" --steps 10000 --plot compared.png'

_MOST = 8  # colours that can be told apart
_MOST_NAME = 60  # characters of a schedule in the legend


@dataclass(frozen=True, eq=False)
class Compared:
    """One of the schedules that are compared.

    Attributes:
        letter: What it is called: A, B, C, ...
        text: Its canonical written form, durations open.
        schedule: The same in steps.
        lr: Its peak rate; 1 where none was given.
        first: The factor of update 0.
        peak_step: The update with the highest factor.
        last: The factor of the last update.
        effective_steps: Σ factor.
        against: How it differs from the first of all; None for that one.
    """

    letter: str
    text: str
    schedule: Schedule
    lr: float
    first: float
    peak_step: int
    last: float
    effective_steps: float
    against: Difference | None

    @property
    def steps(self) -> int:
        """Its length."""
        return self.schedule.length or 0

    @property
    def rates(self) -> dict[str, float]:
        """Its rates at the first update, at the peak and at the last update."""
        peak = self.schedule(self.peak_step)
        return {"first": self.lr * self.first, "peak": self.lr * peak, "last": self.lr * self.last}


@clocked
def command(
    schedules: Annotated[
        list[str],
        typer.Argument(metavar="SCHEDULE", help="Written schedules, each in quotes: 2 to 8.", show_default=False),
    ],
    *,
    steps: HorizonOption = None,
    lr: PeakOption = None,
    clock: ClockOptions,
    plot: PlotOption = None,
    log: LogOption = False,
    as_json: JsonOption = False,
) -> None:
    """Put schedules side by side: their key figures, and where each parts from the first."""
    with reporting_failures():
        from stepsize.views import check_plot_path, schedule_chart

        path = None if plot is None else check_plot_path(plot)
        if not 2 <= len(schedules) <= _MOST:
            remedy = 'Put each in quotes of its own, as in: "warmup 5%, cosine" "wsd"'
            raise InputError("schedules", len(schedules), f"must be 2 to {_MOST} to be compared", remedy)
        peak = checked_lr(lr)
        written = [read(text) for text in schedules]
        found = compared(written, [settled(each, steps, clock) for each in written], peak)
        if as_json:
            print_json(document(found))
        else:
            show(render(found))
            if lr is None:
                hint("Factors of the peak rate; with --lr X they become rates.")
        if path is not None:
            save_plot(schedule_chart(view_of(found, named_lr=lr is not None, log=log)), path)


def compared(written: Sequence[Schedule], in_steps: Sequence[Schedule], lr: float) -> tuple[Compared, ...]:
    """Return the key figures of schedules, and how each differs from the first.

    Args:
        written: As they were written.
        in_steps: The same, settled.
        lr: The peak rate of all.

    Returns:
        One a schedule, in order.

    Example:
        >>> from stepsize.schedules import cosine, linear
        >>> both = (linear(100), cosine(100))
        >>> [(each.letter, each.text, each.effective_steps) for each in compared(both, both, 1.0)]
        [('A', 'linear 100', 50.5), ('B', 'cosine 100', 50.5)]
    """
    from stepsize.schedules import diff, write

    found = []
    for index, (open_form, schedule) in enumerate(zip(written, in_steps, strict=True)):
        factors = schedule.factors()
        found.append(
            Compared(
                letter=string.ascii_uppercase[index],
                text=write(open_form),
                schedule=schedule,
                lr=lr,
                first=float(factors[0]),
                peak_step=int(factors.argmax()),
                last=float(factors[-1]),
                effective_steps=float(factors.sum()),
                against=diff(in_steps[0], schedule) if index else None,
            )
        )
    return tuple(found)


def document(found: Sequence[Compared]) -> dict[str, Any]:
    """Return what was found as plain values for ``json.dumps``; its keys are stable.

    Args:
        found: What :func:`compared` returned.

    Returns:
        ``lr`` (1 where none was given) and ``schedules``, a list of objects with ``letter``, ``schedule`` (the written
        form), ``settled`` (the same in steps), ``steps``, the rates ``first``, ``peak`` (with ``peak_step``) and
        ``last``, ``effective_steps`` (Σ factor), and ``against_first``: null for the first, else ``same``, ``first``
        and ``last`` (the updates where the factors differ first and last; null if they never do), ``largest`` (update
        and both factors), ``steps``, ``area``, ``lengths``, ``effective_steps_ratio`` and ``status``, a sentence.
    """
    from stepsize.schedules import write

    return {
        "lr": found[0].lr,
        "schedules": [
            {
                "letter": each.letter,
                "schedule": each.text,
                "settled": write(each.schedule),
                "steps": each.steps,
                **each.rates,
                "peak_step": each.peak_step,
                "effective_steps": each.effective_steps,
                "against_first": None if each.against is None else each.against.to_json(),
            }
            for each in found
        ],
    }


def render(found: Sequence[Compared]) -> RenderableType:
    """Return the key figures and the differences as something that rich can show."""
    from stepsize.views import number_text

    table = _table("", "schedule", "length", "first", "peak", "at", "last", "Σ factor")
    for each in found:
        rates = {name: number_text(rate, 4) for name, rate in each.rates.items()}
        table.add_row(
            each.letter, Text(each.text), f"{each.steps:,}", rates["first"], rates["peak"], f"{each.peak_step:,}",
            rates["last"], steps_text(each.effective_steps),
        )  # fmt: skip
    parts = _table("", "against A", "parts at", "most at", "A there", "it there", "Σ factor")
    for each, cells in _differences(found):
        parts.add_row(each.letter, *cells)
    return Group(table, "", parts)


def view_of(found: Sequence[Compared], *, named_lr: bool, log: bool) -> ScheduleView:
    """Return what the chart of several schedules shows; the shorter ones hold their last factor.

    Args:
        found: What :func:`compared` returned.
        named_lr: Whether a peak rate was given.
        log: Whether the rate has a log axis.

    Returns:
        Plain data for ``schedule_chart``.
    """
    import numpy as np

    from stepsize.views import ScheduleCurve, ScheduleView

    steps = np.arange(max(each.steps for each in found), dtype=np.float64)
    return ScheduleView(
        steps=steps,
        curves=tuple(ScheduleCurve(_legend(each), each.lr * each.schedule(steps)) for each in found),
        title=f"{len(found)} schedules over {len(steps):,} steps",
        subtitle=" ".join(f"{each.letter}: Σ factor {steps_text(each.effective_steps)}." for each in found),
        lr_label="learning rate" if named_lr else "factor",
        log_lr=log,
    )


def _differences(found: Sequence[Compared]) -> Iterator[tuple[Compared, tuple[str, ...]]]:
    from stepsize.views import number_text

    for each in found:
        difference = each.against
        if difference is None:
            continue
        if difference.first is None:
            yield each, ("the same" if difference.same else "another length", "", "", "", "", "")
            continue
        step, theirs, own = difference.largest
        lr, ratio = each.lr, difference.effective_steps_ratio
        yield (
            each,
            (
                "differs",
                f"{difference.first:,}",
                f"{step:,}",
                number_text(lr * theirs, 4),
                number_text(lr * own, 4),
                "" if ratio is None else f"× {number_text(ratio, 4)}",
            ),
        )


def _legend(each: Compared) -> str:
    name = f"{each.letter}: {each.text}"
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name in ("", "schedule", "against A") else "right")
    return table
