"""What courses make of parameter groups: their peaks, and the values of each update written into them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.schedules import Course, Peaks, Schedule
from stepsize.training.courses import Courses

__all__ = ["GroupValues", "peaks_of"]

_BLOCK = 1_024  # updates evaluated at once; blocks begin at its multiples, so where a training resumes is no matter
_UNIT = Peaks(lr=1.0, momentum=0.0, weight_decay=1.0)
Group = dict[str, Any]
Added = Literal["peak", "present"]


def peaks_of(group: Mapping[str, Any], course: Course, where: str) -> dict[str, float]:
    """Return the peaks that ``course`` multiplies, under the keys by which they stand in the group.

    ``initial_lr`` is torch's own key; ``initial_momentum`` and ``initial_weight_decay`` are there only where the
    course moves them. What the group already has under these keys counts, its present values otherwise.

    Raises:
        InputError: If the course moves what the group does not have, or a value breaks its rule.
    """
    if "lr" not in group:
        raise InputError("optimizer", f"{where} without lr", "must have a learning rate in each group")
    found = {"initial_lr": _given(group, "initial_lr", group["lr"])}
    if course.momentum is not None:
        present = _momentum(group)
        if present is None:
            remedy = "Leave momentum out of the course, or use an optimizer that has it"
            raise InputError("momentum", f"{where} with neither momentum nor betas", "cannot be scheduled", remedy)
        if course.keep_effective and "betas" in group:
            remedy = "Leave keep_effective out: β₁ does not scale the update of Adam"
            raise InputError("keep_effective", f"{where} with betas", "is for heavy-ball momentum", remedy)
        found["initial_momentum"] = _given(group, "initial_momentum", present)
    if course.weight_decay != "follows":
        if "weight_decay" not in group:
            remedy = "Leave weight_decay out of the course, or use an optimizer that has it"
            raise InputError("weight_decay", f"{where} without weight_decay", "cannot be scheduled", remedy)
        found["initial_weight_decay"] = _given(group, "initial_weight_decay", group["weight_decay"])
    Peaks(found["initial_lr"], found.get("initial_momentum"), found.get("initial_weight_decay"))  # their rules
    return found


@final
class GroupValues:
    """Writes what the courses say into all parameter groups of some optimizers, over and over and fast.

    Groups are looked up anew at each writing: those added later take the main course from their own rates on, and
    those that ``optimizer.load_state_dict`` put in place bring their own peaks (or keep the ones known here).

    Args:
        optimizers: Whose groups.
        courses: What they follow.
        lr: Peak rates, one a group over all optimizers; None takes the groups' own.
        added: What the rate of a group is that is added later: its ``"peak"``, or its ``"present"`` rate.

    Attributes:
        multiplier: Of all factors.
        overwritten: Called where a rate is overwritten that somebody else wrote: with the group's name, what stood
            there and what had been written.

    Raises:
        InputError: If a course does not fit its groups; nothing is changed then.
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        courses: Courses,
        lr: Sequence[float] | None = None,
        added: Added = "peak",
    ) -> None:
        self.multiplier = 1.0
        self.overwritten: Callable[[str, object, object], object] = lambda where, found, wrote: None
        self._courses = courses
        self._members = [_Members(index, optimizer, added) for index, optimizer in enumerate(optimizers)]
        rates = None if lr is None else iter(lr)
        for members in self._members:
            groups = members.optimizer.param_groups
            given = [{} if rates is None else {"initial_lr": next(rates)} for _ in groups]
            members.known = [
                peaks_of({**group, **own}, courses.of(members.index, i), members.where(i))
                for i, (group, own) in enumerate(zip(groups, given, strict=True))
            ]

    def install(self) -> None:
        """Give the groups the peaks that were found when this was made."""
        for members in self._members:
            for group, peaks in zip(members.optimizer.param_groups, members.known, strict=True):
                group.update(peaks)

    def follow(self, courses: Courses) -> None:
        """Follow other courses from the next writing on.

        Raises:
            InputError: If one does not fit its groups; nothing is changed then.
        """
        for members in self._members:
            members.peaks(courses)
        self._courses = courses
        for members in self._members:
            members.forget()

    def write(self, step: int) -> None:
        """Write the values of update number ``step`` into all groups."""
        for members in self._members:
            groups = members.optimizer.param_groups
            if members.touched(groups):
                self._tell(members, groups)
            if groups is not members.groups or len(groups) != members.count:
                members.adopt(self._courses, step, self.multiplier)
            try:
                table = members.only
                if table is None:
                    members.write(groups, step, self.multiplier)
                else:
                    # One schedule of the rate for all groups: what nearly everyone has, so without a call.
                    place = step - table.begin
                    factor = (table.rates[place] if 0 <= place < table.count else table.rate(step)) * self.multiplier
                    for group in groups:
                        if type(group["lr"]) is float:
                            group["lr"] = group["initial_lr"] * factor
                        else:
                            _put(group, "lr", group["initial_lr"] * factor)
            except KeyError:  # a group was exchanged within the list: it does not know its peaks yet
                members.adopt(self._courses, step, self.multiplier)
                members.write(groups, step, self.multiplier)
            members.remember(groups)

    def scale(self, factor: float, group: int | None = None) -> None:
        """Multiply the peak rates of all groups, or of one by its number over all optimizers."""
        number = 0
        for members in self._members:
            members.peaks(self._courses)  # which raises before anything is changed
            for i, each in enumerate(members.optimizer.param_groups):
                if group in (None, number):
                    peak = _given(each, "initial_lr", each["lr"]) * factor
                    each["initial_lr"] = peak
                    if i < len(members.known):
                        members.known[i]["initial_lr"] = peak
                number += 1

    def forget_written(self) -> None:
        """Take the rates that stand in the groups as they are, without a word about who wrote them."""
        for members in self._members:
            members.remember(members.optimizer.param_groups)

    def _tell(self, members: _Members, groups: list[Group]) -> None:
        """Say which rate is overwritten; a tensor that was replaced by a number is put back."""
        for i, (group, (held, value)) in enumerate(zip(groups, members.wrote, strict=False)):
            found = group["lr"]
            plain = float(found)
            if isinstance(held, Tensor) and not isinstance(found, Tensor):
                group["lr"] = held
            if value is not None and plain != value:
                self.overwritten(members.where(i), plain, value)

    def rates(self, step: int) -> list[float | Tensor]:
        """Return the rates of update number ``step``, group by group, in the type that each group holds."""
        found: list[float | Tensor] = []
        for members in self._members:
            for group, (table, peaks) in zip(
                members.optimizer.param_groups, members.planned(self._courses), strict=True
            ):
                lr = _lr(peaks, table.rate(step) * self.multiplier, table.effective_momentum(step))
                lr *= group.get("lr_scale", 1.0)
                found.append(torch.full_like(group["lr"], lr) if isinstance(group["lr"], Tensor) else lr)
        return found

    def peaks(self) -> list[float]:
        """Return the peak rates, group by group."""
        return [peaks["initial_lr"] for members in self._members for peaks in members.peaks(self._courses)]


class _Members:
    """The groups of one optimizer, and which table each follows."""

    def __init__(self, index: int, optimizer: Optimizer, added: Added) -> None:
        self.index = index
        self.optimizer = optimizer
        self._added = added
        self.known: list[dict[str, float]] = []
        self.wrote: list[tuple[Any, float | None]]
        self._written: list[Group] | None
        self.forget()

    def touched(self, groups: list[Group]) -> bool:
        """Return whether a rate is not what was written: cheap, since a float that nobody wrote is the same object."""
        if groups is not self._written:
            return False
        for group, (held, value) in zip(groups, self.wrote, strict=False):
            found = group["lr"]
            if found is not held and (type(found) is not float or found != value):
                return "initial_lr" in group  # else the group was exchanged: it has rates of its own
            if value is not None and type(found) is not float and isinstance(found, Tensor) and float(found) != value:
                return True
        return False

    def remember(self, groups: list[Group]) -> None:
        self._written = groups
        self.wrote = [(lr := group["lr"], lr if type(lr) is float else _readable(lr)) for group in groups]

    def forget(self) -> None:
        self._written = None
        self.wrote = []  # what stands in each group, and its value where it is known
        self.groups: list[Group] | None = None  # the list whose groups have been looked at; never equal to a new one
        self.count = 0
        self.only: _Table | None = None  # where all groups follow one schedule of the rate, and nothing else moves
        self._lanes: list[tuple[_Table, list[int]]] = []

    def where(self, group: int) -> str:
        return f"group {group} of {type(self.optimizer).__name__}"

    def peaks(self, courses: Courses) -> list[dict[str, float]]:
        """Return the peaks of each group: its own, else those known from before, else its present values."""
        known = [*self.known, *[{}] * len(self.optimizer.param_groups)]
        return [
            peaks_of({**before, **group}, courses.of(self.index, i), self.where(i))
            for i, (group, before) in enumerate(zip(self.optimizer.param_groups, known, strict=False))
        ]

    def adopt(self, courses: Courses, step: int, multiplier: float) -> None:
        groups = self.optimizer.param_groups
        if self._added == "present":
            for i in range(len(self.known), len(groups)):
                factor = self._table(courses.of(self.index, i)).rate(step) * multiplier
                if "initial_lr" not in groups[i] and factor > 0:
                    groups[i]["initial_lr"] = float(groups[i]["lr"]) / factor
        peaks = self.peaks(courses)
        for group, own in zip(groups, peaks, strict=True):
            group.update(own)
            _put_back(group, own)
        tables: dict[int, tuple[_Table, list[int]]] = {}
        for i in range(len(groups)):
            course = courses.of(self.index, i)
            tables.setdefault(id(course), (self._table(course), []))[1].append(i)
        self._lanes = list(tables.values())
        first, _ = self._lanes[0]
        scaled = any("lr_scale" in group for group in groups)  # timm's decay of the rate by layers
        self.only = first if len(self._lanes) == 1 and first.plain and not scaled else None
        self.known, self.groups, self.count = [{**own} for own in peaks], groups, len(groups)

    def _table(self, course: Course) -> _Table:
        return next((table for table, _ in self._lanes if table.course is course), None) or _Table(course)

    def planned(self, courses: Courses) -> list[tuple[_Table, dict[str, float]]]:
        return [(self._table(courses.of(self.index, i)), own) for i, own in enumerate(self.peaks(courses))]

    def write(self, groups: list[Group], step: int, multiplier: float) -> None:
        for table, indices in self._lanes:
            chosen = groups if len(indices) == len(groups) else [groups[i] for i in indices]
            factor = table.rate(step) * multiplier
            for group in chosen:
                scale = group.get("lr_scale", 1.0)
                _put(group, "lr", _lr(group, factor, table.effective_momentum(step)) * scale)
            if not table.plain:
                table.write_others(chosen, step, factor)


class _Table:
    """The factors of a course, evaluated a block ahead, so that one update costs a look into a list.

    Nothing is evaluated behind the end: a user's function may not be defined there.
    """

    def __init__(self, course: Course) -> None:
        parts = (course.rate, course.momentum, course.weight_decay)
        lengths = [part.length for part in parts if isinstance(part, Schedule)]
        self.course = course
        self.plain = course.momentum is None and course.weight_decay == "follows"
        self._last = math.inf if None in lengths else max(length for length in lengths if length is not None)
        self.begin = 0
        self.count = 0
        self.rates: list[float] = []
        self._momenta: list[float] = []
        self._decays: list[float] = []

    def rate(self, step: int) -> float:
        """Return the factor of the rate at ``step``."""
        place = self._place(step)  # which may evaluate another block
        return self.rates[place]

    def effective_momentum(self, step: int) -> float | None:
        """Return the momentum that the rate makes up for, where it does."""
        place = self._place(step)
        return self._momenta[place] if self.course.keep_effective else None

    def write_others(self, groups: Iterable[Group], step: int, factor: float) -> None:
        """Write momentum and weight decay; ``factor`` is that of the rate."""
        place, rule = self._place(step), self.course.weight_decay
        if self._momenta:
            for group in groups:
                _put_momentum(group, self._momenta[place])
        if rule != "follows":
            shared = self._decays[place] if self._decays else None
            for group in groups:
                _put(group, "weight_decay", _decay(group["initial_weight_decay"], rule == "corrected", factor, shared))

    def _place(self, step: int) -> int:
        if step > self._last:
            step = int(self._last)
        if not self.begin <= step < self.begin + self.count:
            self._fill(step)
        return step - self.begin

    def _fill(self, step: int) -> None:
        begin = step - step % _BLOCK
        steps = np.arange(begin, min(begin + _BLOCK, self._last + 1), dtype=np.float64)
        self.rates = self.course.rate(steps).tolist()
        if self.course.momentum is not None:
            momenta = self.course.values(_UNIT, steps).momentum  # which checks that they are momenta
            assert momenta is not None
            self._momenta = momenta.tolist()
        if isinstance(self.course.weight_decay, Schedule):
            self._decays = self.course.weight_decay(steps).tolist()
        self.begin, self.count = begin, len(self.rates)


# Course.values for one step in plain floats: the same operations in the same order, so that what is written agrees
# with a preview to the last bit.


def _lr(peaks: Mapping[str, Any], factor: float, momentum: float | None) -> float:
    lr: float = peaks["initial_lr"] * factor
    return lr if momentum is None else lr * ((1 - momentum) / (1 - peaks["initial_momentum"]))


def _decay(peak: float, corrected: bool, factor: float, shared: float | None) -> float:
    if shared is not None:
        return peak * shared
    if corrected:
        return peak * factor
    return peak / factor if factor > 0 else 0.0


def _put(group: Group, key: str, value: float) -> None:
    """Set ``group[key]``; a tensor is filled in place, since compiled and captured code holds on to it."""
    old = group[key]
    if isinstance(old, Tensor):
        _fill(old, value)
    else:
        group[key] = value


def _put_momentum(group: Group, value: float) -> None:
    if "betas" not in group:
        _put(group, "momentum", value)
        return
    first, *others = group["betas"]
    if isinstance(first, Tensor):
        _fill(first, value)
    else:
        group["betas"] = (value, *others)


def _put_back(group: Group, peaks: dict[str, float]) -> None:
    """Give a group what an earlier course moved and the present one does not."""
    if "initial_momentum" in group and "initial_momentum" not in peaks:
        _put_momentum(group, float(group["initial_momentum"]))
    if "initial_weight_decay" in group and "initial_weight_decay" not in peaks:
        _put(group, "weight_decay", float(group["initial_weight_decay"]))


def _fill(tensor: Tensor, value: float) -> None:
    # While a graph is captured a fill would be recorded, and repeated with this value at each replay.
    if not (tensor.is_cuda and torch.cuda.is_current_stream_capturing()):
        with torch.no_grad():
            tensor.fill_(value)


def _readable(lr: Any) -> float | None:
    """Return a rate as a number; None where that would wait for a device."""
    return None if isinstance(lr, Tensor) and lr.device.type != "cpu" else float(lr)


def _momentum(group: Mapping[str, Any]) -> float | None:
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def _given(group: Mapping[str, Any], key: str, otherwise: Any) -> float:
    return float(group.get(key, otherwise))
