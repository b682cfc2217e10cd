"""Results as plain values, which JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


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
