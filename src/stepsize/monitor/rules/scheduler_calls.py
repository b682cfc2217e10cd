"""A scheduler that is not stepped, stepped twice, or out of order."""

from __future__ import annotations

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_ENOUGH = 50


def _check(record: Record) -> Seen | None:
    known = record.facts.scheduler
    if not known:
        return None
    name, calls, updates = str(known["name"]), int(known["calls"]), int(known["updates"])
    evidence: dict[str, float | str] = {"scheduler": name, "calls": float(calls), "updates": float(updates)}
    if known.get("early"):
        message = f"{name} was stepped before the first optimizer step: the first value of the schedule is skipped."
        return Seen(message, evidence, "Call optimizer.step() first, then scheduler.step().")
    if updates >= _ENOUGH and calls == 0 and known.get("by_step"):
        message = f"{name} was not stepped in {updates:,} steps: the learning rate stays at its first value."
        return Seen(message, evidence, "Call scheduler.step() after each optimizer.step().")
    if updates >= _ENOUGH and calls >= 2 * updates:
        times = f"{calls / updates:.0f}"
        message = f"{name} was stepped {calls:,} times in {updates:,} steps: the schedule runs {times}× too fast."
        remedy = (
            "Step it once per optimizer step; with several processes or accumulation, only when the optimizer does."
        )
        return Seen(message, evidence, remedy)
    return None


RULE = Rule(
    code="scheduler-calls",
    title="A scheduler never stepped, stepped twice, or out of order",
    severity="warning",
    meaning="The learning rates in use differ from the schedule because of the way the scheduler is called.",
    signals=("lr",),
    reference="PyTorch's documentation on how to adjust the learning rate",
    how_to_check="Ruled out if the scheduler counts epochs on purpose.",
    check=_check,
)
