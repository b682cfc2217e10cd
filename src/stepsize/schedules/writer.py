"""Schedules in their written form: the other half of ``parse``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepsize.errors import InputError
from stepsize.schedules.algebra import Repeated, Then, Times
from stepsize.schedules.forms import CHANGES, PIECES, Form, Slot
from stepsize.schedules.leaves import Function
from stepsize.schedules.node import Leaf, Node
from stepsize.schedules.schedule import Schedule

__all__ = ["write"]


def write(schedule: Schedule) -> str:
    """Return the canonical written form of ``schedule``: one text for all equal schedules.

    Each piece is said in the fewest words that the catalog has for it. ``parse`` reads it back to an equal schedule.

    Args:
        schedule: Open or settled.

    Returns:
        A line.

    Raises:
        InputError: If it holds a function; :meth:`~stepsize.schedules.Schedule.tabulated` is the way out.

    Example:
        >>> from stepsize.schedules import cosine, wsd
        >>> write(cosine(warmup="5%", end=0.1))
        'warmup 5%, cosine end=0.1'
        >>> write(wsd(1_000).floored(0.01))
        '(warmup 50, constant 750, cooldown 200) | floored 0.01'
    """
    if not isinstance(schedule, Schedule):
        raise InputError("schedule", schedule, "must be a Schedule", "Read a text with stepsize.schedules.parse")
    return _sequence(schedule.node)


def _sequence(node: Node) -> str:
    return ", ".join(map(_product, node.parts)) if isinstance(node, Then) else _product(node)


def _product(node: Node) -> str:
    return f"{_product(node.left)} * {_changed(node.right)}" if isinstance(node, Times) else _changed(node)


def _changed(node: Node) -> str:
    if isinstance(node, Then | Times):
        return f"({_sequence(node)})"
    if isinstance(node, Leaf):
        return _leaf(node)
    inner = _changed(getattr(node, "inner"))  # noqa: B009 - what every change is around, whatever its type
    if isinstance(node, Repeated) and node.times is not None and node.per_cycle == 1:
        return f"{inner} x {node.times}"
    form = CHANGES[node.kind]
    values = _values(form, node)
    given = {
        name: value
        for name, value in values.items()
        if name not in form.defaults
        or _text(form.by_name[name], value) != _text(form.by_name[name], form.defaults[name])
    }
    return f"{inner} | {' '.join([form.name, *_words(form, given)])}"


def _leaf(node: Leaf) -> str:
    """Return the piece that makes this very node, in the fewest words and then with the fewest parameters."""
    if isinstance(node, Function):
        raise InputError("schedule", str(node), "holds a function, which cannot be written down", "Write .tabulated()")
    found = [
        (len(words), len(form.slots), " ".join([form.name, *words]))
        for form in PIECES.values()
        if (words := _said(form, node)) is not None
    ]
    if not found:
        raise InputError("schedule", str(node), "has no written form", "Use to_json() instead")
    return min(found, key=lambda each: each[:2])[2]


def _said(form: Form, node: Leaf) -> list[str] | None:
    """Return the arguments that let ``form`` make ``node``, none too many; None if there are no such arguments."""
    if "steps" not in form.by_name:  # what derives its length from a number is too clever to be the one form
        return None
    given = _values(form, node)
    if not _makes(form, given, node):
        return None
    for name in form.by_name:
        fewer = {other: value for other, value in given.items() if other != name}
        if name in given and _makes(form, fewer, node):
            given = fewer
    return _words(form, given)


def _makes(form: Form, given: Mapping[str, Any], node: Leaf) -> bool:
    if not set(form.required) <= set(given):
        return False
    try:
        return form.call(**given).node == node
    except InputError:
        return False


def _values(form: Form, node: Node) -> dict[str, Any]:
    """Return what the node holds of the parameters of ``form``."""
    values = {}
    for slot in form.slots:
        name = slot.field or slot.name
        if slot.kind == "points" and hasattr(node, "positions"):
            values[slot.name] = dict(zip(node.positions, getattr(node, name), strict=True))
        elif slot.kind != "points" and hasattr(node, name):
            values[slot.name] = getattr(node, name)
    return values


def _words(form: Form, given: Mapping[str, Any]) -> list[str]:
    """Return the arguments as they are written: durations and shape first, without their names."""
    bare = [slot for slot in (form.slot("schedule"), form.unnamed, form.slot("shape")) if slot]
    bare = [slot for slot in bare if given.get(slot.name) is not None]
    named = [slot for slot in form.slots if slot.name in given and slot not in bare]
    words = [_text(slot, given[slot.name]) for slot in bare]
    return words + [
        slot.name if slot.kind == "flag" else f"{slot.name}={_text(slot, given[slot.name])}" for slot in named
    ]


def _text(slot: Slot, value: Any) -> str:
    if value is None:
        return "none"
    if slot.kind == "number":
        return repr(float(value)).removesuffix(".0")
    if slot.kind == "durations":
        return "|".join(map(str, value))
    if slot.kind == "points":
        return "|".join(f"{position}:{repr(factor).removesuffix('.0')}" for position, factor in value.items())
    if slot.kind == "schedule":
        return f"({_sequence(value)})"
    return str(value)
