"""What is wrong with a run, or worth knowing: one object for people and machines, and the rules that make it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

from stepsize.curves.numerals import number_text
from stepsize.monitor.record import Record

Severity: TypeAlias = Literal["info", "warning", "critical"]


@dataclass(frozen=True)
class Seen:
    """What a rule saw: a message with its numbers as evidence, a remedy, and by what to multiply the learning rate."""

    message: str
    evidence: Mapping[str, float | str]
    remedy: str = ""
    factor: float | None = None
    severity: Severity | None = None  # if it differs from the rule's own


@dataclass(frozen=True)
class Rule:
    """A pitfall that the signals show."""

    code: str  # in lower case with hyphens; stable
    title: str
    severity: Severity
    meaning: str
    signals: tuple[str, ...]  # without which it reports nothing
    reference: str
    how_to_check: str
    check: Callable[[Record], Seen | None]
    urgent: bool = False  # whether it is checked at every step
    twice: bool = False  # whether it must hold at two checks in a row
    holds: bool = False  # whether it is withdrawn if it does not hold at the end of a log

    def find(self, record: Record) -> Finding | None:
        """Return the finding at this moment of a run, or None."""
        seen = self.check(record)
        if seen is None:
            return None
        return Finding(
            code=self.code,
            severity=seen.severity or self.severity,
            step=max(0, record.step - 1),
            message=seen.message,
            evidence=dict(seen.evidence),
            remedy=seen.remedy,
            factor=seen.factor,
            reference=self.reference,
            how_to_check=self.how_to_check,
        )


@dataclass(frozen=True)
class Finding:
    """A diagnosis.

    Attributes:
        code: Code of the rule that made it, such as ``"too-high"``.
        severity: ``"info"``, ``"warning"`` or ``"critical"``.
        step: Step of the first detection, from 0.
        message: Statement with its numbers.
        evidence: The numbers by name.
        remedy: Suggested fix; empty if there is nothing to do.
        factor: Suggested multiplier of the learning rate; None if it should not change or the factor is unknown.
        reference: Source of the rule.
        how_to_check: What would confirm the finding or rule it out.
    """

    code: str
    severity: Severity
    step: int
    message: str
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    remedy: str = ""
    factor: float | None = None
    reference: str = ""
    how_to_check: str = ""

    def __str__(self) -> str:
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"[{self.severity}] step {self.step:,}, {self.code}: {self.message}{remedy}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return asdict(self)


def advice(factor: float) -> str:
    """Return a factor of the learning rate as a suggestion: ``"Raise the learning rate by about 3×"``."""
    verb, size = ("Raise", factor) if factor >= 1 else ("Lower", 1 / factor)
    return f"{verb} the learning rate by about {number_text(round(size, 1) if size < 10 else round(size))}×"
