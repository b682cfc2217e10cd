"""``stepsize schedule show``: what one schedule will do at its key points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Group, RenderableType
from rich.table import Table

from stepsize.checks import check_output_path
from stepsize.cli.options import argument, option
from stepsize.cli.output import OutputOptions, facts, save_table, say
from stepsize.cli.schedule.plan import (
    FACTORS,
    ClockOptions,
    HorizonOption,
    LogOption,
    MovingOptions,
    PeakOption,
    read,
    resolved,
    steps_text,
    with_moving,
)
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.schedules import HyperparameterSchedule, Peaks, Preview, Schedule
    from stepsize.views import ChartInfo

NAME = "show"
EXAMPLE = 'stepsize schedule "warmup 5%, constant 75%, cooldown 20%" --steps 10000 --lr 3e-3 --plot schedule.png'

# Key in JSON and CSV, header for people (a column is left out if there is nothing).
_COLUMNS = {
    "factor": "factor",
    "lr": "lr",
    "momentum": "momentum",
    "weight_decay": "weight\ndecay",
    "effective_lr": "lr/(1−m)",
    "timescale": "1/(lr·wd)",
}
_MANY = 5


@dataclass(frozen=True, eq=False)
class Shown:
    """A schedule as it was written, in steps with what moves beside it, and its values at every update."""

    written: Schedule
    schedule: HyperparameterSchedule
    seen: Preview
    peaks: Peaks
    named_lr: bool  # whether a peak rate was given; if not it is 1

    @property
    def length(self) -> int:
        return len(self.seen.steps) - 1

    def columns(self) -> dict[str, Any]:
        """Return the values of each update and of the end, by key, without those that do not exist."""
        every = {"factor": self.seen.factors, **{key: getattr(self.seen.values, key) for key in list(_COLUMNS)[1:]}}
        if not self.named_lr:  # both need a real rate
            every |= {"lr": None, "timescale": None}
        return {key: array for key, array in every.items() if array is not None}


@dataclass(frozen=True)
class _Output(OutputOptions):
    log: LogOption = False
    table: Annotated[Path | None, option("PATH", "Write the values of every update here.", "--csv")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.table is not None:
            check_output_path("csv", self.table, (".csv",))


def command(
    schedule: Annotated[
        list[str],
        argument(
            "SCHEDULE", "A written schedule, such as 'warmup 5%, cosine'. stepsize schedule list shows all of them."
        ),
    ],
    *,
    steps: HorizonOption = None,
    lr: PeakOption = None,
    moving: MovingOptions,
    clock: ClockOptions,
    output: _Output,
) -> None:
    """Show the key points of a schedule: learning rate, momentum, weight decay and what they make together."""
    from stepsize.schedules import preview
    from stepsize.views import draw

    written = _joined(schedule)
    whole, peaks = with_moving(resolved(written, steps, clock), lr, moving, clock)
    shown = Shown(written, whole, preview(whole, peaks), peaks, lr is not None)
    output.give(lambda: document(shown), lambda: render(shown), lambda: draw(info_of(shown, log=output.log)))
    if lr is None:
        output.hint(FACTORS)
    if output.table is not None:
        save_table(output.table, ["step", *_COLUMNS], _rows(shown))
        say(f"Table saved to {output.table}")


def document(shown: Shown) -> dict[str, Any]:
    """Return the answer of ``--json``; its keys are stable. ``lr`` is 1 if none was given."""
    columns = shown.columns()
    return {
        "schedule": str(shown.written),
        "in_steps": str(shown.schedule.rate),
        "steps": shown.length,
        "effective_steps": shown.seen.effective_steps,
        "peaks": {key: getattr(shown.peaks, key) for key in ("lr", "momentum", "weight_decay")},
        "points": [
            {"step": point.step, "what": point.what, **{key: float(columns[key][point.step]) for key in columns}}
            for point in shown.seen.points
        ],
    }


def _rows(shown: Shown) -> Iterator[dict[str, Any]]:
    """Yield the values of each update, exactly."""
    columns = {"step": range(shown.length), **{key: array.tolist() for key, array in shown.columns().items()}}
    for values in zip(*columns.values(), strict=False):  # the last ones of the arrays are of the end
        yield dict(zip(columns, values, strict=True))


def render(shown: Shown) -> RenderableType:
    """Return the key points and the length for people."""
    columns = shown.columns()
    many = len(columns) >= _MANY  # then all columns must be narrow to fit a terminal
    table = Table("step", "what", box=None, padding=(0, 1 if many else 2, 0, 0), header_style="bold")
    table.columns[0].justify = "right"
    for key in columns:
        table.add_column(_COLUMNS[key], justify="right", vertical="bottom")
    for point in shown.seen.points:
        numbers = [
            _number(float(array[point.step]), 3 if many and key.endswith("lr") else 4) for key, array in columns.items()
        ]
        table.add_row(f"{point.step:,}", point.what, *numbers)
    effective = f"{steps_text(shown.seen.effective_steps)} effective steps (sum of factors)"
    rows: list[tuple[str, RenderableType]] = [
        ("length", f"{shown.length:,} steps, {effective}"),
        ("schedule", str(shown.written)),
    ]
    if shown.schedule.rate != shown.written:
        rows.append(("in steps", str(shown.schedule.rate)))
    return Group(table, "", facts(rows))


def info_of(shown: Shown, *, log: bool = False) -> ChartInfo:
    """Return what the chart of a schedule shows."""
    from stepsize.views import schedule_info

    columns = {key: array[:-1] for key, array in shown.columns().items()}  # updates only
    curve = {"lr": columns.pop("factor"), **columns}
    return schedule_info(
        steps=shown.seen.steps[:-1],
        curves={"schedule": curve},
        marks=tuple((point.step, point.what) for point in shown.seen.points if 0 < point.step < shown.length - 1),
        title=str(shown.written),
        subtitle=f"{shown.length:,} steps.",
        lr_label="learning rate" if shown.named_lr else "factor",
        log_lr=log,
    )


def _joined(words: list[str]) -> Schedule:
    """Return the schedule that was typed, in quotes or as words of the shell."""
    try:
        return read(" ".join(words))
    except InputError as error:
        if len(words) > 1:
            error.add_note("Without quotes every word is part of the schedule: put values in quotes too.")
        raise


def _number(value: float, digits: int) -> str:
    return "∞" if value == float("inf") else number_text(value, digits)
