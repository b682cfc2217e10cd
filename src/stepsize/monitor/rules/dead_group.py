"""A group of parameters does not move."""

from __future__ import annotations

import numpy as np

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_STILL = 1e-10
_WINDOW = 64  # updates
_LOOKS = 6  # at the layers among them


def _look(record: Record) -> Seen | None:
    if record.lr == 0 or record.step < _WINDOW:
        return None
    still = []
    for name in record.layers():
        ratios = record.recent(f"update_ratio/{name}", _LOOKS).finite().values
        if ratios.size >= _LOOKS and float(np.max(ratios)) < _STILL:
            still.append(name)
    if not still or len(still) == len(record.layers()):
        return None
    named = ", ".join(still[:5]) + (f" and {len(still) - 5} more" if len(still) > 5 else "")
    return Seen(
        f"These parts did not move in the last {_WINDOW} updates: {named}.",
        {"parts": named, "count": float(len(still)), "of": float(len(record.layers()))},
        "Look whether they get gradients, and whether their group's rate is what you mean; freeze them if it is meant.",
    )


RULE = Rule(
    code="dead-group",
    title="A group that does not move",
    severity="warning",
    meaning="A part of the model that the optimizer holds was not changed at all while others were.",
    signals=("update_ratio",),
    reference="Composer's OptimizerMonitor and Karpathy's update-to-data ratios look at the same figures",
    would_change="A single update that moves it.",
    look=_look,
)
