"""Every exception that stepsize raises on purpose.

```
StepsizeError
├── InputError (also ValueError)            an argument breaks a rule
│   ├── TaskError                           … of a Task, or the Task's parts do not fit together
│   └── UnknownNameError                    a name that no catalog holds; suggests the nearest
├── DataUnavailableError (FileNotFoundError) a data folder or file is not there
├── MissingExtraError (also ImportError)    an optional dependency is not installed
└── RestoreError (also RuntimeError)        a state could not be put back bit for bit
```
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataUnavailableError",
    "InputError",
    "MissingExtraError",
    "RestoreError",
    "StepsizeError",
    "TaskError",
    "UnknownNameError",
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
    """A name that no catalog holds; the message suggests the nearest known one."""

    def __init__(self, argument: str, received: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(received, names, n=1, cutoff=0.5)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        super().__init__(argument, received, "is not a known name", f"{hint}Known: {', '.join(names)}")
        self.args = (argument, received, tuple(names))  # what pickle gives to the constructor


class DataUnavailableError(StepsizeError, FileNotFoundError):
    """A data folder or file is not there; the message says where it was looked for."""

    def __str__(self) -> str:  # FileNotFoundError would format (errno, text) pairs
        return str(self.args[0]) if self.args else ""


class MissingExtraError(StepsizeError, ImportError):
    """An optional dependency is not installed; the message is the exact command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f'{package} is not installed; run: pip install "stepsize[{extra}]"')
        self.args = (package, extra)  # what pickle gives to the constructor; the text stays in msg


class RestoreError(StepsizeError, RuntimeError):
    """A state could not be put back bit for bit; the message names the parts that differ."""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
