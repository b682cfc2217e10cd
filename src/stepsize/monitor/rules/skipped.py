"""Updates that the gradient scaler skips."""

from __future__ import annotations

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_SHARE = 0.1
_ENOUGH = 100


def _look(record: Record) -> Seen | None:
    share = record.skipped / max(1, record.step)
    if record.step < _ENOUGH or share <= _SHARE:
        return None
    return Seen(
        f"{record.skipped:,} of {record.step:,} steps made no update.",
        {"share": share, "skipped": float(record.skipped)},
        "With a gradient scaler: gradients overflow, so lower the rate or use bfloat16. With accumulation: call "
        "watching.step once an update, not once a micro-batch.",
    )


RULE = Rule(
    code="skipped-updates",
    title="Updates are skipped",
    severity="warning",
    meaning="More than a tenth of the steps that were told changed nothing, as when a gradient scaler sees infinities.",
    signals=("loss",),
    reference="Micikevicius et al., Mixed precision training, 2018",
    would_change="Less than one step in ten being skipped.",
    look=_look,
)
