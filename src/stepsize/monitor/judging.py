"""When which rule is asked, and what has been said already."""

from __future__ import annotations

from collections.abc import Iterable

from stepsize.monitor.finding import Finding
from stepsize.monitor.record import Record
from stepsize.monitor.rules.catalog import RULES, URGENT
from stepsize.monitor.verdict import RateVerdict, judge_rate

__all__ = ["Judge"]

_LOOKS = 64  # looks of all rules over a training of known length
_EVERY = 50  # steps between them, where it is unknown
_TWICE = frozenset({"too-high", "too-low", "underfitting", "plateau", "oscillating"})  # must be seen at two looks


class Judge:
    """Asks the rules and keeps what they said: each code once, when it was first seen.

    Attributes:
        latest: The verdict at the last look of all rules; None before the first.
    """

    def __init__(self) -> None:
        self._found: dict[str, Finding] = {}
        self._before: set[str] = set()
        self._next = 0
        self._verdict: RateVerdict | None = None
        self.latest: RateVerdict | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, the earliest first."""
        return tuple(self._found.values())

    def load(self, findings: Iterable[Finding]) -> None:
        """Take what was found before."""
        self._found = {one.code: one for one in findings}

    def verdict(self, record: Record) -> RateVerdict:
        """Return whether the rate is too high, too low or fine."""
        return self._held(judge_rate(record))

    def due(self, record: Record) -> bool:
        """Return whether it is time to ask all rules."""
        return record.step >= self._next

    def look(self, record: Record, *, due: bool, thorough: bool = False) -> list[Finding]:
        """Ask the urgent rules, and all of them where that is ``due``; return the new findings."""
        if due:
            every = max(8, record.facts.steps // _LOOKS) if record.facts.steps else _EVERY
            self._next = record.step + every
            now = judge_rate(record)
            self._verdict = now if now.signals else self._verdict
            self.latest = self._held(now)
        new, seen = [], set()
        for rule in RULES if due else URGENT:
            if rule.code in self._found:
                continue
            finding = rule.judge(record)
            if finding is None:
                continue
            seen.add(rule.code)
            if rule.code in _TWICE and rule.code not in self._before and not thorough:
                continue
            self._found[rule.code] = finding
            new.append(finding)
        if due:
            self._before = seen
        return new

    def _held(self, now: RateVerdict) -> RateVerdict:
        if now.signals or now.code == "diverged" or self._verdict is None:
            return now
        return self._verdict  # the rate has decayed: what was seen at its peak holds
