"""Updates of which only loss and learning rates are needed: counted in the least time, and recorded later."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TypeAlias

from torch import Tensor

from stepsize.monitor.meter import StepMeter
from stepsize.monitor.record import Record

Counted: TypeAlias = tuple[float, tuple[float, ...], tuple[float, ...]]
"""The loss of an update, and the learning rates and momenta of all groups."""


def counting(
    record: Record, meter: StepMeter, later: list[Counted], orders: Sized, end: int, alarm: float
) -> Callable[[Tensor | float | None], bool]:
    """Return what counts updates before ``end``, or orders, into ``later``, and says whether it did."""

    def count(loss: Tensor | float | None) -> bool:
        if orders:
            return False
        try:
            value: float = loss.item() if isinstance(loss, Tensor) else float(loss)  # type: ignore[arg-type]
        except (RuntimeError, TypeError, ValueError):
            return False  # the full path reports errors
        if (
            not (value <= alarm and meter.updated and record.step < end)
            or meter.held is not None
            or meter.trouble is not None
        ):
            return False
        meter.updated = False
        record.step += 1
        later.append((value, meter.rates, meter.momenta))
        return True

    return count


def write_counted(record: Record, later: list[Counted]) -> list[float]:
    """Record the updates that were counted so far, empty the list, and return their losses."""
    counted = list(later)
    later.clear()
    steps = range(record.step - len(counted), record.step)
    losses = [loss for loss, _, _ in counted]
    record.add_losses(steps, losses)
    for number, rates in enumerate(zip(*(rates for _, rates, _ in counted), strict=True)):
        record.extend(f"lr/{number}", steps, rates)
    moved = [(step, momenta) for step, (_, _, momenta) in zip(steps, counted, strict=True) if momenta]
    for number, values in enumerate(zip(*(momenta for _, momenta in moved), strict=True)):
        record.extend(f"momentum/{number}", [step for step, _ in moved], values)
    return losses
