"""The warmup is too short."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.record import Record

_EARLY = 0.3


def _check(record: Record) -> Seen | None:
    steps = record.facts.steps or record.step  # without a horizon, once enough has followed
    if not record.rates() or record.step < 20:
        return None
    rates = record.history(record.rates()[0])
    every = record.history("loss").finite()
    losses = every.until(int(_EARLY * steps) + 1)
    if len(losses) < 20 or not len(rates):
        return None
    peak = int(rates.steps[int(np.nanargmax(rates.values))])
    lows = np.minimum.accumulate(losses.values)
    place = int(np.argmax(losses.values - lows))
    worst, low = float(losses.values[place]), float(lows[place])
    now = float(np.median(every.values[-5:]))
    climb = worst - low
    fallen = max(record.start - low, 0.0)
    if climb <= max(10 * record.start_noise, fallen, 0.2 * abs(record.start)) or now > low + 0.5 * climb:
        return None
    at = int(losses.steps[place])
    evidence = {"peak_step": float(peak), "worst_step": float(at), "worst_loss": worst, "lowest_before": low}
    warmup = peak - int(rates.steps[0])
    where = "Around the peak of the warmup" if warmup else "Without a warmup"
    message = f"{where} the loss rose from {number_text(low)} to {number_text(worst)} at step {at:,}, then recovered."
    if not warmup:
        return Seen(message, evidence, f"Add a warmup of about {3 * max(1, at):,} steps, or lower the learning rate.")
    return Seen(message, evidence, f"Make the warmup about three times as long as the {warmup:,} steps it had.")


RULE = Rule(
    code="short-warmup",
    title="The warmup is too short",
    severity="warning",
    meaning=(
        "Early on, the loss rose well above the level reached and then recovered: the learning rate rose faster than "
        "the curvature fell. A longer warmup lowers the curvature first."
    ),
    signals=("loss", "lr"),
    reference="Kalra and Barkeshli, Why warmup the learning rate?, 2024",
    how_to_check="If a warmup three times as long shows the same, the learning rate itself is too high.",
    check=_check,
    holds=True,
)
