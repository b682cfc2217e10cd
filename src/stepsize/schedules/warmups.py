"""Another warm-up for a schedule that is already put together."""

from __future__ import annotations

from dataclasses import replace

from stepsize.errors import InputError
from stepsize.schedules.algebra import Floored, Scaled, Then, Times, Within
from stepsize.schedules.changes import on_its_own
from stepsize.schedules.leaves import MultiStep, Noam, OneCycle, Points, Ramp
from stepsize.schedules.node import Leaf, Node
from stepsize.schedules.schedule import Schedule
from stepsize.schedules.shapes import Shape
from stepsize.schedules.units import Clock, Span, as_duration

__all__ = ["as_warmup", "with_warmup"]

# Only to ask what a part takes and begins with: any horizon that is long enough will do.
_ANY = Clock(horizon=10**12, batch_size=1, sequence_length=1, steps_per_epoch=1_000.0)


def as_warmup(length: float | str | Span) -> int | Span:
    """Return the length of a warm-up: updates (0 is none), or a span in another unit.

    Args:
        length: A share of the horizon where it lies between 0 and 1, updates where it is a whole number, or a written
            length such as ``"5%"``.

    Returns:
        Updates, or a span.

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
            rule = "must be a share between 0 and 1, a whole number of updates, or a written length"
            raise InputError("warmup", length, rule, "Write 0.05, 500, '5%' or '2ep'; 0 is none")
        length = int(length)
    return as_duration("warmup", length, least=0)


def with_warmup(schedule: Schedule, length: float | str | Span) -> Schedule:
    """Return ``schedule`` with a warm-up of another length.

    The rise that it begins with takes the new length and keeps its shape; where it begins with none, a linear one
    from 0 to its first factor is put before it (points and milestones are multiplied by it and stay where they are).
    The part behind the warm-up gives way, or takes what is left over, unless another part takes the rest of the
    horizon; so a schedule with an end keeps its length.

    Args:
        schedule: Settled or not.
        length: A share of the horizon where it lies between 0 and 1, updates where it is a whole number, or a written
            length such as ``"2ep"``; 0 takes the warm-up away.

    Returns:
        A schedule; settled where ``schedule`` is and has an end.

    Raises:
        InputError: If ``length`` is no length, does not leave enough for the other parts, or the schedule cannot be
            taken apart; the message says why.

    Example:
        >>> from stepsize.schedules import cosine
        >>> str(with_warmup(cosine(100, warmup=5), 0.2)), str(with_warmup(cosine(100, warmup=5), 0))
        ('warm-up over 20 steps, then cosine to 0 over 80 steps', 'cosine to 0 over 100 steps')
        >>> str(with_warmup(cosine(), "2ep"))
        'warm-up over 2 epochs, then cosine to 0 over the rest'
    """
    wanted = as_warmup(length)
    before = schedule.length if schedule.settled else None
    if before is not None:
        wanted = Clock(horizon=before).steps(wanted, "warmup") if wanted else 0
    changed = _changed(schedule.node, wanted)
    if changed is None:
        changed = _preceded(schedule.node, wanted) if wanted else schedule.node
    return Schedule(changed) if before is None else Schedule(changed).over(before)


def _changed(node: Node, length: int | Span) -> Node | None:
    """Return ``node`` with the rise that it begins with at another length; None if it begins with none."""
    if isinstance(node, Ramp):
        return _joined(replace(node, steps=length or 1), _after(node), length) if node.start < node.end else None
    if isinstance(node, Then):
        return _changed_first(node, length)
    if isinstance(node, Noam):
        if not length:
            raise InputError("warmup", 0, f"cannot be taken from '{node}', whose decay begins with it", "Use power-law")
        return replace(node, warmup=length)
    if isinstance(node, OneCycle):
        return _changed_cycle(node, length)
    if isinstance(node, Within | Scaled | Floored):
        inner = _changed(node.inner, length)
        return None if inner is None else replace(node, inner=inner)
    if isinstance(node, Times):
        if (left := _changed(node.left, length)) is not None:
            return replace(node, left=left)
        right = _changed(node.right, length)
        return None if right is None else replace(node, right=right)
    if any(isinstance(part, Node) and _changed(part, 1) is not None for _, part in node.fields()):
        remedy = "Change the warm-up before .cooled_down(…), .stretched(…) and the like"
        raise InputError("schedule", str(node), "holds a warm-up that cannot be told from the rest of it", remedy)
    return None


def _changed_first(node: Then, length: int | Span) -> Node | None:
    first, *others = node.parts
    if not isinstance(first, Ramp):
        changed = _changed(first, length)
        return None if changed is None else Then((changed, *others))
    if not first.start < first.end:
        return None
    return _joined(replace(first, steps=length or 1), Then(tuple(others)), length)


def _changed_cycle(node: OneCycle, length: int | Span) -> Node:
    if isinstance(length, Span) and length.unit == "share":
        return replace(node, rise=length.amount)
    if isinstance(length, int) and isinstance(node.steps, int):
        return replace(node, rise=length / node.steps)
    raise InputError("warmup", length, f"must be a share of the horizon for '{node}'", "Write 0.3 or '30%'")


def _after(ramp: Ramp) -> Node:
    """Return what stands behind a rise that stands alone: what it has risen to."""
    return Ramp(None, ramp.end, ramp.end, Shape("linear"))


def _preceded(node: Node, length: int | Span) -> Node:
    begin = on_its_own(node, _ANY).value(0.0)
    if begin == 0:
        raise InputError("warmup", length, f"cannot be put before '{node}', which begins at factor 0", "Leave it out")
    if isinstance(node, MultiStep | Points):  # whose steps are those of the training: behind a warm-up they would move
        rise = Ramp(length, 0.0, 1.0, Shape("linear"), "neither")
        return Times(Then((rise, _after(rise))), node)
    return _joined(Ramp(length, 0.0, begin, Shape("linear"), "neither"), node, length)


def _joined(rise: Node, rest: Node, length: int | Span) -> Node:
    """Return ``rise``, unless its length is 0, and ``rest``, one part of which takes what is left of the horizon."""
    first, *others = rest.parts if isinstance(rest, Then) else (rest,)
    if not any(_takes_the_rest(part) for part in (first, *others)):
        first = _giving_way(first)
    parts = (first, *others) if not length else (rise, first, *others)
    return Then(parts) if len(parts) > 1 else parts[0]


def _takes_the_rest(node: Node) -> bool:
    return node.span(_ANY) is None


def _giving_way(node: Node) -> Node:
    """Return ``node`` without a length of its own."""
    if isinstance(node, Leaf):
        return replace(node, steps=None)
    if isinstance(node, Within | Scaled | Floored):
        inner = node.inner if _takes_the_rest(node.inner) else _giving_way(node.inner)
        return inner if isinstance(node, Within) else replace(node, inner=inner)
    if isinstance(node, Times):
        left, right = (part if _takes_the_rest(part) else _giving_way(part) for part in (node.left, node.right))
        return Times(left, right)
    remedy = "Leave out the length of one part, so that it takes the rest of the horizon"
    raise InputError("schedule", str(node), "cannot give way to another warm-up", remedy)
