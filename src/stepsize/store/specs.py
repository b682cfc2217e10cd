"""In what two specifications differ, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["differences"]

_SHOWN = 5
_ABSENT = object()


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return in what two specifications of plain values differ; empty where they are equal.

    Example:
        >>> differences({"lr": [0.001, 1.0], "seeds": 3}, {"lr": [0.001, 0.5], "trials": 9})
        'lr[1]: 1.0 there, 0.5 here; seeds: 3 there, absent here; trials: absent there, 9 here'
    """
    found = [f"{path}: {_shown(old)} there, {_shown(new)} here" for path, old, new in _unequal("", stored, given)]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(found[:_SHOWN]) + more


def _unequal(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            here = f"{path}.{name}" if path else str(name)
            yield from _unequal(here, old.get(name, _ABSENT), new.get(name, _ABSENT))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for at, (left, right) in enumerate(zip(old, new, strict=True)):
            yield from _unequal(f"{path}[{at}]", left, right)
    elif isinstance(old, bool) != isinstance(new, bool) or old != new:
        yield path, old, new


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
