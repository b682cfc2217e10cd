"""What is known of a watched training, for people and machines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Finding
from stepsize.monitor.judging import Judge
from stepsize.monitor.record import Record
from stepsize.monitor.verdict import RateVerdict

__all__ = ["Report", "Signal", "report_of"]


@dataclass(frozen=True, eq=False)
class Signal:
    """A signal over the training, in blocks where it is long.

    Attributes:
        steps: The first step of each block.
        values: Their means, NaN where there was no finite value.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Report:
    """A watched training, by the time of the report.

    Attributes:
        steps: How many steps were made.
        planned: Of how many; None where unknown.
        optimizer: The class of the optimizer.
        verdict: On the rate.
        findings: The earliest first.
        signals: By name.
        read: What was read of which log, as a sentence; empty of a training that was watched.
    """

    steps: int
    planned: int | None
    optimizer: str
    verdict: RateVerdict
    findings: tuple[Finding, ...]
    signals: Mapping[str, Signal]
    read: str = ""

    @property
    def status(self) -> str:
        """The whole in one sentence."""
        count = len([one for one in self.findings if one.severity != "info"])
        what = "nothing to worry about" if not count else f"{count} finding{'s' if count > 1 else ''} to look at"
        return f"{self.steps:,} steps watched; the rate: {self.verdict.code}; {what}."

    def __str__(self) -> str:
        last = {name: float(signal.values[-1]) for name, signal in self.signals.items() if len(signal.values)}
        shown = ", ".join(f"{name} {number_text(last[name])}" for name in ("loss", "lr/0", "val_loss") if name in last)
        lines = [
            *([self.read] if self.read else []),
            self.status,
            f"Now: {shown}.",
            str(self.verdict),
            *map(str, self.findings),
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; figures that are not finite become None."""
        return {
            **({"read": self.read} if self.read else {}),
            "status": self.status,
            "steps": self.steps,
            "planned": self.planned,
            "optimizer": self.optimizer,
            "verdict": self.verdict.to_json(),
            "findings": [one.to_json() for one in self.findings],
            "signals": {
                name: {"steps": one.steps.tolist(), "values": [_plain(value) for value in one.values.tolist()]}
                for name, one in self.signals.items()
            },
        }


def report_of(record: Record, judge: Judge) -> Report:
    """Return the report of a record and of what was found in it."""
    signals = {name: trace.history() for name, trace in record.traces.items()}
    return Report(
        record.step,
        record.facts.steps,
        record.facts.optimizer,
        judge.verdict(record),
        judge.findings,
        {name: Signal(points.steps, points.values) for name, points in signals.items()},
    )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
