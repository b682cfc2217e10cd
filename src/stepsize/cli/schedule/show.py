"""``stepsize schedule show``: what one schedule will do at its key points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.failures import reporting_failures
from stepsize.cli.options import JsonOption, PlotOption, number
from stepsize.cli.output import facts, hint, messages, print_json, save_plot
from stepsize.cli.output import show as print_answer
from stepsize.cli.schedule.clock import ClockOptions, clocked
from stepsize.cli.schedule.plan import (
    Coupling,
    HorizonOption,
    LogOption,
    PeakOption,
    course_of,
    read,
    settled,
    steps_text,
)
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.schedules import HyperparameterSchedule, Peaks, Preview, Schedule
    from stepsize.views import ScheduleView

__all__ = ["EXAMPLE", "NAME", "Shown", "command", "document", "render", "view_of"]

NAME = "show"
EXAMPLE = 'stepsize schedule "warmup 5%, constant 75%, cooldown 20%" --steps 10000 --lr 3e-3 --plot schedule.png'

# Key in JSON and CSV, header for people (a column is left out where there is nothing).
_COLUMNS = (
    ("factor", "factor"),
    ("lr", "lr"),
    ("momentum", "momentum"),
    ("weight_decay", "weight\ndecay"),
    ("effective_lr", "lr/(1−m)"),
    ("timescale", "1/(lr·wd)"),
)
_MANY = 5


@dataclass(frozen=True, eq=False)
class Shown:
    """What there is to show of a schedule.

    Attributes:
        schedule: As it was written, durations open.
        settled: The same over its horizon.
        course: That one with what moves beside it.
        seen: Its values at every update.
        peaks: What the values are multiples of.
        named_lr: Whether a peak rate was given; if not it is 1.
    """

    schedule: Schedule
    settled: Schedule
    course: HyperparameterSchedule
    seen: Preview
    peaks: Peaks
    named_lr: bool

    def columns(self) -> dict[str, Any]:
        """Return the values of each update and of the end, by key, without those that do not exist."""
        values = self.seen.values
        every = {
            "factor": self.seen.factors,
            "lr": values.lr if self.named_lr else None,
            "momentum": values.momentum,
            "weight_decay": values.weight_decay,
            "effective_lr": values.effective_lr,
            "timescale": values.timescale if self.named_lr else None,  # a length of time needs a real rate
        }
        return {key: array for key, array in every.items() if array is not None}


@clocked
def command(
    schedule: Annotated[
        list[str],
        typer.Argument(
            metavar="SCHEDULE",
            help="A written schedule, such as 'warmup 5%, cosine'. stepsize schedule list shows all there are.",
            show_default=False,
        ),
    ],
    *,
    steps: HorizonOption = None,
    lr: PeakOption = None,
    momentum: Annotated[
        str | None,
        typer.Option("--momentum", metavar="M", help="Momentum or β₁: a number, or a written schedule of momenta."),
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", metavar="X", parser=number, help="Its coefficient.")
    ] = None,
    decay_rule: Annotated[
        str,
        typer.Option(
            "--decay-rule",
            metavar="RULE",
            help="How fast weights shrink: follows (with lr), independent (as at the peak) or corrected (with lr²).",
        ),
    ] = "follows",
    keep_effective: Annotated[
        bool, typer.Option("--keep-effective", help="Let lr/(1 − momentum) follow the schedule instead of lr.")
    ] = False,
    clock: ClockOptions,
    plot: PlotOption = None,
    log: LogOption = False,
    table: Annotated[
        Path | None, typer.Option("--csv", metavar="PATH", help="Write the values of every update here.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the key points of a schedule: rate, momentum, weight decay and what they make together."""
    with reporting_failures():
        from stepsize.schedules import to_csv
        from stepsize.views import check_plot_path, schedule_chart

        path = None if plot is None else check_plot_path(plot)
        csv_path = None if table is None else _csv_path(table)
        written = _joined(schedule)
        rate = settled(written, steps, clock)
        shown = _shown(written, rate, lr, Coupling(momentum, weight_decay, decay_rule, keep_effective), clock)
        if as_json:
            print_json(document(shown))
        else:
            print_answer(render(shown))
            if lr is None:
                hint("Factors of the peak rate; with --lr X they become rates.")
        if csv_path is not None:
            messages().print(Text(f"Table saved to {to_csv(shown.course, shown.peaks, csv_path)}"), soft_wrap=True)
        if path is not None:
            save_plot(schedule_chart(view_of(shown, log=log)), path)


def document(shown: Shown) -> dict[str, Any]:
    """Return what was found as plain values for ``json.dumps``; its keys are stable.

    Args:
        shown: What there is to show.

    Returns:
        ``schedule`` (the written form), ``settled`` (the same in steps), ``steps``, ``effective_steps`` (Σ factor),
        ``peaks`` (``lr``, ``momentum``, ``weight_decay``; ``lr`` is 1 where none was given), ``points`` (a list of
        objects with ``step``, ``what`` and the columns: ``factor`` and, where they exist, ``lr``, ``momentum``,
        ``weight_decay``, ``effective_lr``, ``timescale``).
    """
    from stepsize.schedules import write

    columns = shown.columns()
    return {
        "schedule": write(shown.schedule),
        "settled": write(shown.settled),
        "steps": len(shown.seen.steps) - 1,
        "effective_steps": shown.seen.effective_steps,
        "peaks": {key: getattr(shown.peaks, key) for key in ("lr", "momentum", "weight_decay")},
        "points": [
            {"step": point.step, "what": point.what, **{key: float(columns[key][point.step]) for key in columns}}
            for point in shown.seen.points
        ],
    }


def render(shown: Shown) -> RenderableType:
    """Return the key points and the length as something that rich can show."""
    from stepsize.schedules import write

    columns = shown.columns()
    many = len(columns) >= _MANY  # then all columns must be narrow to fit a terminal
    table = Table("step", "what", box=None, padding=(0, 1 if many else 2, 0, 0), header_style="bold")
    table.columns[0].justify = "right"
    for key, name in _COLUMNS:
        if key in columns:
            table.add_column(name, justify="right", vertical="bottom")
    for point in shown.seen.points:
        numbers = [
            _number(float(columns[key][point.step]), 3 if many and key.endswith("lr") else 4)
            for key, _ in _COLUMNS
            if key in columns
        ]
        table.add_row(f"{point.step:,}", point.what, *numbers)
    length = len(shown.seen.steps) - 1
    rows: list[tuple[str, RenderableType]] = [
        ("length", f"{length:,} steps, worth {steps_text(shown.seen.effective_steps)} at the peak rate (Σ factor)"),
        ("schedule", write(shown.schedule)),
    ]
    if shown.settled != shown.schedule:
        rows.append(("in steps", write(shown.settled)))
    return Group(table, "", facts(rows))


def view_of(shown: Shown, *, log: bool = False) -> ScheduleView:
    """Return what the chart of a schedule shows.

    Args:
        shown: What there is to show.
        log: Whether the rate has a log axis.

    Returns:
        Plain data for ``schedule_chart``.
    """
    from stepsize.schedules import write
    from stepsize.views import ScheduleCurve, ScheduleView

    columns = {key: array[:-1] for key, array in shown.columns().items()}  # updates only
    length = len(shown.seen.steps) - 1
    curve = ScheduleCurve(
        name="schedule",
        lr=columns.get("lr", columns["factor"]),
        momentum=columns.get("momentum"),
        weight_decay=columns.get("weight_decay"),
        effective=columns.get("effective_lr"),
        timescale=columns.get("timescale"),
    )
    return ScheduleView(
        steps=shown.seen.steps[:-1],
        curves=(curve,),
        marks=tuple((point.step, point.what) for point in shown.seen.points if 0 < point.step < length - 1),
        title=write(shown.schedule),
        subtitle=f"{length:,} steps.",
        lr_label="learning rate" if shown.named_lr else "factor",
        log_lr=log,
    )


def _shown(written: Schedule, rate: Schedule, lr: float | None, coupling: Coupling, clock: ClockOptions) -> Shown:
    from stepsize.schedules import preview

    course, peaks = course_of(rate, lr, coupling, clock)
    return Shown(written, rate, course, preview(course, peaks), peaks, lr is not None)


def _joined(words: list[str]) -> Schedule:
    """Return the schedule that was typed, in quotes or as words of the shell."""
    try:
        return read(" ".join(words))
    except InputError as error:
        if len(words) > 1:
            error.add_note("Without quotes every word is taken for a part of the schedule: put values in quotes too.")
        raise


def _number(value: float, digits: int) -> str:
    from stepsize.views import number_text

    return "∞" if value == float("inf") else number_text(value, digits)


def _csv_path(path: Path) -> Path:
    if path.suffix.lower() != ".csv":
        raise InputError("csv", str(path), "must end in .csv", f"Name it '{path.with_suffix('.csv')}'")
    if path.is_dir():
        raise InputError("csv", str(path), "must be a file, not a folder", f"Name it '{path / 'lr.csv'}'")
    if not path.parent.is_dir():
        raise InputError("csv", str(path), "must be a file in a folder that exists", f"Create '{path.parent}' first")
    return path
