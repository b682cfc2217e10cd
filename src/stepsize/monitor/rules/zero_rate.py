"""The learning rate is zero."""

from __future__ import annotations

import numpy as np

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_WINDOW = 20


def _check(record: Record) -> Seen | None:
    if record.facts.steps and record.progress > 0.95:
        return None
    still = []
    for name in record.rates():
        values = record.recent(name, _WINDOW).values
        if len(values) >= _WINDOW and float(np.max(values)) == 0:
            still.append(int(name[3:]))
    if not still:
        return None
    which = "all groups" if len(still) == len(record.rates()) else f"group {', '.join(map(str, still))}"
    return Seen(
        f"The learning rate of {which} was 0 in the last {_WINDOW} steps: nothing is learned there.",
        {"groups": which, "step": float(record.step)},
        "Check the end of the schedule, the first value of the warmup and the learning rates of the groups.",
        severity="critical" if which == "all groups" else "warning",
    )


RULE = Rule(
    code="zero-rate",
    title="The learning rate is zero",
    severity="critical",
    meaning="The optimizer is called with a learning rate of exactly zero.",
    signals=("lr",),
    reference="PyTorch's schedulers hold their last factor, which is often 0",
    how_to_check="Ruled out if a single update uses another learning rate.",
    check=_check,
)
