"""The training is lost."""

from __future__ import annotations

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, times_text
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_CUT = 1 / 3  # where nothing is known of the critical rate


def _look(record: Record) -> Seen | None:
    if record.lost is None:
        return None
    step, reason = record.lost
    headroom = record.median("headroom", 1)
    factor = min(_CUT, 0.5 * headroom) if headroom == headroom and headroom > 0 else _CUT
    lr = record.peak_lr
    evidence: dict[str, float | str] = {"step": float(step), "reason": reason, "lr": lr, "start": record.start}
    hopeless = step == 0
    remedy = (
        "The first loss is not finite already: look at data and loss; no rate can mend this."
        if hopeless
        else f"{times_text(factor)}, and go back to weights from before step {step:,}."
    )
    where = f" at lr {number_text(lr)}" if lr == lr else ""
    return Seen(f"The training diverged{where}: {reason}.", evidence, remedy, None if hopeless else factor)


RULE = Rule(
    code="diverging",
    title="Diverging",
    severity="critical",
    meaning=(
        "The loss is not finite, or most of the last losses lie far above the start, in units of their own "
        "noise and of "
        "the progress made. What was learned is lost; going on costs time alone."
    ),
    signals=("loss",),
    reference="Wortsman et al., Small-scale proxies for large-scale Transformer training instabilities, 2023",
    would_change="The loss coming back below its start by itself within a tenth of the training.",
    look=_look,
)
