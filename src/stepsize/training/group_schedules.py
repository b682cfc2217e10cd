"""The schedules of all parameter groups: saved with the state of a run, compared, and changed on resume."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from stepsize.errors import InputError
from stepsize.schedules import Clock, HyperparameterSchedule, Peaks, constant, parse
from stepsize.schedules.shapes import Array

UNIT = Peaks(lr=1.0, momentum=0.0, weight_decay=1.0)
_PROBES = 65  # steps at which a function is evaluated for a digest
_FAR = 1e6  # how far if it has no end
_MOST_CHECKED = 1 << 20  # updates up to which a momentum is checked at each
MAIN = "all"
_NAME = re.compile(r"all|[0-9]+\.[0-9]+")
Document = Mapping[str, Any]  # a schedule as plain values


@final
@dataclass(frozen=True)
class GroupSchedules:
    """The schedule of all parameter groups (MAIN), and those of single groups by ``name_of`` optimizer and group."""

    by_name: Mapping[str, HyperparameterSchedule]

    @property
    def main(self) -> HyperparameterSchedule:
        """What groups follow that have none of their own."""
        return self.by_name[MAIN]

    def of(self, name: str) -> HyperparameterSchedule:
        """Return what a group follows."""
        return self.by_name.get(name, self.main)

    @property
    def length(self) -> int | None:
        """The number of updates after which all have ended; None if one has no end."""
        lengths = [schedule.length for schedule in self.by_name.values()]
        return None if None in lengths else max(length for length in lengths if length is not None)

    def resolved(self, steps: Any, clock: Clock | None) -> GroupSchedules:
        """Return them with all durations in steps; raise InputError if that is not possible."""
        return GroupSchedules({name: _resolved(name, one, steps, clock) for name, one in self.by_name.items()})

    def check(self) -> None:
        """Raise InputError if a factor or a momentum breaks its rule, at probes over the whole length."""
        for schedule in self.by_name.values():
            steps = _probes(schedule)
            if schedule.momentum is not None and schedule.length is not None:
                steps = np.linspace(0, schedule.length, min(schedule.length, _MOST_CHECKED) + 1).round()
            schedule.values(UNIT, steps)

    def documents(self) -> dict[str, Document]:
        """Return them as plain values; of what contains a function its text and a digest of its factors."""
        return {name: _document(schedule) for name, schedule in self.by_name.items()}

    def continued(self, saved: SavedSchedules, step: int) -> GroupSchedules:
        """Return what was ``saved`` up to ``step`` and these from there, without a jump of any group's factor.

        A group whose schedule is still the one that was asked for continues with what it follows.
        """
        names = dict.fromkeys([*self.by_name, *sorted(saved.names)])
        return GroupSchedules({name: _continued(saved, name, self.of(name), step) for name in names})

    def __str__(self) -> str:
        return "; ".join(_label(name) + str(schedule) for name, schedule in self.by_name.items())


@final
class SavedSchedules:
    """What a state says was asked for, and what was followed if that was changed since (else None)."""

    def __init__(self, asked: object, followed: object) -> None:
        self._asked = _checked("asked", asked)
        self._followed = self._asked if followed is None else _checked("followed", followed)

    @property
    def names(self) -> Iterable[str]:
        """Names of what was followed."""
        return self._followed

    def asked_for(self, name: str, schedule: HyperparameterSchedule) -> bool:
        """Return whether ``schedule`` is what was asked for then."""
        document = self._asked.get(name, self._asked[MAIN])
        if "function" in document or schedule.holds_function:
            return {**_document(schedule), "function": ""} == {**document, "function": ""}  # names may change
        return _read(document) == schedule

    def same(self, schedules: GroupSchedules) -> bool:
        """Return whether ``schedules`` are what was asked for then."""
        names = {*self._asked, *schedules.by_name}
        return all(self.asked_for(name, schedules.of(name)) for name in names)

    def followed(self, schedules: GroupSchedules) -> GroupSchedules:
        """Return what was followed, given that ``schedules`` are what was asked for."""
        if self._followed == self._asked:
            return schedules
        return GroupSchedules({name: self.one_followed(name, schedules.of(name)) for name in self._followed})

    def one_followed(self, name: str, asked: HyperparameterSchedule | None = None) -> HyperparameterSchedule:
        """Return what a group followed; ``asked`` is what was asked for, if known. InputError if it was a function."""
        document = self._followed.get(name, self._followed[MAIN])
        if asked is not None and document == self._asked.get(name, self._asked[MAIN]):
            return asked
        if "function" in document:
            rule = f"cannot continue from '{document['function']}': only a digest of a function can be saved"
            remedy = "Train with its .tabulated() from the beginning, or pass on_change='restart'"
            raise InputError("on_change", "continue", rule, remedy)
        return _read(document)

    def __str__(self) -> str:
        texts = {name: each.get("function") or _read(each) for name, each in self._asked.items()}
        return "; ".join(f"{_label(name)}{text}" for name, text in texts.items())


def name_of(optimizer: int, group: int) -> str:
    """Return what a group is called in a state: the number of its optimizer, and its own in that."""
    return f"{optimizer}.{group}"


def _resolved(name: str, schedule: HyperparameterSchedule, steps: Any, clock: Clock | None) -> HyperparameterSchedule:
    horizon = clock.horizon if steps is None and clock is not None else steps
    if horizon is not None:
        return schedule.over(horizon, clock)
    reasons = [reason for part in schedule.parts.values() if (reason := part.node.relative)]
    if reasons:
        argument = "schedule" if name == MAIN else "groups"
        raise InputError(argument, reasons[0], "must have all durations in steps", "Pass steps=, the updates in all")
    return schedule


def _continued(saved: SavedSchedules, name: str, new: HyperparameterSchedule, step: int) -> HyperparameterSchedule:
    if saved.asked_for(name, new):
        return saved.one_followed(name, new)
    rate = saved.one_followed(name).rate
    if step == 0:
        return new
    if new.length is not None and step > new.length:
        remedy = "Use a longer horizon, or on_change='restart'"
        raise InputError("schedule", str(new), f"ends before the {step:,} updates already made", remedy)
    if rate.length is not None and step > rate.length:  # it has been holding its last factor since
        rate = rate.then(constant(step - rate.length, factor=rate(rate.length)))
    remedy = "Pass on_change='restart' to begin again"
    try:
        if new.holds_function:
            remedy = "Bind its .tabulated() instead"
            raise InputError("schedule", str(new), "contains a function, which cannot be saved")
        changed = HyperparameterSchedule(
            rate.switched(new.rate, at=step), new.momentum, new.weight_decay, new.keep_effective
        )
        return _read(_document(changed))  # or the next state could not be read
    except InputError as problem:
        rule = f"is not possible at step {step:,}: '{problem.argument}' {problem.rule}"
        raise InputError("on_change", "continue", rule, remedy) from problem


def _document(schedule: HyperparameterSchedule) -> Document:
    if not schedule.holds_function:
        texts = {name: str(part) for name, part in schedule.parts.items()}
        rule = None if "weight_decay" in texts else schedule.weight_decay
        return {**texts, "rule": rule, "keep_effective": schedule.keep_effective}
    steps = _probes(schedule)
    seen = schedule.values(UNIT, steps)
    arrays = [part for part in (schedule.rate(steps), seen.momentum, seen.weight_decay) if part is not None]
    figures = "|".join(",".join(f"{value:.9e}" for value in part.tolist()) for part in arrays)  # whatever the libm
    digest = hashlib.sha256(figures.encode()).hexdigest()
    return {"function": str(schedule), "length": schedule.length, "digest": digest}


def _read(document: Document) -> HyperparameterSchedule:
    try:
        given = {name: parse(document[name]) for name in ("rate", "momentum", "weight_decay") if name in document}
        if document["rule"] is not None:
            given["weight_decay"] = document["rule"]
        return HyperparameterSchedule(**given, keep_effective=document["keep_effective"])
    except (KeyError, TypeError) as problem:
        raise InputError("state_dict", document, "must describe a schedule as a BoundScheduler saved it") from problem


def _probes(schedule: HyperparameterSchedule) -> Array:
    if schedule.length is None:
        return np.unique(np.round([0.0, *np.geomspace(1, _FAR, _PROBES - 1)]))
    return np.unique(np.round(np.linspace(0, schedule.length, _PROBES)))


def _checked(argument: str, documents: object) -> dict[str, Document]:
    found = dict(documents) if isinstance(documents, Mapping) else {}
    named = MAIN in found and all(_NAME.fullmatch(str(name)) for name in found)
    if not named or not all(isinstance(document, Mapping) for document in found.values()):
        raise InputError(argument, documents, "must be what a BoundScheduler saved in its state")
    return found


def _label(name: str) -> str:
    if name == MAIN:
        return ""
    optimizer, group = name.split(".")
    return f"group {group}: " if optimizer == "0" else f"group {group} of optimizer {optimizer}: "
