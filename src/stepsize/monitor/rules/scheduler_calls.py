"""A scheduler that is not stepped, stepped twice, or out of order."""

from __future__ import annotations

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_ENOUGH = 50


def _look(record: Record) -> Seen | None:
    told = record.facts.scheduler
    if not told:
        return None
    name, calls, updates = str(told["name"]), int(told["calls"]), int(told["updates"])
    evidence: dict[str, float | str] = {"scheduler": name, "calls": float(calls), "updates": float(updates)}
    if told.get("early"):
        return Seen(
            f"{name} was stepped before the first update: the first value of the schedule is skipped.",
            evidence,
            "Call optimizer.step() first, then scheduler.step().",
        )
    if updates < _ENOUGH:
        return None
    if calls == 0 and told.get("by_step"):
        return Seen(
            f"{name} was not stepped in {updates:,} updates: the rate stays where it began.",
            evidence,
            "Call scheduler.step() after each optimizer.step().",
        )
    if calls >= 2 * updates:
        times = f"{calls / updates:.0f}"
        return Seen(
            f"{name} was stepped {calls:,} times in {updates:,} updates: the schedule runs at {times}× its speed.",
            evidence,
            "Step it once an update; with several processes or with accumulation, only where the optimizer steps.",
        )
    return None


RULE = Rule(
    code="scheduler-calls",
    title="A scheduler never stepped, stepped twice, or out of order",
    severity="warning",
    meaning=(
        "The rates that were applied are not the ones that the schedule was written for, because of how it is called."
    ),
    signals=("lr",),
    reference="PyTorch's documentation on how to adjust the learning rate",
    would_change="A scheduler that counts epochs, when it was told to count steps.",
    look=_look,
)
