"""``stepsize schedule show``: what one schedule will do at its key points."""

from __future__ import annotations

from collections.abc import Mapping
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
    from stepsize.schedules import Preview, Schedule
    from stepsize.schedules.shapes import Array
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
    seen = preview(whole, peaks)
    columns = _columns(seen, named_lr=lr is not None)
    told: dict[str, Any] = {  # its keys are stable; ``lr`` is 1 if none was given
        "schedule": str(written),
        "in_steps": str(whole.rate),
        "steps": len(seen.steps) - 1,
        "effective_steps": seen.effective_steps,
        "peaks": {key: getattr(peaks, key) for key in ("lr", "momentum", "weight_decay")},
        "points": [
            {"step": point.step, "what": point.what, **{key: float(columns[key][point.step]) for key in columns}}
            for point in seen.points
        ],
    }
    output.give(lambda: told, lambda: render(told), lambda: draw(info_of(told, columns, log=output.log)))
    if lr is None:
        output.hint(FACTORS)
    if output.table is not None:
        updates = {"step": range(told["steps"]), **{key: array[:-1].tolist() for key, array in columns.items()}}
        rows = (dict(zip(updates, values, strict=True)) for values in zip(*updates.values(), strict=True))
        save_table(output.table, ["step", *_COLUMNS], rows)
        say(f"Table saved to {output.table}")


def _columns(seen: Preview, *, named_lr: bool) -> dict[str, Array]:
    """Return the values of each update and of the end, by key, without those that do not exist."""
    every = {"factor": seen.factors, **{key: getattr(seen.values, key) for key in list(_COLUMNS)[1:]}}
    if not named_lr:  # both need a real rate
        every |= {"lr": None, "timescale": None}
    return {key: array for key, array in every.items() if array is not None}


def render(told: Mapping[str, Any]) -> RenderableType:
    """Return the key points and the length for people."""
    keys = [key for key in _COLUMNS if key in told["points"][0]]
    many = len(keys) >= _MANY  # then all columns must be narrow to fit a terminal
    table = Table("step", "what", box=None, padding=(0, 1 if many else 2, 0, 0), header_style="bold")
    table.columns[0].justify = "right"
    for key in keys:
        table.add_column(_COLUMNS[key], justify="right", vertical="bottom")
    for point in told["points"]:
        numbers = [_number(point[key], 3 if many and key.endswith("lr") else 4) for key in keys]
        table.add_row(f"{point['step']:,}", point["what"], *numbers)
    effective = f"{steps_text(told['effective_steps'])} effective steps (sum of factors)"
    rows: list[tuple[str, RenderableType]] = [
        ("length", f"{told['steps']:,} steps, {effective}"),
        ("schedule", told["schedule"]),
    ]
    if told["in_steps"] != told["schedule"]:
        rows.append(("in steps", told["in_steps"]))
    return Group(table, "", facts(rows))


def info_of(told: Mapping[str, Any], columns: Mapping[str, Array], *, log: bool = False) -> ChartInfo:
    """Return what the chart of a schedule shows."""
    from stepsize.views import schedule_info

    updates = {key: array[:-1] for key, array in columns.items()}
    steps, factors = told["steps"], updates.pop("factor")
    return schedule_info(
        steps=range(steps),
        curves={"schedule": {"lr": factors, **updates}},
        marks=[(point["step"], point["what"]) for point in told["points"] if 0 < point["step"] < steps - 1],
        title=told["schedule"],
        subtitle=f"{steps:,} steps.",
        lr_label="learning rate" if "lr" in updates else "factor",
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
