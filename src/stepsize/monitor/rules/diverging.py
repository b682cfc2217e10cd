"""The run diverged."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, advice
from stepsize.monitor.record import Record

_CUT = 1 / 3  # if the critical learning rate is unknown


def _check(record: Record) -> Seen | None:
    if record.diverged is None:
        return None
    step, reason = record.diverged
    headroom = record.median("headroom", 1)
    factor = min(_CUT, 0.5 * headroom) if headroom == headroom and headroom > 0 else _CUT
    lr = record.peak_lr
    evidence: dict[str, float | str] = {"step": float(step), "reason": reason, "lr": lr, "start": record.start}
    at = f" at lr {number_text(lr)}" if lr == lr else ""
    message = f"The run diverged{at}: {reason}."
    if step == 0:
        remedy = "The first loss is not finite: check the data and the loss. No learning rate can fix this."
        return Seen(message, evidence, remedy)
    return Seen(message, evidence, f"{advice(factor)}, and restore weights from before step {step:,}.", factor)


RULE = Rule(
    code="diverging",
    title="Diverged",
    severity="critical",
    meaning=(
        "The loss is not finite, or most of the last losses are far above the initial loss, compared with their own "
        "noise and with the progress so far. What was learned is gone, and continuing only costs time."
    ),
    signals=("loss",),
    reference="Wortsman et al., Small-scale proxies for large-scale Transformer training instabilities, 2023",
    how_to_check="Ruled out if the loss returns below its initial value within a tenth of the run.",
    check=_check,
    urgent=True,
)
