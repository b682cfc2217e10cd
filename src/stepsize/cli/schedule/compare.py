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
    from stepsize.schedules import Difference, Schedule
    from stepsize.views import ScheduleInfo

NAME = "compare"
EXAMPLE = 'stepsize schedule compare "linear warmup=5%" "cosine warmup=5%" "wsd" --steps 10000 --plot compared.png'

_MOST = 8  # colors that can be distinguished
_MOST_NAME = 60  # characters of a schedule in the legend


@dataclass(frozen=True, eq=False)
class Compared:
    """One of the schedules that are compared."""

    letter: str  # A, B, C, ...
    text: str  # its written form, durations relative
    schedule: Schedule  # the same in steps
    lr: float  # its peak rate; 1 if none was given
    against: Difference | None  # how it differs from the first of all; None for that one

    @property
    def steps(self) -> int:
        return self.schedule.length or 0

    @property
    def peak_step(self) -> int:
        return int(self.schedule.factors().argmax())

    @property
    def rates(self) -> dict[str, float]:
        """Its rates at the first update, at the peak and at the last update."""
        at = {"first": 0, "peak": self.peak_step, "last": self.steps - 1}
        return {name: self.lr * self.schedule(step) for name, step in at.items()}


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
    from stepsize.views import schedule_chart

    if not 2 <= len(schedules) <= _MOST:
        remedy = 'Put each in quotes of its own, as in: "warmup 5%, cosine" "wsd"'
        raise InputError("schedules", len(schedules), f"must be 2 to {_MOST} to be compared", remedy)
    peak = peak_lr(lr)
    written = [read(text) for text in schedules]
    found = compared(written, [resolved(each, steps, clock) for each in written], peak)
    output.give(
        lambda: document(found),
        lambda: render(found),
        lambda: schedule_chart(info_of(found, named_lr=lr is not None, log=output.log)),
    )
    if lr is None:
        output.hint(FACTORS)


def compared(written: Sequence[Schedule], in_steps: Sequence[Schedule], lr: float) -> tuple[Compared, ...]:
    """Return the schedules with letters, and how each differs from the first."""
    from stepsize.schedules import diff

    return tuple(
        Compared(
            letter=string.ascii_uppercase[index],
            text=str(relative),
            schedule=schedule,
            lr=lr,
            against=diff(in_steps[0], schedule) if index else None,
        )
        for index, (relative, schedule) in enumerate(zip(written, in_steps, strict=True))
    )


def document(found: Sequence[Compared]) -> dict[str, Any]:
    """Return the answer of ``--json``; its keys are stable. Rates are factors of the peak, 1, if none was given."""
    return {
        "lr": found[0].lr,
        "schedules": [
            {
                "letter": each.letter,
                "schedule": each.text,
                "in_steps": str(each.schedule),
                "steps": each.steps,
                **each.rates,
                "peak_step": each.peak_step,
                "effective_steps": each.schedule.effective_steps,
                "against_first": None if each.against is None else each.against.to_json(),
            }
            for each in found
        ],
    }


def render(found: Sequence[Compared]) -> RenderableType:
    """Return the key figures and the differences for people."""
    table = _table("", "schedule", "length", "first", "peak", "at", "last", "effective steps")
    differences = _table("", "from A", "first at", "most at", "A there", "it there", "effective steps")
    for each in found:
        rates = {name: number_text(rate, 4) for name, rate in each.rates.items()}
        table.add_row(
            each.letter, Text(each.text), f"{each.steps:,}", rates["first"], rates["peak"], f"{each.peak_step:,}",
            rates["last"], steps_text(each.schedule.effective_steps),
        )  # fmt: skip
        if each.against is not None:
            differences.add_row(each.letter, *_difference(each.against, each.lr))
    return Group(table, "", differences)


def _difference(found: Difference, lr: float) -> tuple[str, ...]:
    if found.first is None:
        return ("same" if found.same else "other length",)
    step, first, own = found.largest
    ratio = found.effective_steps_ratio
    times = "" if ratio is None else f"× {number_text(ratio, 4)}"
    return "differs", f"{found.first:,}", f"{step:,}", number_text(lr * first, 4), number_text(lr * own, 4), times


def info_of(found: Sequence[Compared], *, named_lr: bool, log: bool) -> ScheduleInfo:
    """Return what the chart of several schedules shows; the shorter ones hold their last factor."""
    import numpy as np

    from stepsize.views import ScheduleCurve, schedule_info

    steps = np.arange(max(each.steps for each in found), dtype=np.float64)
    return schedule_info(
        steps=steps,
        curves=tuple(ScheduleCurve(_legend(each), each.lr * each.schedule(steps)) for each in found),
        title=f"{len(found)} schedules over {len(steps):,} steps",
        subtitle=" ".join(
            f"{each.letter}: {steps_text(each.schedule.effective_steps)} effective steps." for each in found
        ),
        lr_label="learning rate" if named_lr else "factor",
        log_lr=log,
    )


def _legend(each: Compared) -> str:
    name = f"{each.letter}: {each.text}"
    return name if len(name) <= _MOST_NAME else f"{name[: _MOST_NAME - 1]}…"


def _table(*columns: str) -> Table:
    return quiet_table(*columns, right=set(columns) - {"", "schedule", "from A"})
