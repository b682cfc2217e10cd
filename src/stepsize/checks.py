"""Checks of arguments: each returns the value, or raises an InputError that names the argument, value and rule."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, TypeGuard

from stepsize.errors import InputError


def is_whole(value: object, least: int = 0) -> TypeGuard[int]:
    """Return whether ``value`` is a whole number (True and False are not), at least ``least``."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_number(value: object) -> bool:
    """Return whether ``value`` is a real number that a float can hold (True, False and NaN are not)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return not math.isnan(value)
    except OverflowError:
        return False


def check_whole(
    argument: str,
    value: Any,
    least: int = 1,
    *,
    unit: str = "",
    remedy: str = "",
    error: type[InputError] = InputError,
) -> int:
    """Return ``value`` if it is a whole number, at least ``least``.

    Example:
        >>> check_whole("steps", 0, unit="steps")
        Traceback (most recent call last):
        stepsize.errors.InputError: steps must be a whole number of steps, at least 1; got 0
    """
    if not is_whole(value, least):
        what = f"a whole number of {unit}" if unit else "a whole number"
        raise error(argument, value, f"must be {what}, at least {least}", remedy)
    return value


def check_number(
    argument: str,
    value: Any,
    *,
    above: float = -math.inf,
    least: float = -math.inf,
    below: float = math.inf,
    most: float = math.inf,
    remedy: str = "",
    error: type[InputError] = InputError,
) -> float:
    """Return ``value`` as a float if it is a finite number within the bounds.

    Example:
        >>> check_number("momentum", 1.0, least=0, below=1)
        Traceback (most recent call last):
        stepsize.errors.InputError: momentum must be a finite number, at least 0, below 1; got 1.0
    """
    if is_number(value) and above < value < below and least <= value <= most:
        return float(value)
    limits = {"above": above, "at least": least, "below": below, "at most": most}
    told = "".join(f", {word} {limit:g}" for word, limit in limits.items() if math.isfinite(limit))
    raise error(argument, value, f"must be a finite number{told}", remedy)


def check_positive(
    argument: str, value: Any, what: str = "number", *, remedy: str = "", error: type[InputError] = InputError
) -> float:
    """Return ``value`` as a float if it is positive and finite.

    Example:
        >>> check_positive("lr", -1, "learning rate")
        Traceback (most recent call last):
        stepsize.errors.InputError: lr must be a positive, finite learning rate; got -1
    """
    if not (is_number(value) and 0 < value < math.inf):
        raise error(argument, value, f"must be a positive, finite {what}", remedy)
    return float(value)


def check_text(argument: str, value: Any, what: str = "printable text", *, most: int = 200) -> str:
    """Return ``value`` if it is printable text of 1 to ``most`` characters."""
    if not (isinstance(value, str) and 0 < len(value) <= most and value.isprintable()):
        raise InputError(argument, value, f"must be {what} of 1 to {most} characters")
    return value


def check_lr(argument: str, lr: Any) -> float:
    """Return ``lr`` as a float if it is a learning rate."""
    return check_positive(argument, lr, "learning rate")
