"""Dataclasses as plain values, which JSON can hold, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def plain(value: Any) -> Any:
    """Return dataclasses, mappings, arrays and sequences as dicts and lists, and numbers that are not finite as None.

    Example:
        >>> plain({"cost": float("nan"), "lr": (0.1, float("inf"))})
        {'cost': None, 'lr': [0.1, None]}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if hasattr(value, "tolist"):  # an array
        return plain(value.tolist())
    return [plain(item) for item in value] if isinstance(value, Iterable) else value


@cache
def builder(kind: Any) -> Callable[[Any], Any]:
    """Return what makes a ``kind`` of what JSON has of it: dataclasses of dictionaries, and tuples of lists.

    Of a union of dataclasses, it is the one with the fields of the dictionary; values of all other kinds stay.
    """
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        made = {one.name: make for one in fields(kind) if (make := builder(hints[one.name])) is not _same}
        return lambda value: kind(**{name: made.get(name, _same)(part) for name, part in value.items()})
    if get_origin(kind) in (tuple, Sequence):
        part = builder(get_args(kind)[0])
        return lambda value: tuple(map(part, value))
    if isinstance(kind, UnionType) and all(map(is_dataclass, get_args(kind))):
        by_names = {frozenset(field.name for field in fields(one)): builder(one) for one in get_args(kind)}
        return lambda value: by_names[frozenset(value)](value)
    return _same


def _same(value: Any) -> Any:
    return value
