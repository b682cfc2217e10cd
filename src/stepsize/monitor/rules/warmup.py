"""The warm-up is too short."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_EARLY = 0.3


def _look(record: Record) -> Seen | None:
    steps = record.facts.steps or 4 * record.step
    if not record.rates() or record.step > _EARLY * steps or record.step < 20:
        return None
    rates = record.history(record.rates()[0])
    losses = record.history("loss").finite()
    if len(losses) < 20 or not len(rates):
        return None
    peak = int(rates.steps[int(np.nanargmax(rates.values))])
    lows = np.minimum.accumulate(losses.values)
    place = int(np.argmax(losses.values - lows))
    worst, low = float(losses.values[place]), float(lows[place])
    now = float(np.median(losses.values[-5:]))
    climb = worst - low
    gained = max(record.start - low, 0.0)
    if climb <= max(10 * record.start_noise, gained, 0.2 * abs(record.start)) or now > low + 0.5 * climb:
        return None
    at = int(losses.steps[place])
    evidence = {"peak_step": float(peak), "worst_step": float(at), "worst_loss": worst, "lowest_before": low}
    told = (
        f"Around the peak of the warm-up the loss rose from {number_text(low)} to {number_text(worst)} at step "
        f"{at:,}, and "
        "came back."
    )
    return Seen(told, evidence, f"Make the warm-up about three times as long as the {max(1, peak):,} steps it had.")


RULE = Rule(
    code="short-warm-up",
    title="The warm-up is too short",
    severity="warning",
    meaning=(
        "Early on, the loss climbed away from what had been reached and came back: the rate outran the "
        "curvature, which a "
        "longer warm-up would have lowered first."
    ),
    signals=("loss", "lr"),
    reference="Kalra and Barkeshli, Why warmup the learning rate?, 2024",
    would_change="The same climb with a warm-up three times as long: then the rate itself is too high.",
    look=_look,
)
