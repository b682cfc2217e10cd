"""What schedules make of parameter groups: their peaks, and the values of each update written into them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.errors import InputError
from stepsize.schedules import HyperparameterSchedule, Peaks, Schedule
from stepsize.training.group_schedules import UNIT, GroupSchedules, name_of

_BLOCK = 1_024  # updates evaluated at once; blocks begin at its multiples, so where a run resumes does not matter
Group = dict[str, Any]
Overwritten: TypeAlias = tuple[str, float, float]  # a group, its rate, and the rate that was written


def peaks_of(group: Mapping[str, Any], schedule: HyperparameterSchedule, where: str) -> dict[str, float]:
    """Return the peaks that ``schedule`` multiplies, under their keys in the group, or else its present values.

    ``initial_lr`` is torch's own key; ``initial_momentum`` and ``initial_weight_decay`` exist if the schedule moves
    them.
    """
    if group.get("lr") is None:
        raise InputError("optimizer", f"{where} without lr", "must have a learning rate in each group")
    found = {"initial_lr": float(group.get("initial_lr", group["lr"]))}
    if schedule.momentum is not None:
        present = group["betas"][0] if "betas" in group else group.get("momentum")
        if present is None:
            remedy = "Leave momentum out of the schedule, or use an optimizer that has it"
            raise InputError("momentum", f"{where} with neither momentum nor betas", "cannot be scheduled", remedy)
        if schedule.keep_effective and "betas" in group:
            remedy = "Leave keep_effective out: β₁ does not scale the update of Adam"
            raise InputError("keep_effective", f"{where} with betas", "is for heavy-ball momentum", remedy)
        found["initial_momentum"] = float(group.get("initial_momentum", present))
    if schedule.weight_decay != "follows":
        if "weight_decay" not in group:
            remedy = "Leave weight_decay out of the schedule, or use an optimizer that has it"
            raise InputError("weight_decay", f"{where} without weight_decay", "cannot be scheduled", remedy)
        found["initial_weight_decay"] = float(group.get("initial_weight_decay", group["weight_decay"]))
    Peaks(found["initial_lr"], found.get("initial_momentum"), found.get("initial_weight_decay"))  # checks them
    return found


@final
class GroupValues:
    """Writes the values of schedules into all parameter groups of some optimizers; InputError if one does not fit.

    Groups are read again at each writing: those added later follow the main schedule from their own rates, and those
    that ``optimizer.load_state_dict`` put in place bring their own peaks (or keep the known ones).
    """

    def __init__(
        self,
        optimizers: Sequence[Optimizer],
        schedules: GroupSchedules,
        lr: Sequence[float] | None = None,
    ) -> None:
        self.multiplier = 1.0
        self._schedules = schedules
        self._members = [_Members(index, optimizer) for index, optimizer in enumerate(optimizers)]
        for members in self._members:
            members.known = members.peaks(schedules)
        if lr is not None:
            every = [peaks for members in self._members for peaks in members.known]
            for peaks, rate in zip(every, lr, strict=True):
                peaks["initial_lr"] = rate

    def install(self) -> None:
        """Give the groups the peaks that were found when this was made."""
        for members in self._members:
            for group, peaks in zip(members.optimizer.param_groups, members.known, strict=True):
                group.update(peaks)

    def follow(self, schedules: GroupSchedules) -> None:
        """Follow other schedules from the next writing on; if one does not fit its groups nothing is changed."""
        for members in self._members:
            members.peaks(schedules)
        self._schedules = schedules
        for members in self._members:
            members.forget()

    def write(self, step: int) -> Overwritten | None:
        """Write the values of update number ``step`` into all groups; return a rate that something else wrote."""
        found = None
        for members in self._members:
            groups = members.optimizer.param_groups
            found = members.overwritten(groups) or found
            if groups is not members.groups or len(groups) != members.count:
                members.adopt(self._schedules)
            try:
                members.write(groups, step, self.multiplier)
            except KeyError:  # a group was replaced within the list: it does not know its peaks yet
                members.adopt(self._schedules)
                members.write(groups, step, self.multiplier)
            members.remember(groups)
        return found

    def scale(self, factor: float, group: int | None = None) -> None:
        """Multiply the peak rates of all groups, or of one by its number over all optimizers."""
        number = 0
        for members in self._members:
            members.peaks(self._schedules)  # which raises before anything is changed
            for i, each in enumerate(members.optimizer.param_groups):
                if group in (None, number):
                    each["initial_lr"] = float(each.get("initial_lr", each["lr"])) * factor
                    if i < len(members.known):
                        members.known[i]["initial_lr"] = each["initial_lr"]
                number += 1

    def forget_written(self) -> None:
        """Accept the present rates of the groups, without a warning about who wrote them."""
        for members in self._members:
            members.remember(members.optimizer.param_groups)

    def rates(self, step: int) -> list[float | Tensor]:
        """Return the rates of update number ``step``, group by group, in the type that each group has."""
        found: list[float | Tensor] = []
        for members in self._members:
            peaks = members.peaks(self._schedules)
            for i, (group, own) in enumerate(zip(members.optimizer.param_groups, peaks, strict=True)):
                table = members.table(self._schedules, i)
                lr = table.lr({**group, **own}, step, table.rate(step) * self.multiplier)
                found.append(torch.full_like(group["lr"], lr) if isinstance(group["lr"], Tensor) else lr)
        return found

    def peaks(self) -> list[float]:
        """Return the peak rates, group by group."""
        return [peaks["initial_lr"] for members in self._members for peaks in members.peaks(self._schedules)]


class _Members:
    """The groups of one optimizer, and which table each follows."""

    def __init__(self, index: int, optimizer: Optimizer) -> None:
        self.index = index
        self.optimizer = optimizer
        self.known: list[dict[str, float]] = []
        self.forget()

    def forget(self) -> None:
        self._written: list[Group] | None = None
        self._wrote: list[tuple[Any, float | None]] = []  # the lr of each group, and its value if known
        self.groups: list[Group] | None = None  # the list whose groups have been adopted; never equal to a new one
        self.count = 0
        self._lanes: list[tuple[FactorTable, list[int]]] = []

    def overwritten(self, groups: list[Group]) -> Overwritten | None:
        """Return a rate that something else wrote; a tensor that was replaced by a number is put back."""
        if groups is not self._written:
            return None
        found = None
        for i, (group, (held, value)) in enumerate(zip(groups, self._wrote, strict=False)):
            lr = group["lr"]
            if lr is held and (type(lr) is float or value is None):
                continue  # a float that nobody wrote is the same object; one on a device is not read
            if "initial_lr" not in group:
                return None  # it was replaced: it has a rate of its own
            if isinstance(held, Tensor) and not isinstance(lr, Tensor):
                group["lr"] = held
            if found is None and value is not None and float(lr) != value:
                found = self.where(i), float(lr), value
        return found

    def remember(self, groups: list[Group]) -> None:
        self._written = groups
        self._wrote = [(lr := group["lr"], lr if type(lr) is float else _readable(lr)) for group in groups]

    def where(self, group: int) -> str:
        return f"group {group} of {type(self.optimizer).__name__}"

    def peaks(self, schedules: GroupSchedules) -> list[dict[str, float]]:
        """Return the peaks of each group: its own, else those known from before, else its present values."""
        groups = self.optimizer.param_groups
        known = [*self.known, *[{} for _ in groups[len(self.known) :]]]
        return [
            peaks_of({**before, **group}, schedules.of(name_of(self.index, i)), self.where(i))
            for i, (group, before) in enumerate(zip(groups, known, strict=False))
        ]

    def adopt(self, schedules: GroupSchedules) -> None:
        groups = self.optimizer.param_groups
        peaks = self.peaks(schedules)
        for group, own in zip(groups, peaks, strict=True):
            group.update(own)
            _restore_unscheduled(group, own)
        lanes: dict[int, tuple[FactorTable, list[int]]] = {}
        for i in range(len(groups)):
            table = self.table(schedules, i)
            lanes.setdefault(id(table.schedule), (table, []))[1].append(i)
        self._lanes = list(lanes.values())
        self.known, self.groups, self.count = [{**own} for own in peaks], groups, len(groups)

    def table(self, schedules: GroupSchedules, group: int) -> FactorTable:
        schedule = schedules.of(name_of(self.index, group))
        return next((table for table, _ in self._lanes if table.schedule is schedule), None) or FactorTable(schedule)

    def write(self, groups: list[Group], step: int, multiplier: float) -> None:
        for table, indices in self._lanes:
            factor = table.rate(step) * multiplier
            for i in indices:
                group = groups[i]
                simple = table.rate_only and "lr_scale" not in group and type(group["lr"]) is float
                if simple:  # what nearly everyone has, so without a call
                    group["lr"] = group["initial_lr"] * factor
                    continue
                write_value(group, "lr", table.lr(group, step, factor))
                if not table.rate_only:
                    table.write_others(group, step, factor)


class FactorTable:
    """The factors of a schedule, evaluated a block ahead, so that one update costs a look into a list.

    Nothing is evaluated after the end. Values are those of :meth:`HyperparameterSchedule.values` to the last bit.
    """

    def __init__(self, schedule: HyperparameterSchedule) -> None:
        lengths = [part.length for part in schedule.parts.values()]
        self.schedule = schedule
        self.rate_only = schedule.rate_only
        self._last = math.inf if None in lengths else max(length for length in lengths if length is not None)
        self._begin = 0
        self._rates: list[float] = []
        self._momenta: list[float] = []
        self._decays: list[float] = []

    def rate(self, step: int) -> float:
        """Return the factor of the rate at ``step``."""
        place = step - self._begin
        if not 0 <= place < len(self._rates):
            place = self._place(step)  # which evaluates another block
        return self._rates[place]

    def lr(self, group: Mapping[str, Any], step: int, factor: float) -> float:
        """Return the rate of a group, given the factor of its schedule."""
        lr: float = group["initial_lr"] * factor
        if self.schedule.keep_effective:
            place = self._place(step)
            lr *= (1 - self._momenta[place]) / (1 - group["initial_momentum"])
        return lr * group["lr_scale"] if "lr_scale" in group else lr

    def write_others(self, group: Group, step: int, factor: float) -> None:
        """Write momentum and weight decay; ``factor`` is the factor of the rate."""
        place, rule = self._place(step), self.schedule.weight_decay
        if self._momenta:
            _write_momentum(group, self._momenta[place])
        if rule == "follows":
            return
        decay = group["initial_weight_decay"]
        if self._decays:
            decay *= self._decays[place]
        elif rule == "corrected":
            decay *= factor
        else:
            decay = decay / factor if factor > 0 else 0.0
        write_value(group, "weight_decay", decay)

    def _place(self, step: int) -> int:
        if step > self._last:
            step = int(self._last)
        if not self._begin <= step < self._begin + len(self._rates):
            self._fill(step)
        return step - self._begin

    def _fill(self, step: int) -> None:
        self._begin = step - step % _BLOCK
        steps = np.arange(self._begin, min(self._begin + _BLOCK, self._last + 1), dtype=np.float64)
        self._rates = self.schedule.rate(steps).tolist()
        if self.schedule.momentum is not None:
            momenta = self.schedule.values(UNIT, steps).momentum  # which checks that they are momenta
            assert momenta is not None
            self._momenta = momenta.tolist()
        if isinstance(self.schedule.weight_decay, Schedule):
            self._decays = self.schedule.weight_decay(steps).tolist()


def write_value(group: Group, key: str, value: float) -> None:
    """Set ``group[key]``; a tensor is filled in place, since compiled and captured code keeps using it."""
    old = group[key]
    if type(old) is not float and isinstance(old, Tensor):
        _fill(old, value)
    else:
        group[key] = value


def _write_momentum(group: Group, value: float) -> None:
    if "betas" not in group:
        write_value(group, "momentum", value)
        return
    first, *others = group["betas"]
    if isinstance(first, Tensor):
        _fill(first, value)
    else:
        group["betas"] = (value, *others)


def _restore_unscheduled(group: Group, peaks: dict[str, float]) -> None:
    """Restore in a group what an earlier schedule moved and the present one does not."""
    if "initial_momentum" in group and "initial_momentum" not in peaks:
        _write_momentum(group, float(group["initial_momentum"]))
    if "initial_weight_decay" in group and "initial_weight_decay" not in peaks:
        write_value(group, "weight_decay", float(group["initial_weight_decay"]))


def _fill(tensor: Tensor, value: float) -> None:
    # While a graph is captured a fill would be recorded, and repeated with this value at each replay.
    if not (tensor.is_cuda and torch.cuda.is_current_stream_capturing()):
        with torch.no_grad():
            tensor.fill_(value)


def _readable(lr: Any) -> float | None:
    """Return a rate as a number; None if that would wait for a device."""
    return None if isinstance(lr, Tensor) and lr.device.type != "cpu" else float(lr)
