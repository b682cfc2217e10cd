"""Another warmup for a schedule that already exists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stepsize.errors import InputError
from stepsize.schedules.algebra import Limited, Then, Times, Within, joined, on_its_own
from stepsize.schedules.leaves import MultiStep, Noam, OneCycle, Points, Ramp
from stepsize.schedules.node import Leaf, Node
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.units import Clock, Span, as_duration

# Only to ask what a phase takes and begins with: any horizon that is long enough will do.
_ANY = Clock(horizon=10**12, batch_size=1, sequence_length=1, steps_per_epoch=1_000.0)


def as_warmup(length: float | str | Span) -> int | Span:
    """Return the length of a warmup: updates (0 is none), or a span in another unit.

    Args:
        length: A fraction of the horizon if between 0 and 1, updates if a whole number, or a written length such as
            ``"5%"``.

    Raises:
        InputError: If it is none of these.

    Example:
        >>> as_warmup(0.05), as_warmup(100), as_warmup("100 steps")
        (Span(amount=0.05, unit='share'), 100, 100)
    """
    if isinstance(length, float):
        if 0 < length < 1:
            return Span(length, "share")
        if not length.is_integer():
            rule = "must be a fraction between 0 and 1, a whole number of updates, or a written length"
            raise InputError("warmup", length, rule, "Write 0.05, 500, '5%' or '2ep'; 0 is none")
        length = int(length)
    return as_duration("warmup", length, least=0)


def with_warmup(schedule: Schedule, length: float | str | Span) -> Schedule:
    """Return ``schedule`` with a warmup of another length.

    The rise that it begins with takes the new length and keeps its shape. If it begins without one, a linear rise from
    0 to its first factor is put before it (points and milestones are multiplied by it and keep their steps). The phase
    after the warmup gets shorter or longer, unless another phase takes the rest of the horizon, so a schedule with an
    end keeps its length.

    Args:
        schedule: Resolved or not.
        length: A fraction of the horizon if between 0 and 1, updates if a whole number, or a written length such as
            ``"2ep"``; 0 removes the warmup.

    Returns:
        A schedule; resolved if ``schedule`` is and has an end.

    Raises:
        InputError: If ``length`` is not a length, does not leave enough for the other phases, or the schedule cannot be
            taken apart; the message says why.

    Example:
        >>> from stepsize.schedules import cosine
        >>> str(with_warmup(cosine(100, warmup=5), 0.2)), str(with_warmup(cosine(100, warmup=5), 0))
        ('warmup 20, cosine 80', 'cosine 100')
        >>> str(with_warmup(cosine(), "2ep"))
        'warmup 2 epochs, cosine'
    """
    wanted = as_warmup(length)
    before = schedule.length if schedule.resolved else None
    if before is not None:
        wanted = Clock(horizon=before).steps(wanted, "warmup")
    changed = _changed(schedule.node, wanted)
    if changed is None:
        changed = _preceded(schedule.node, wanted) if wanted else schedule.node
    return Schedule(changed) if before is None else Schedule(changed).over(before)


def _changed(node: Node, length: int | Span) -> Node | None:
    """Return ``node`` with the rise that it begins with at another length; None if it begins without one."""
    if isinstance(node, Ramp | Then):
        return _changed_first(node, length)
    if isinstance(node, Noam):
        if not length:
            raise InputError(
                "warmup", 0, f"cannot be removed from '{node}', whose decay begins with it", "Use power-law"
            )
        return replace(node, warmup=length)
    if isinstance(node, OneCycle):
        return _changed_cycle(node, length)
    for name, part in node.fields():
        if isinstance(part, Node) and (changed := _changed(part, length)) is not None:
            if isinstance(node, Within | Limited | Times):
                changes: dict[str, Any] = {name: changed}
                return replace(node, **changes)
            remedy = "Change the warmup before .cooled_down(…), .extended(…) and the like"
            raise InputError("schedule", str(node), "has a warmup that is not separate from the rest", remedy)
    return None


def _changed_first(node: Ramp | Then, length: int | Span) -> Node | None:
    first, *others = node.phases if isinstance(node, Then) else (node,)
    if not isinstance(first, Ramp):
        changed = _changed(first, length)
        return None if changed is None else Then((changed, *others))
    if not first.start < first.end:
        return None
    rest = joined(*others) if others else Ramp(first.end, first.end)  # what it has risen to
    return _with_rest(replace(first, steps=length or 1), rest, length)


def _changed_cycle(node: OneCycle, length: int | Span) -> Node:
    if isinstance(length, Span) and length.unit == "share":
        return replace(node, rise=length.amount)
    if isinstance(length, int) and isinstance(node.steps, int):
        return replace(node, rise=length / node.steps)
    raise InputError("warmup", length, f"must be a fraction of the horizon for '{node}'", "Write 0.3 or '30%'")


def _preceded(node: Node, length: int | Span) -> Node:
    begin = on_its_own(node, _ANY).value(0.0)
    if begin == 0:
        raise InputError("warmup", length, f"cannot be put before '{node}', which begins at factor 0", "Leave it out")
    if isinstance(node, MultiStep | Points):  # whose steps are those of the run: after a warmup they would move
        return Times(Then((Ramp(0.0, 1.0, endpoints="neither", steps=length), Ramp(1.0, 1.0))), node)
    return _with_rest(Ramp(0.0, begin, endpoints="neither", steps=length), node, length)


def _with_rest(rise: Node, rest: Node, length: int | Span) -> Node:
    """Return ``rise``, unless its length is 0, and ``rest``, one phase of which takes the rest of the horizon."""
    first, *others = rest.phases if isinstance(rest, Then) else (rest,)
    if not any(_takes_the_rest(phase) for phase in (first, *others)):
        first = _giving_way(first)
    return joined(*([rise] if length else []), first, *others)


def _takes_the_rest(node: Node) -> bool:
    return node.span(_ANY) is None


def _giving_way(node: Node) -> Node:
    """Return ``node`` without a length of its own."""
    if _takes_the_rest(node):
        return node
    if isinstance(node, Leaf):
        return replace(node, steps=None)
    if isinstance(node, Within):
        return _giving_way(node.inner)
    if isinstance(node, Limited):
        return replace(node, inner=_giving_way(node.inner))
    if isinstance(node, Times):
        return Times(_giving_way(node.left), _giving_way(node.right))
    remedy = "Leave out the length of one phase, so that it takes the rest of the horizon"
    raise InputError("schedule", str(node), "has no phase that can get shorter for another warmup", remedy)
