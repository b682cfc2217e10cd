"""``stepsize schedule compare``: several schedules over one horizon, and where they differ."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stepsize.cli.options import argument
from stepsize.cli.output import OutputOptions, quiet_table
from stepsize.cli.schedule.plan import (
    FACTORS,
    ClockOptions,
    HorizonOption,
    LogOption,
    PeakOption,
    peak_lr,
    read,
    resolved,
    steps_text,
)
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError

if TYPE_CHECKING:
    from stepsize.schedules import Schedule
    from stepsize.views import ChartInfo

NAME = "compare"
EXAMPLE = 'stepsize schedule compare "linear warmup=5%" "cosine warmup=5%" "wsd" --steps 10000 --plot compared.png'

_MOST = 8  # colors that can be distinguished
_MOST_NAME = 60  # characters of a schedule in the legend


@dataclass(frozen=True)
class _Output(OutputOptions):
    log: LogOption = False


def command(
    schedules: Annotated[list[str], argument("SCHEDULE", "Written schedules, each in quotes: 2 to 8.")],
    *,
    steps: HorizonOption = None,
    lr: PeakOption = None,
    clock: ClockOptions,
    output: _Output,
) -> None:
    """Compare schedules: their key figures, and where each differs from the first."""
    from stepsize.views import draw

    if not 2 <= len(schedules) <= _MOST:
        remedy = 'Put each in quotes of its own, as in: "warmup 5%, cosine" "wsd"'
        raise InputError("schedules", len(schedules), f"must be 2 to {_MOST} to be compared", remedy)
    peak = peak_lr(lr)
    written = [read(text) for text in schedules]
    made = [resolved(each, steps, clock) for each in written]
    rows = [_row(place, str(text), made, peak) for place, text in enumerate(written)]
    output.give(
        lambda: {"lr": peak, "schedules": rows},  # its keys are stable
        lambda: render(rows, peak),
        lambda: draw(info_of(rows, made, lr, log=output.log)),
    )
    if lr is None:
        output.hint(FACTORS)


def _row(place: int, text: str, made: Sequence[Schedule], peak: float) -> dict[str, Any]:
    """Return the key figures of a schedule, and how it differs from the first; rates are factors times ``peak``."""
    from stepsize.schedules import diff

    schedule, length = made[place], made[place].length or 0
    peak_step = int(schedule.factors().argmax())
    rates = {name: peak * schedule(step) for name, step in (("first", 0), ("peak", peak_step), ("last", length - 1))}
    return {
        "letter": string.ascii_uppercase[place],
        "schedule": text,
        "in_steps": str(schedule),
        "steps": length,
        **rates,
        "peak_step": peak_step,
        "effective_steps": schedule.effective_steps,
        "against_first": diff(made[0], schedule).to_json() if place else None,
    }


def render(rows: Sequence[dict[str, Any]], peak: float) -> RenderableType:
    """Return the key figures and the differences for people."""
    table = _table("", "schedule", "length", "first", "peak", "at", "last", "effective steps")
    differences = _table("", "from A", "first at", "most at", "A there", "it there", "effective steps")
    for row in rows:
        first, highest, last = (number_text(row[name], 4) for name in ("first", "peak", "last"))
        table.add_row(
            row["letter"], Text(row["schedule"]), f"{row['steps']:,}", first, highest, f"{row['peak_step']:,}", last,
            steps_text(row["effective_steps"]),
        )  # fmt: skip
        if row["against_first"] is not None:
            differences.add_row(row["letter"], *_difference(row["against_first"], peak))
    return Group(table, "", differences)


def _difference(found: dict[str, Any], peak: float) -> tuple[str, ...]:
    if found["first"] is None:
        return ("same" if found["same"] else "other length",)
    step, first, own = found["largest"]
    ratio = found["effective_steps_ratio"]
    times = "" if ratio is None else f"× {number_text(ratio, 4)}"
    there = (number_text(peak * factor, 4) for factor in (first, own))
    return "differs", f"{found['first']:,}", f"{step:,}", *there, times


def info_of(rows: Sequence[dict[str, Any]], made: Sequence[Schedule], lr: float | None, *, log: bool) -> ChartInfo:
    """Return what the chart of several schedules shows; the shorter ones hold their last factor."""
    import numpy as np

    from stepsize.views import schedule_info

    steps = np.arange(max(row["steps"] for row in rows), dtype=np.float64)
    return schedule_info(
        steps=steps,
        curves={_legend(row): {"lr": (lr or 1.0) * each(steps)} for row, each in zip(rows, made, strict=True)},
        title=f"{len(rows)} schedules over {len(steps):,} steps",
        subtitle=" ".join(f"{row['letter']}: {steps_text(row['effective_steps'])} effective steps." for row in rows),
        lr_label="factor" if lr is None else "learning rate",
        log_lr=log,
    )


def _legend(row: dict[str, Any]) -> str:
    name = f"{row['letter']}: {row['schedule']}"
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def _table(*columns: str) -> Table:
    return quiet_table(*columns, right=set(columns) - {"", "schedule", "from A"})
