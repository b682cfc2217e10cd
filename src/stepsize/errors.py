"""Every exception that stepsize raises on purpose.

```
StepsizeError
├── InputError (also ValueError)            an argument breaks a rule
│   ├── TaskError                           … of a Task, or the Task's parts do not fit together
│   ├── UnknownNameError                    a name that no catalog has; suggests the nearest
│   └── ScheduleSyntaxError                 a written schedule cannot be read; points at the fault
├── DataUnavailableError (FileNotFoundError) a data folder or file does not exist
├── MissingExtraError (also ImportError)    an optional dependency is not installed
├── NotStackableError                       runs cannot be vectorized; the reason to train them sequentially
└── StoreError                              the store cannot be reached, read or written
    ├── StoreLockedError                    another process writes the study, or holds the database
    ├── StoreReadOnlyError                  nothing can be written there
    ├── StoreCorruptError                   the file is damaged, or not a database
    ├── StoreVersionError                   written by a newer stepsize
    └── UnknownStudyError (also LookupError) no study of that name; suggests the nearest
```
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "DataUnavailableError",
    "InputError",
    "MissingExtraError",
    "NotStackableError",
    "ScheduleSyntaxError",
    "StepsizeError",
    "StoreCorruptError",
    "StoreError",
    "StoreLockedError",
    "StoreReadOnlyError",
    "StoreVersionError",
    "TaskError",
    "UnknownNameError",
    "UnknownStudyError",
]


class StepsizeError(Exception):
    """The root of everything that stepsize raises on purpose."""


class InputError(StepsizeError, ValueError):
    """An argument breaks a rule: says which one, what was received, the rule and the remedy."""

    def __init__(self, argument: str, received: object, rule: str, remedy: str = "") -> None:
        self.argument = argument
        self.received = received
        self.rule = rule
        self.remedy = remedy
        super().__init__(argument, received, rule, remedy)

    def __str__(self) -> str:
        text = f"{self.argument} {self.rule}; got {_shown(self.received)}"
        return f"{text}. {self.remedy}" if self.remedy else text


class TaskError(InputError):
    """A part of a Task breaks a rule, or the parts do not fit together."""


class UnknownNameError(InputError):
    """A name that no catalog has; the message suggests the nearest known one."""

    def __init__(self, argument: str, received: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(received), names, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(argument, received, "is not a known name", f"{hint}Known: {', '.join(names)}")
        self.args = (argument, received, tuple(names))  # what pickle gives to the constructor


class ScheduleSyntaxError(InputError):
    """A written schedule cannot be read; the message shows the text with a caret under the fault.

    Attributes:
        text: The whole text.
        position: First character of the fault, from 0.
        width: Number of characters of the fault, at least 1.
    """

    def __init__(self, text: str, position: int, rule: str, remedy: str = "", width: int = 1) -> None:
        self.text = text
        self.position = position
        self.width = width
        super().__init__("schedule", text, rule, remedy)
        self.args = (text, position, rule, remedy, width)  # what pickle gives to the constructor

    def __str__(self) -> str:
        shown, before, under = _cut(self.text, self.position, max(1, self.width))
        lines = (
            f"the schedule cannot be read at character {self.position + 1}:",
            f"  {shown}".rstrip(),
            f"  {' ' * before}{'^' * under}",
            f"{self.rule}. {self.remedy}" if self.remedy else self.rule,
        )
        return "\n".join(lines)


class DataUnavailableError(StepsizeError, FileNotFoundError):
    """A data folder or file does not exist; the message says where it was expected."""

    def __str__(self) -> str:  # FileNotFoundError would format (errno, text) pairs
        return str(self.args[0]) if self.args else ""


class MissingExtraError(StepsizeError, ImportError):
    """An optional dependency is not installed; the message is the exact command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; run: pip install "stepsize[{extra}]"')
        self.args = (package, extra)  # what pickle gives to the constructor; the text stays in msg


@contextmanager
def needing(extra: str, only: str | None = None) -> Iterator[None]:
    """Turn the failure of an import inside into the command that installs ``extra``; of ``only`` one package, if given.

    Raises:
        MissingExtraError: If a package that is not stepsize's own is missing.

    Example:
        >>> with needing("plot"):
        ...     import no_such_package
        Traceback (most recent call last):
            ...
        stepsize.errors.MissingExtraError: no_such_package is not installed; run: pip install "stepsize[plot]"
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "stepsize") or only not in (None, error.name):
            raise
        raise MissingExtraError(package, extra) from error


class NotStackableError(StepsizeError):
    """Several runs cannot be vectorized; the message is the reason, in one line."""


class StoreError(StepsizeError):
    """The store cannot be reached, read or written; the message names it, without its password."""


class StoreLockedError(StoreError):
    """Another process writes the study or holds the database; the message says which, as far as it is known."""


class StoreReadOnlyError(StoreError):
    """The store is read-only: nothing can be written there."""


class StoreCorruptError(StoreError):
    """The file of the store is damaged, or not a database; it was left as it is."""


class StoreVersionError(StoreError):
    """The store was written by a newer version of stepsize, whose tables this one does not know."""


class UnknownStudyError(StoreError, LookupError):
    """The store has no study of that name; the message suggests the nearest known one.

    Attributes:
        name: Name that was asked for.
        where: Address of the store, without its password.
        known: Names of its studies.
    """

    def __init__(self, name: str, where: str, known: Iterable[str] = ()) -> None:
        self.name = name
        self.where = where
        self.known = tuple(sorted(map(str, known)))
        super().__init__(name, where, self.known)

    def __str__(self) -> str:
        near = difflib.get_close_matches(self.name, self.known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        holds = f"it holds {', '.join(self.known)}" if self.known else "it holds none"
        return f"{self.where} has no study {_shown(self.name)}; {holds}.{hint}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - nested too deeply, or of a class whose repr fails
        text = f"a {type(value).__name__}"
    return text if len(text) <= 120 else text[:117] + "..."


def _cut(text: str, position: int, width: int) -> tuple[str, int, int]:
    """Return what fits a line of ``text`` around the fault, and the columns before and under the fault."""
    start = max(0, position - 60) if len(text) > 100 else 0
    stop = min(len(text), start + 100)
    width = max(1, min(width, stop - position))
    head, fault, tail = text[start:position], text[position : position + width], text[position + width : stop]
    head, fault, tail = ("".join(map(_one_line, part)) for part in (head, fault, tail))
    head = f"…{head}" if start else head
    return head + fault + tail + "…" * (stop < len(text)), _columns(head), max(1, _columns(fault))


def _one_line(character: str) -> str:
    """Return a character that stays on its line and in its column: tabs and line ends become spaces."""
    if character.isspace():
        return " "
    return character if character.isprintable() else "?"


def _columns(text: str) -> int:
    """Return the columns that a terminal gives to ``text``: two to wide characters, none to combining ones."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)
