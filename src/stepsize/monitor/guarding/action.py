"""What a guard did, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

Kind: TypeAlias = Literal["replay", "rollback", "skip", "cut", "cap", "stop"]


@dataclass(frozen=True)
class GuardAction:
    """An action of a guard.

    Attributes:
        kind: ``"replay"`` repeats the same batches at the cut learning rate, ``"rollback"`` continues with the batches
            that follow, at the cut learning rate; ``"skip"`` leaves out the batches that cause the fault; ``"cut"``
            keeps the learning rate cut; ``"cap"`` never exceeds the learning rate before; ``"stop"`` ends the run.
        step: Step at which the fault was detected.
        back_to: Step that the run was rolled back to, or None.
        level: Lasting multiplier of the learning rate after the action.
        low_until: Step until which the learning rate is cut for a replay, or None.
        skipped: Numbers of the batches left out.
        why: Reason in a sentence.
        done: Whether it was carried out; False in a dry run.
    """

    kind: Kind
    step: int
    back_to: int | None
    level: float
    low_until: int | None
    skipped: tuple[int, ...]
    why: str
    done: bool = True

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
