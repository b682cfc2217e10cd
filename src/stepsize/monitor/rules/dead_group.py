"""Some layers do not change."""

from __future__ import annotations

import numpy as np

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_STILL = 1e-10
_WINDOW = 64  # steps
_MEASURED = 6  # of them, for each layer


def _check(record: Record) -> Seen | None:
    if record.lr == 0 or record.step < _WINDOW:
        return None
    still = []
    for name in record.layers():
        ratios = record.recent(f"update_ratio/{name}", _MEASURED).finite().values
        if ratios.size >= _MEASURED and float(np.max(ratios)) < _STILL:
            still.append(name)
    if not still or len(still) == len(record.layers()):
        return None
    named = ", ".join(still[:5]) + (f" and {len(still) - 5} more" if len(still) > 5 else "")
    return Seen(
        f"These layers did not change in the last {_WINDOW} steps: {named}.",
        {"layers": named, "count": float(len(still)), "of": float(len(record.layers()))},
        "Check that they receive gradients and that the learning rate of their group is right, or freeze them.",
    )


RULE = Rule(
    code="dead-group",
    title="Layers that do not change",
    severity="warning",
    meaning="A part of the model that the optimizer holds did not change at all while others did.",
    signals=("update_ratio",),
    reference="Composer's OptimizerMonitor and Karpathy's update-to-data ratios use the same numbers",
    how_to_check="Ruled out if a single update changes them.",
    check=_check,
)
