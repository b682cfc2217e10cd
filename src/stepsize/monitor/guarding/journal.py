"""What a guard did, and when: written down before and after each act."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from stepsize.errors import InputError
from stepsize.files import write_whole

__all__ = ["Entry", "Journal"]


@dataclass(frozen=True)
class Entry:
    """An act.

    Attributes:
        kind: ``"replay"``, ``"rollback"``, ``"skip"``, ``"cut"``, ``"cap"``, ``"stop"``, ``"reduce"``; or
            ``"settled"``, when it had helped.
        step: At which trouble was seen.
        back_to: The step that the training went back to; None where it did not.
        level: The lasting multiplier of the rate from here on.
        low_until: Until which step the rate is cut for a replay; None without one.
        skipped: Batches left out, by number.
        why: As a sentence.
        done: Whether it was carried out: False while it is, and in a dry run.
    """

    kind: str
    step: int
    back_to: int | None
    level: float
    low_until: int | None
    skipped: tuple[int, ...]
    why: str
    done: bool

    def __str__(self) -> str:
        back = "" if self.back_to is None else f", back to step {self.back_to:,}"
        return f"step {self.step:,}: {self.kind}{back}: {self.why}"


class Journal:
    """All acts of a training, in order.

    Args:
        path: Where they are kept as JSON; a file that is there already goes on. None keeps them in memory.
        changed: Called after each change.

    Raises:
        InputError: If the file is there and is no journal.
    """

    def __init__(self, path: Path | None, changed: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._changed = changed
        self.entries: list[Entry] = [] if path is None or not path.exists() else _read(path)

    def add(self, entry: Entry) -> None:
        """Write an act down before it is carried out."""
        self.entries.append(entry)
        self._write()

    def done(self) -> None:
        """Say that the last act was carried out."""
        self.entries[-1] = replace(self.entries[-1], done=True)
        self._write()

    def load(self, acts: Iterable[Mapping[str, Any]]) -> None:
        """Take what :meth:`to_json` returned."""
        self.entries = [_entry(one) for one in acts]
        self._write()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the acts as plain values."""
        return [asdict(entry) for entry in self.entries]

    def _write(self) -> None:
        if self._path is not None:
            write_whole(self._path, (json.dumps({"acts": self.to_json()}, indent=1) + "\n").encode())
        self._changed()


def _entry(values: Mapping[str, Any]) -> Entry:
    return Entry(**{**values, "skipped": tuple(values["skipped"])})


def _read(path: Path) -> list[Entry]:
    try:
        told: list[Mapping[str, Any]] = json.loads(path.read_text())["acts"]
        return [_entry(one) for one in told]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("journal", str(path), "must be a journal of a guard", "Give the path of a new file") from error
