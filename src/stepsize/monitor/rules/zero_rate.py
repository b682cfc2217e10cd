"""The rate is zero."""

from __future__ import annotations

import numpy as np

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_WINDOW = 20


def _look(record: Record) -> Seen | None:
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
        f"The rate of {which} was 0 in the last {_WINDOW} updates: nothing is learned there.",
        {"groups": which, "step": float(record.step)},
        "Look at the schedule's end, at the warm-up's first value and at the groups' own rates.",
        severity="critical" if which == "all groups" else "warning",
    )


RULE = Rule(
    code="zero-rate",
    title="The rate is zero",
    severity="critical",
    meaning="The optimizer is called with a rate of exactly zero.",
    signals=("lr",),
    reference="PyTorch's schedulers hold their last factor, which is often 0",
    would_change="A single update at another rate.",
    look=_look,
)
