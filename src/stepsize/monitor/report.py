"""What is known of a watched run, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Finding
from stepsize.monitor.record import Record
from stepsize.monitor.trace import LossPoints
from stepsize.monitor.tracking import FindingTracker
from stepsize.monitor.verdict import RateVerdict
from stepsize.plain import plain
from stepsize.views import Pictured

if TYPE_CHECKING:
    from stepsize.views import Chart


@dataclass(frozen=True, eq=False, repr=False)
class Report(Pictured):
    """The state of a watched run.

    Attributes:
        steps: Number of steps made.
        planned: Number of planned steps; None if unknown.
        optimizer: Class of the optimizer.
        verdict: Verdict on the learning rate.
        findings: Findings, the earliest first.
        signals: Steps and values of each signal; means of blocks if it is long.
        source: Sentence on the log that was read; empty for a watched run.
        withdrawn: Codes of findings that were reported and then refuted by later steps.
    """

    steps: int
    planned: int | None
    optimizer: str
    verdict: RateVerdict
    findings: tuple[Finding, ...]
    signals: Mapping[str, LossPoints]
    source: str = ""
    withdrawn: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        """Summary in a line."""
        count = len([one for one in self.findings if one.severity != "info"])
        attention = f"{count} findings need attention" if count > 1 else "1 finding needs attention"
        warnings = attention if count else "No warnings"
        if self.source:  # a log gives no verdict
            return f"{self.steps:,} steps logged. {warnings}."
        return f"{self.steps:,} steps watched. Learning rate: {self.verdict.code}. {warnings}."

    def __str__(self) -> str:
        last = {name: float(signal.values[-1]) for name, signal in self.signals.items() if len(signal.values)}
        shown = ", ".join(f"{name} {number_text(last[name])}" for name in ("loss", "lr/0", "val_loss") if name in last)
        lines = [self.source, self.status, f"Now: {shown}.", str(self.verdict), *map(str, self.findings)]
        if self.withdrawn:
            lines.append(f"Withdrawn, because later steps refuted it: {', '.join(self.withdrawn)}.")
        return "\n".join(line for line in lines if line)

    def plot(self, title: str = "Watched run") -> Chart:
        """Return the chart of the signals, with the numbers of the findings where they were made."""
        from stepsize.views import report_chart

        return report_chart(self, title)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; numbers that are not finite become None."""
        return {
            **({"source": self.source} if self.source else {}),
            "status": self.status,
            "steps": self.steps,
            "planned": self.planned,
            "optimizer": self.optimizer,
            "verdict": self.verdict.to_json(),
            "findings": [one.to_json() for one in self.findings],
            "withdrawn": list(self.withdrawn),
            "signals": {
                name: {"steps": one.steps.tolist(), "values": plain(one.values)} for name, one in self.signals.items()
            },
        }


def report_of(record: Record, tracker: FindingTracker, source: str = "", verdict: RateVerdict | None = None) -> Report:
    """Return the report of a record and of its findings; of a log with its own verdict."""
    signals = {name: trace.history() for name, trace in record.traces.items()}
    facts, verdict, withdrawn = record.facts, verdict or tracker.verdict(record), tuple(sorted(tracker.withdrawn))
    return Report(record.step, facts.steps, facts.optimizer, verdict, tracker.findings, signals, source, withdrawn)
