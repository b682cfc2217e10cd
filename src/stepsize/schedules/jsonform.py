"""Schedules from JSON: the other half of ``Schedule.to_json``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from stepsize.errors import InputError, UnknownNameError
from stepsize.schedules import algebra, changes, leaves
from stepsize.schedules.node import Node
from stepsize.schedules.schedule import SCHEMA, Schedule
from stepsize.schedules.shapes import as_shape

__all__ = ["from_json"]

_KINDS: dict[str, type[Node]] = {
    node.kind: node
    for room in (leaves, algebra, changes)
    for node in vars(room).values()
    if isinstance(node, type) and issubclass(node, Node) and "kind" in vars(node) and node is not leaves.Function
}


def from_json(document: Mapping[str, Any]) -> Schedule:
    """Return the schedule that ``document`` describes.

    Args:
        document: What ``Schedule.to_json`` returned, or ``json.loads`` of its text.

    Returns:
        A schedule equal to the one that was written.

    Raises:
        InputError: If the document is of another form or a newer schema, or a field is missing, unknown or breaks
            its rule; the message names it.

    Example:
        >>> from stepsize.schedules import cosine
        >>> eta = cosine(warmup="5%", end=0.1)
        >>> from_json(eta.to_json()) == eta
        True
    """
    if not isinstance(document, Mapping) or set(document) != {"schema", "schedule"}:
        keys = sorted(document) if isinstance(document, Mapping) else type(document).__name__
        raise InputError("document", keys, "must be an object with the keys 'schema' and 'schedule', and no other")
    if document["schema"] != SCHEMA:
        raise InputError("schema", document["schema"], f"must be {SCHEMA}", "A newer stepsize may have written it")
    try:
        return Schedule(_node(document["schedule"]))
    except RecursionError:
        raise InputError("schedule", "hundreds of parts within parts", "must not be nested so deeply") from None


def _node(content: Any, name: str = "schedule") -> Node:
    if not isinstance(content, Mapping) or not isinstance(content.get("kind"), str):
        raise InputError(name, content, "must be an object with a 'kind'")
    kind = content["kind"]
    if kind not in _KINDS:
        raise UnknownNameError("kind", kind, _KINDS)
    fields = {field.name: field for field in dataclasses.fields(_KINDS[kind])}
    given = {name: value for name, value in content.items() if name != "kind"}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise InputError(kind, unknown[0], f"has no such field; it has: {', '.join(fields)}")
    missing = [name for name, field in fields.items() if field.default is dataclasses.MISSING and name not in given]
    if missing:
        raise InputError(kind, sorted(given), f"lacks the field '{missing[0]}'")
    return _KINDS[kind](**{name: _value(name, value, str(fields[name].type)) for name, value in given.items()})


def _value(name: str, value: Any, form: str) -> Any:
    """Return the value of a field, of which ``form`` is the annotation."""
    if form.startswith("tuple["):
        if not isinstance(value, list | tuple):
            raise InputError(name, value, "must be a list")
        return tuple(_value(name, part, form.removeprefix("tuple[")) for part in value)
    if form.startswith("Node"):
        return _node(value, name)
    if isinstance(value, Mapping | list | tuple):
        raise InputError(name, value, "must be a single value")
    if form == "bool" and not isinstance(value, bool):
        raise InputError(name, value, "must be true or false")
    return as_shape(value) if form.startswith("Shape") and value is not None else value
