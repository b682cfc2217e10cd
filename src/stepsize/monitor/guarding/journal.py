"""What a guard did, and when: written before and after each action."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from stepsize.errors import InputError
from stepsize.files import write_whole


@dataclass(frozen=True)
class GuardAction:
    """An action of a guard.

    Attributes:
        kind: ``"replay"``, ``"rollback"``, ``"skip"``, ``"cut"``, ``"cap"`` or ``"stop"``.
        step: Step at which the fault was detected.
        back_to: Step that the run was rolled back to, or None.
        level: Lasting multiplier of the learning rate after the action.
        low_until: Step until which the learning rate is cut for a replay, or None.
        skipped: Numbers of the batches left out.
        why: Reason in a sentence.
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

    def to_json(self) -> dict[str, Any]:
        """Return the main facts as plain values for ``json.dumps``."""
        return {"kind": self.kind, "step": self.step, "back_to": self.back_to, "why": self.why}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the action with these fields."""
        return cls(**{**values, "skipped": tuple(values["skipped"])})


class Journal:
    """All actions of a run, in order.

    Args:
        path: JSON file; an existing one is continued. None keeps them in memory.
        changed: Called after each change.

    Raises:
        InputError: If the file exists and is not a journal.
    """

    def __init__(self, path: Path | None, changed: Callable[[], None]) -> None:
        self._path = path
        self._changed = changed
        self.entries: list[GuardAction] = [] if path is None or not path.exists() else _read(path)

    def add(self, entry: GuardAction) -> None:
        """Write an action before it is carried out."""
        self.entries.append(entry)
        self._write()

    def done(self) -> None:
        """Note that the last action was carried out."""
        self.entries[-1] = replace(self.entries[-1], done=True)
        self._write()

    def load(self, actions: Iterable[Mapping[str, Any]]) -> None:
        """Replace the actions by those that :meth:`to_json` returned."""
        self.entries = [GuardAction.from_json(one) for one in actions]
        self._write()

    def to_json(self) -> list[dict[str, Any]]:
        """Return the actions as plain values."""
        return [asdict(entry) for entry in self.entries]

    def _write(self) -> None:
        if self._path is not None:
            write_whole(self._path, (json.dumps({"actions": self.to_json()}, indent=1) + "\n").encode())
        self._changed()


def _read(path: Path) -> list[GuardAction]:
    try:
        return [GuardAction.from_json(one) for one in json.loads(path.read_text())["actions"]]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("journal", str(path), "must be a journal of a guard", "Pass the path of a new file") from error
