"""What can be written: the schedules of the catalog and the changes of the algebra, each with its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from stepsize.schedules.algebra import Within
from stepsize.schedules.catalog import SCHEDULES, Kind
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.units import Duration, as_duration

__all__ = ["CHANGES", "PIECES", "Form", "Slot"]

_DURATIONS = ("duration", "durations", "points")


@dataclass(frozen=True)
class Slot:
    """A parameter as it is written.

    Attributes:
        name: What stands before ``=`` and what the constructor calls it.
        kind: What it holds.
        field: What the node calls it, if otherwise.
    """

    name: str
    kind: Kind | Literal["count", "schedule"]
    field: str = ""


@dataclass(frozen=True)
class Form:
    """A schedule or a change as it is written: a name and parameters.

    Attributes:
        name: What it begins with.
        call: What makes the schedule of it; a change takes the schedule before the bar first.
        slots: The parameters.
    """

    name: str
    call: Callable[..., Schedule]
    slots: tuple[Slot, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Slot]:
        """The parameters by their names."""
        return {slot.name: slot for slot in self.slots}

    @cached_property
    def unnamed(self) -> Slot | None:
        """The parameter of a value without a name: the first that holds durations, else the first number."""
        of_time = (slot for slot in self.slots if slot.kind in _DURATIONS)
        numbers = (slot for slot in self.slots if slot.kind in ("number", "count"))
        return next(of_time, None) or next(numbers, None)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The values of the parameters that may be left out."""
        known = inspect.signature(self.call).parameters
        return {
            slot.name: known[slot.name].default
            for slot in self.slots
            if known[slot.name].default is not inspect.Parameter.empty
        }

    @cached_property
    def required(self) -> tuple[str, ...]:
        """The names of the parameters that may not be left out."""
        return tuple(slot.name for slot in self.slots if slot.name not in self.defaults)

    def slot(self, kind: str) -> Slot | None:
        """Return the first parameter of a kind; None if there is none."""
        return next((slot for slot in self.slots if slot.kind == kind), None)


def _within(schedule: Schedule, steps: Duration) -> Schedule:
    """Return ``schedule`` over a length that is not in steps yet: what is open in it refers to that."""
    return Schedule(Within(schedule.node, as_duration("steps", steps)))


# The node of a constant is a way from a factor to the same one.
_FIELDS = {"factor": "start"}

PIECES: Mapping[str, Form] = {
    entry.name: Form(
        entry.name,
        entry.make,
        tuple(Slot(each.name, each.kind, _FIELDS.get(each.name, "")) for each in entry.parameters),
    )
    for entry in SCHEDULES.values()
}

CHANGES: Mapping[str, Form] = {
    form.name: form
    for form in (
        Form("scaled", Schedule.scaled, (Slot("by", "number"),)),
        Form("floored", Schedule.floored, (Slot("at", "number", "floor"),)),
        Form("delayed", Schedule.delayed, (Slot("by", "duration"), Slot("factor", "number"))),
        Form("repeated", Schedule.repeated, (Slot("times", "count"), Slot("per_cycle", "number"))),
        Form("stretched", Schedule.stretched, (Slot("to", "duration"),)),
        Form("first", Schedule.first, (Slot("steps", "duration"),)),
        Form(
            "cooled-down",
            Schedule.cooled_down,
            (Slot("over", "duration"), Slot("at", "duration"), Slot("shape", "shape"), Slot("end", "number")),
        ),
        Form("extended", Schedule.extended, (Slot("to", "duration"), Slot("at", "duration"), Slot("by", "word"))),
        Form("switched", Schedule.switched, (Slot("other", "schedule"), Slot("at", "duration"))),
        Form("within", _within, (Slot("steps", "duration"),)),
    )
}
