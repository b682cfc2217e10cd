"""Orders to a running training as changes of its schedule, the same ones while it runs and in a replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, final

from stepsize.errors import InputError
from stepsize.schedules.algebra import joined
from stepsize.schedules.catalog import parse
from stepsize.schedules.leaves import Ramp
from stepsize.schedules.node import Node
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.units import Duration


@final
@dataclass(frozen=True)
class Steered:
    """A schedule as orders have changed it so far; a state machine whose past is a list of phases.

    From ``since`` on it follows ``base`` times ``scale``, or holds ``level``, or decreases from ``level`` to zero over
    the steps of ``cooling``, which are its first step and its length. ``before`` is what an undo continues with.
    """

    base: Schedule
    scale: float = 1.0
    level: float | None = None
    cooling: tuple[int, int] | None = None
    since: int = 0
    past: tuple[Node, ...] = ()
    before: Steered | None = field(default=None, repr=False, compare=False)

    @property
    def schedule(self) -> Schedule:
        """The whole schedule, with its past."""
        return Schedule(joined(*self.past, self._present().node))

    @property
    def ends(self) -> int | None:
        """First step after a cooldown; None if there is no cooldown."""
        return None if self.cooling is None else sum(self.cooling)

    def ordered(self, verb: str, arguments: Mapping[str, Any], step: int) -> Steered:
        """Return what follows from an order, whose first update is ``step``.

        Raises:
            InputError: If that is not possible.
        """
        step = max(step, self.since)  # after a rollback, steps before the last order come again
        if verb == "undo":
            return self._undone(step)
        if verb == "snapshot":
            return replace(self, before=self)
        now = self._present()(step - self.since)
        if verb == "scale":
            return self._scaled(arguments["factor"], now, step)
        if verb == "extend":
            return self._extended(arguments["steps"], step)
        if now == 0 and verb in ("hold", "resume", "cooldown"):
            raise InputError("verb", verb, "needs a learning rate that is not zero", "Order an undo")
        if verb == "hold":
            return self._from(step, level=now, cooling=None)
        if verb == "cooldown":
            return self._from(step, level=now, cooling=(step, arguments["steps"]))
        if verb == "resume":
            return self._resumed(now, step)
        return self  # a stop changes no rate

    def _scaled(self, factor: float, now: float, step: int) -> Steered:
        if self.level is not None:
            return self._from(step, level=self.level * factor)
        if self._over(step):
            return self._from(step, level=now * factor)
        return self._from(step, scale=self.scale * factor)

    def _extended(self, steps: int, step: int) -> Steered:
        length = self.base.length
        if length is None:
            rule = "needs a schedule with an end"
            raise InputError("verb", "extend", rule, "Bind one with stepsize.bind before the run is watched")
        return self._from(step, base=self.base.extended(length + steps, at=step))

    def _resumed(self, now: float, step: int) -> Steered:
        if self.level is None:
            raise InputError("verb", "resume", "must follow a hold or a cooldown")
        there = self.base(step)
        if there == 0 or self._over(step):
            raise InputError("verb", "resume", "needs a schedule that has not ended", "Scale the rate, or order a stop")
        return self._from(step, scale=now / there, level=None, cooling=None)

    def _undone(self, step: int) -> Steered:
        old = self.before
        if old is None:
            raise InputError("verb", "undo", "needs a change before it")
        return replace(old, since=step, past=self._past(step))

    def _over(self, step: int) -> bool:
        """Return whether the base has ended, and holds its last factor."""
        return self.base.length is not None and step >= self.base.length

    def _from(self, step: int, **changes: Any) -> Steered:
        return replace(self, past=self._past(step), since=step, before=self, **changes)

    def _past(self, step: int) -> tuple[Node, ...]:
        if step == self.since:
            return self.past
        present, made = self._present(), step - self.since
        length = present.length
        if length is not None and made > length:  # it has been holding its last factor
            return (*self.past, present.node, Ramp(present(length), present(length), steps=made - length))
        return (*self.past, present.first(made).node)

    def _present(self) -> Schedule:
        """Return the phase that began at ``since``."""
        length = self.base.length
        left = None if length is None or length <= self.since else length - self.since
        if self.level is None and self._over(self.since):  # only after an undo
            return Schedule(Ramp(value := self.base(self.since) * self.scale, value))
        if self.level is None:
            rest = self.base.after(self.since) if self.since else self.base
            return rest.scaled(self.scale)
        if self.cooling is None:
            return Schedule(Ramp(self.level, self.level, steps=left))
        begin, over = self.cooling
        if self.since >= begin + over:
            return Schedule(Ramp(0.0, 0.0, steps=left))
        down = Schedule(Ramp(self.level, 0.0, steps=over))
        return down.after(self.since - begin) if self.since > begin else down


def steered(schedule: Schedule, orders: Iterable[Any], group: str | None) -> Schedule:
    """Return ``schedule`` as the applied ones of ``orders`` have changed it for ``group``; None has those for all."""
    followed = Steered(schedule)
    for order in orders:
        if order.state == "applied" and order.step is not None and order.arguments.get("group") in (None, group):
            followed = followed.ordered(order.verb, order.arguments, order.step)
    return followed.schedule


def from_journal(
    orders: Iterable[Any],
    schedule: Schedule | str = "constant",
    *,
    steps: Duration | None = None,
    group: int | None = None,
) -> Schedule:
    """Return the schedule that a steered run has followed, for a second run with exactly the same rates (bitwise).

    Args:
        orders: The journal of the run, from ``Store.orders(name)``. What was not applied is left out.
        schedule: The schedule that the run was started with; ``"constant"`` if none was bound.
        steps: The horizon, if a duration of the schedule is relative.
        group: Number of a parameter group: with the orders that only it got. Default: without those of single groups.

    Returns:
        The schedule, to be bound to the same peak rates.

    Raises:
        InputError: If the journal holds an undo, which restores weights as no schedule can; or the orders do not fit
            the schedule.

    Example:
        >>> from types import SimpleNamespace
        >>> order = SimpleNamespace(verb="scale", arguments={"factor": 0.5, "group": None}, state="applied", step=2)
        >>> from_journal([order], "linear 4").factors().tolist()
        [1.0, 0.75, 0.25, 0.125]
    """
    given = parse(schedule) if isinstance(schedule, str) else schedule
    orders = list(orders)
    for order in orders:
        if order.state == "applied" and order.verb == "undo":
            rule = "must hold no undo, which restores weights as no schedule can"
            raise InputError("orders", f"an undo at step {order.step}", rule, "Replay the orders before it")
    return steered(given if steps is None else given.over(steps), orders, None if group is None else str(group))
