"""Updates that the gradient scaler skips."""

from __future__ import annotations

from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_FRACTION = 0.1
_ENOUGH = 100


def _check(record: Record) -> Seen | None:
    fraction = record.skipped / max(1, record.step)
    if record.step < _ENOUGH or fraction <= _FRACTION:
        return None
    return Seen(
        f"{record.skipped:,} of {record.step:,} steps changed nothing.",
        {"fraction": fraction, "skipped": float(record.skipped)},
        "With a gradient scaler, gradients overflow: lower the learning rate or use bfloat16. With accumulation, call "
        "watching.step once per update, not once per micro-batch.",
    )


RULE = Rule(
    code="skipped-updates",
    title="Updates are skipped",
    severity="warning",
    meaning=(
        "More than a tenth of the reported steps changed nothing, for example because a gradient scaler found "
        "infinities."
    ),
    signals=("loss",),
    reference="Micikevicius et al., Mixed precision training, 2018",
    how_to_check="Ruled out if fewer than one step in ten is skipped.",
    check=_check,
)
