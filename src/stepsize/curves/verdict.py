"""How far an answer can be trusted: a stable code and a sentence with the reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Verdict"]


@dataclass(frozen=True)
class Verdict:
    """What an analysis says of its own answer.

    Attributes:
        code: A stable word for machines, for example ``"confident"``.
        reason: A sentence for people: what was seen, and what to do about it.
        trustworthy: Whether the answer can be used; where not, there may be none.
    """

    code: str
    reason: str
    trustworthy: bool

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"
