"""What a running training can be ordered to do: the verbs, and the rules of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepsize.checks import check_number, check_positive, check_text, check_whole
from stepsize.errors import InputError, UnknownNameError

MOST_AT_ONCE = 10.0
"""Factor by which the rate may change at once, up or down, without a confirmation."""

MOST_WAITING = 20
"""Orders to a run that may wait for an answer: each costs the training a snapshot."""

_MOST_STEPS = 10**9
_Given = Mapping[str, Any]


def _nothing(_: _Given) -> dict[str, Any]:
    return {}


def _steps(given: _Given) -> dict[str, Any]:
    steps = check_whole("steps", given.get("steps"), unit="steps")
    check_number("steps", steps, most=_MOST_STEPS)
    return {"steps": steps}


def _scale(given: _Given) -> dict[str, Any]:
    factor = check_positive("factor", given.get("factor"), "factor")
    group, confirmed = given.get("group"), given.get("confirmed", False)
    if group is not None:
        check_text("group", group, "the name or the number of a parameter group, text")
    if not isinstance(confirmed, bool):
        raise InputError("confirmed", confirmed, "must be True or False")
    if not 1 / MOST_AT_ONCE <= factor <= MOST_AT_ONCE and not confirmed:
        rule = f"must be between {1 / MOST_AT_ONCE:g} and {MOST_AT_ONCE:g}, unless it is confirmed"
        raise InputError(
            "factor", factor, rule, "Change the rate in several steps, or confirm it (confirmed=True, --yes)"
        )
    return {"factor": factor, "group": group, "confirmed": confirmed}


VERBS: Mapping[str, tuple[Callable[[_Given], dict[str, Any]], tuple[str, ...]]] = {
    "scale": (_scale, ("factor", "group", "confirmed")),
    "hold": (_nothing, ()),
    "resume": (_nothing, ()),
    "cooldown": (_steps, ("steps",)),
    "extend": (_steps, ("steps",)),
    "undo": (_nothing, ()),
    "snapshot": (_nothing, ()),
    "stop": (_nothing, ()),
}
"""Function that checks the arguments of each command, and their names."""


def check_order(verb: object, arguments: object) -> dict[str, Any]:
    """Return the arguments of an order, complete; raises InputError if it breaks a rule.

    Example:
        >>> check_order("scale", {"factor": 0.5})
        {'factor': 0.5, 'group': None, 'confirmed': False}
    """
    if not isinstance(verb, str):
        raise InputError("verb", verb, f"must be one of: {', '.join(VERBS)}")
    if verb not in VERBS:
        raise UnknownNameError("verb", verb, VERBS)
    if not isinstance(arguments, Mapping):
        raise InputError("arguments", arguments, "must be a mapping of names to values")
    check, known = VERBS[verb]
    for name in arguments:
        if name not in known:
            takes = ", ".join(known) or "nothing"
            raise InputError("arguments", name, f"must be what '{verb}' takes: {takes}")
    return check(arguments)
