"""When each rule is checked, and which findings were reported already."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from stepsize.monitor.finding import Finding
from stepsize.monitor.record import Record
from stepsize.monitor.rules.catalog import RULES
from stepsize.monitor.verdict import RateVerdict, rate_verdict, verdicts_at_looks

_LOG = logging.getLogger("stepsize")
_CHECKS = 64  # checks of all rules over a run of known length
_EVERY = 50  # steps between them if it is unknown
_URGENT = tuple(rule for rule in RULES if rule.urgent)


class FindingTracker:
    """Checks the rules and collects their findings: each code once, when it is first seen."""

    def __init__(self, on_finding: Callable[[Finding], object] | None = None) -> None:
        self._on_finding, self._failed = on_finding, False
        self.pruned: Exception | None = None  # optuna's, which on_finding raised to end the run
        self._found: dict[str, Finding] = {}
        self._before: set[str] = set()
        self.withdrawn: set[str] = set()  # codes of what later steps refuted; they are not reported again
        self._next = 0
        self._verdict: RateVerdict | None = None
        self.latest: RateVerdict | None = None  # at the last check of all rules

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings so far, the earliest first."""
        return tuple(sorted(self._found.values(), key=lambda one: one.step))

    def load(self, findings: Iterable[Finding]) -> None:
        """Replace the findings so far."""
        self._found = {one.code: one for one in findings}

    def verdict(self, record: Record) -> RateVerdict:
        """Return whether the learning rate is too high, too low or fine."""
        return self._held(rate_verdict(record))

    def _latest(self, record: Record) -> RateVerdict:
        """Return the verdict at the last look, which costs less than a new one."""
        seen = verdicts_at_looks(record)
        now = rate_verdict(record) if not seen or record.diverged is not None else seen[-1]
        return self._held(now)

    def due(self, record: Record) -> bool:
        """Return whether it is time to check all rules."""
        return record.step >= self._next

    def check(self, record: Record, *, due: bool, thorough: bool = False) -> list[Finding]:
        """Check the urgent rules, or all of them if that is ``due``; return the new findings."""
        if due:
            self._next = record.step + (max(8, record.facts.steps // _CHECKS) if record.facts.steps else _EVERY)
            self.latest = self._latest(record)
            self._withdraw(record)
        new, seen = [], set()
        for rule in RULES if due else _URGENT:
            if rule.code in self._found or rule.code in self.withdrawn:
                continue
            finding = rule.find(record)
            if finding is None:
                continue
            seen.add(rule.code)
            if rule.twice and rule.code not in self._before and not thorough:
                continue
            self._found[rule.code] = finding
            new.append(finding)
            self._publish(finding)
        if due:
            self._before = seen
        return new

    def _withdraw(self, record: Record) -> None:
        """Withdraw the findings that the steps since then refuted."""
        for rule in RULES:
            found = self._found.get(rule.code)
            if found is not None and rule.refuted is not None and rule.refuted(record, found):
                del self._found[rule.code]
                self.withdrawn.add(rule.code)

    def settle(self, record: Record) -> None:
        """Withdraw the findings that the log up to here refutes, and bring the others up to date."""
        for rule in RULES:
            if rule.holds and rule.code in self._found:
                before, now = self._found.pop(rule.code), rule.find(record)
                if now is not None:
                    self._found[rule.code] = replace(now, step=before.step)

    def _publish(self, finding: Finding) -> None:
        if self._on_finding is None:
            return
        try:
            self._on_finding(finding)
        except Exception as error:  # noqa: BLE001 - the user's function must not break the watching
            if any(kind.__name__ == "TrialPruned" for kind in type(error).__mro__):
                self.pruned = error
            elif not self._failed:
                why = f"{type(error).__name__}: {error}"
                _LOG.warning("stepsize.watch: on_finding raised an error; watching continues: %s", why)
                self._failed = True

    def _held(self, now: RateVerdict) -> RateVerdict:
        if now.chances is not None:
            self._verdict = now
        if now.chances is not None or now.code == "diverged" or self._verdict is None:
            return now
        return self._verdict  # the rate has decayed: the verdict at its peak still holds
