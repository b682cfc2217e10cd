"""What a guard did, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


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
        done: Whether it was carried out; False in a dry run.
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
