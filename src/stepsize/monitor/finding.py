"""What is wrong with a training, or only worth knowing: as one object for people and machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from stepsize.curves.numerals import number_text
from stepsize.monitor.record import Record

__all__ = ["SEVERITIES", "Finding", "Rule", "Seen", "Severity", "times_text"]

Severity: TypeAlias = Literal["info", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


@dataclass(frozen=True)
class Seen:
    """What a rule saw.

    Attributes:
        message: What is the case, as a sentence with its numbers.
        evidence: The numbers, by name.
        remedy: What to do, as a sentence; empty where there is nothing to do.
        factor: By what to multiply the rate; None where the rate should stay, or nobody knows.
        severity: Where it differs from the rule's own.
    """

    message: str
    evidence: Mapping[str, float | str]
    remedy: str = ""
    factor: float | None = None
    severity: Severity | None = None


@dataclass(frozen=True)
class Rule:
    """A pitfall that can be told from the signals.

    Args:
        code: Stable, in lower case with hyphens.
        title: In a few words.
        severity: How bad it is.
        meaning: What it means, in a few sentences.
        signals: What it looks at; without them it is silent.
        reference: Where it comes from.
        would_change: What would change its mind.
        look: From a record to what it saw; None where there is nothing.
    """

    code: str
    title: str
    severity: Severity
    meaning: str
    signals: tuple[str, ...]
    reference: str
    would_change: str
    look: Callable[[Record], Seen | None]

    def judge(self, record: Record) -> Finding | None:
        """Return the finding at this moment of a training; None where the rule is silent."""
        seen = self.look(record)
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
            would_change=self.would_change,
        )


@dataclass(frozen=True)
class Finding:
    """A diagnosis.

    Attributes:
        code: Of the rule that made it, such as ``"too-high"``.
        severity: ``"info"``, ``"warning"`` or ``"critical"``.
        step: At which it was first made, from 0.
        message: What is the case, as a sentence with its numbers.
        evidence: The numbers, by name.
        remedy: What to do, as a sentence; empty where there is nothing to do.
        factor: By what to multiply the rate; None where it should stay, or nobody knows.
        reference: Where the rule comes from.
        would_change: What would change its mind.
    """

    code: str
    severity: Severity
    step: int
    message: str
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    remedy: str = ""
    factor: float | None = None
    reference: str = ""
    would_change: str = ""

    def __str__(self) -> str:
        remedy = f" {self.remedy}" if self.remedy else ""
        return f"[{self.severity}] step {self.step:,}, {self.code}: {self.message}{remedy}"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        return {
            "code": self.code,
            "severity": self.severity,
            "step": self.step,
            "message": self.message,
            "evidence": dict(self.evidence),
            "remedy": self.remedy,
            "factor": self.factor,
            "reference": self.reference,
            "would_change": self.would_change,
        }


def times_text(factor: float) -> str:
    """Return a factor of the rate as advice.

    Example:
        >>> times_text(3.0), times_text(0.5)
        ('Raise the rate by about 3×', 'Lower the rate by about 2×')
    """
    way, size = ("Raise", factor) if factor >= 1 else ("Lower", 1 / factor)
    return f"{way} the rate by about {number_text(round(size, 1) if size < 10 else round(size))}×"
