"""Orders to a running training, carried out on what writes its rates: a bound scheduler, or whoever sets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final

from torch.optim import Optimizer

from stepsize.schedules import HyperparameterSchedule, Schedule, constant, parse
from stepsize.schedules.steering import Steered
from stepsize.training.binding import BoundScheduler
from stepsize.training.group_schedules import MAIN, GroupSchedules, name_of
from stepsize.training.group_values import FactorTable

_Groups = Mapping[str, Steered]
Done = tuple[str, Mapping[str, Any], int, int | None]
"""An order that was carried out: command, arguments, first update, number of the group."""


def _ordered(now: _Groups, verb: str, arguments: Mapping[str, Any], step: int, only: str | None) -> _Groups:
    """Return what all groups follow after an order, which only one of them may have got; the others note it too."""
    given = {**now, only: now.get(only, now[MAIN])} if only is not None else now
    return {
        name: one.ordered(verb if only in (None, name) else "snapshot", arguments, step) for name, one in given.items()
    }


def _replayed(now: _Groups, orders: Iterable[Done], names: Sequence[str]) -> _Groups:
    for verb, arguments, step, group in orders:
        now = _ordered(now, verb, arguments, step, None if group is None else names[group])
    return now


@final
class BoundRates:
    """Rates that a bound scheduler writes: it follows its schedule as the orders have changed it."""

    def __init__(self, bound: BoundScheduler) -> None:
        self._bound = bound
        self._names = [name_of(i, j) for i, one in enumerate(bound.optimizers) for j in range(len(one.param_groups))]
        self._begin = bound.followed
        self._now: _Groups = {name: Steered(one.rate) for name, one in self._begin.by_name.items()}

    @property
    def step(self) -> int:
        """Number of the next update."""
        return self._bound.last_epoch

    @property
    def ready(self) -> bool:
        """Whether no round of several optimizers is under way, and nothing else sets the rates for a while."""
        return self._bound.between

    @property
    def ends(self) -> int | None:
        """First step after the cooldown of all groups; None if one does not cool down."""
        return _ends(self._now)

    def order(self, verb: str, arguments: Mapping[str, Any], group: int | None) -> None:
        """Carry out an order; raises InputError, and changes nothing, if that is not possible."""
        only = None if group is None else self._names[group]
        self.set(_ordered(self._now, verb, arguments, self.step, only))

    def get(self) -> Any:
        """Return the state, for :meth:`set`."""
        return self._now

    def saved(self) -> Mapping[str, Any]:
        """Return what :meth:`replay` needs besides the orders."""
        return {}

    def set(self, now: Any) -> None:
        """Follow what the groups follow in a state."""
        schedules = self._schedules(now)
        schedules.check()
        self._bound.follow(schedules)
        self._now = now

    def replay(self, orders: Iterable[Done], _: Mapping[str, Any]) -> None:
        """Continue a run that got these orders before; one whose schedule was changed otherwise begins with that."""
        begin, self._begin = self._begin, self._bound.asked
        now = _replayed({name: Steered(one.rate) for name, one in self._begin.by_name.items()}, orders, self._names)
        if self._bound.followed is self._bound.asked:  # its own state was not loaded
            self.set(now)
        elif self._bound.followed == self._schedules(now):
            self._now = now
        else:
            self._begin = begin

    def _schedules(self, now: _Groups) -> GroupSchedules:
        return GroupSchedules({name: self._with_rate(name, one.schedule) for name, one in now.items()})

    def _with_rate(self, name: str, rate: Schedule) -> HyperparameterSchedule:
        if not rate.node.holds_function:
            parse(str(rate))  # or its state could not be loaded
        return dataclasses.replace(self._begin.of(name), rate=rate)


@final
class OwnRates:
    """Rates that the loop or a torch scheduler sets: multiplied for the moment of the update, or held."""

    ready = True

    def __init__(self, updates: Callable[[], int]) -> None:
        self._updates = updates
        self._now: _Groups = {MAIN: Steered(constant())}
        self._held: dict[str, float] = {}  # rates from which groups are held, or cool down
        self._ratios: dict[str, float] = {}  # of the held rate to the one that was set meanwhile
        self._tables: dict[str, FactorTable] = {}

    @property
    def step(self) -> int:
        """Number of the next update."""
        return self._updates()

    @property
    def ends(self) -> int | None:
        """First step after the cooldown of all groups; None if one does not cool down."""
        return _ends(self._now)

    def order(self, verb: str, arguments: Mapping[str, Any], group: int | None) -> None:
        """Carry out an order; raises InputError, and changes nothing, if that is not possible."""
        only = None if group is None else str(group)
        self.set((_ordered(self._now, verb, arguments, self.step, only), self._held, self._ratios))

    def get(self) -> Any:
        """Return the state, for :meth:`set`."""
        return self._now, {**self._held}, {**self._ratios}

    def set(self, state: Any) -> None:
        """Continue from a state."""
        self._now, self._held, self._ratios = state[0], {**state[1]}, {**state[2]}
        self._tables = {name: FactorTable(HyperparameterSchedule(one.schedule)) for name, one in self._now.items()}

    def replay(self, orders: Iterable[Done], saved: Mapping[str, Any]) -> None:
        """Continue a run that got these orders before."""
        names = [str(group) for group in range(1 + max((done[3] or 0 for done in orders), default=0))]
        self.set((_replayed(self._now, orders, names), saved["held"], saved["ratios"]))

    def saved(self) -> Mapping[str, Any]:
        """Return what :meth:`replay` needs besides the orders."""
        return {"held": {**self._held}, "ratios": {**self._ratios}}

    def back_to(self, state: Any) -> None:
        """Take the held rates of a state, but not what the groups follow."""
        self._held, self._ratios = {**state[1]}, {**state[2]}

    def rate(self, group: int, given: float) -> float:
        """Return the rate of a group at the next update, whose rate was set to ``given``."""
        own = str(group)
        name = own if own in self._now else MAIN
        base = given
        if self._now[name].level is not None:
            base = self._held.setdefault(own, given)
        elif own in self._held and given > 0:  # it goes on from the held rate
            self._ratios[own] = self._ratios.get(own, 1.0) * self._held.pop(own) / given
        factor = self._tables[name].rate(self.step) if self._tables else 1.0
        return base * factor * self._ratios.get(own, 1.0)


def _ends(now: _Groups) -> int | None:
    ends = [one.ends for one in now.values()]
    return None if None in ends else max(end for end in ends if end is not None)


def group_number(optimizers: Sequence[Optimizer], name: str) -> int | None:
    """Return the number of a group over all optimizers, by that number as text or by its own name; None if unknown."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    named = [number for number, group in enumerate(groups) if group.get("name") == name]
    if named:
        return named[0]
    return int(name) if name.isdecimal() and int(name) < len(groups) else None
