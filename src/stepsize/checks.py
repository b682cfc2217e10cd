"""Checks of arguments: each returns the value, or raises an InputError that names the argument, value and rule."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from typing import Any, TypeGuard

from stepsize.errors import InputError

_LONGEST = 200  # characters of a name: file systems take 255 bytes, and a temporary name beside it is longer


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
    raise error(argument, value, f"must be a finite number{told}")


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


def check_word(argument: str, value: Any, known: Sequence[str]) -> str:
    """Return ``value`` if it is one of the ``known`` words."""
    if value not in known:
        raise InputError(argument, value, f"must be one of: {', '.join(known)}")
    return str(value)


def check_text(argument: str, value: Any, what: str = "printable text", *, most: int = 200) -> str:
    """Return ``value`` if it is printable text of 1 to ``most`` characters."""
    if not (isinstance(value, str) and 0 < len(value) <= most and value.isprintable()):
        raise InputError(argument, value, f"must be {what} of 1 to {most} characters")
    return value


def check_lr(argument: str, lr: Any) -> float:
    """Return ``lr`` as a float if it is a learning rate."""
    return check_positive(argument, lr, "learning rate")


def check_output_path(argument: str, path: str | os.PathLike[str], suffixes: Sequence[str]) -> Path:
    """Return ``path`` with links resolved if a file can be written there; meant to be asked before any training.

    Raises:
        InputError: If the suffix is unknown, the folder is missing or closed to writing, or ``path`` is a folder.

    Example:
        >>> check_output_path("csv", "rates.txt", (".csv",))
        Traceback (most recent call last):
            ...
        stepsize.errors.InputError: csv must end in .csv; got 'rates.txt'. Name it 'rates.csv'
    """
    given, place = os.fspath(path), Path(path)
    if "\0" in given or max(map(len, place.parts), default=0) > _LONGEST:
        rule = f"must be a path of parts of at most {_LONGEST} characters, none of them null"
        raise InputError(argument, given, rule)
    if place.is_dir():
        raise InputError(argument, given, "must be a file, not a folder", f"Name it '{place / f'lr{suffixes[0]}'}'")
    if place.suffix.lower() not in suffixes:
        named = " or ".join([", ".join(suffixes[:-1]), suffixes[-1]] if len(suffixes) > 1 else suffixes)
        raise InputError(argument, given, f"must end in {named}", f"Name it '{place.with_suffix(suffixes[0])}'")
    target = Path(os.path.realpath(place))
    if not target.parent.exists():
        raise InputError(argument, given, "must be in a folder that exists", f"Create '{target.parent}' first")
    if not target.parent.is_dir():
        raise InputError(argument, given, "must be in a folder", f"'{target.parent}' is a file; choose another place")
    try:  # asking for permission is not enough: file systems can be read-only, even to root
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except OSError as error:
        remedy = f"{error.strerror}: choose a folder that you may write to"
        raise InputError(argument, given, "must be in a folder that can be written to", remedy) from None
    return target
