"""The loss never falls below its start."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen
from stepsize.monitor.readings import mean_of, slope_of
from stepsize.monitor.record import Record

_ENOUGH = 200
_EARLY = 0.1  # of the horizon
_PIECES = 20
_FLAT = 0.005  # of the loss: a smaller decrease is none
_NOISES = 3.0  # standard errors of the start, which is the median of five losses


def never_learned(record: Record) -> bool:
    """Return whether no part of the run was better than its first losses, beyond their noise."""
    blocks = record.history("loss").finite()
    if len(blocks) < _ENOUGH or record.diverged is not None:
        return False
    slope = slope_of(blocks.since(int(blocks.steps[len(blocks) // 2])))
    if slope is None or slope.falls:
        return False  # it learns late
    best = min(float(piece.mean()) for piece in np.array_split(blocks.values, _PIECES))
    error = 1.25 * record.start_noise / np.sqrt(5)
    return bool(record.start - best <= max(_FLAT * abs(record.start), _NOISES * error))


def _check(record: Record) -> Seen | None:
    if record.progress < _EARLY or not never_learned(record):
        return None
    last = mean_of(record.recent("loss"))
    evidence = {"start": record.start, "loss": last.mean, "lr": record.lr}
    message = f"The training loss never fell below its first values: {number_text(record.start)} at the start, "
    message += f"{number_text(last.mean)} over the last {last.count} values."
    remedy = (
        "Try a learning rate 10 times lower and one 10 times higher. If both do the same, check data, labels and loss."
    )
    return Seen(message, evidence, remedy)


RULE = Rule(
    code="not-learning",
    title="Nothing is learned",
    severity="warning",
    meaning=(
        "No part of the run had a lower training loss than its first steps, beyond their noise. The learning rate is "
        "far too low or far too high, or the data or labels are wrong."
    ),
    signals=("loss",),
    reference="Godbole et al., Deep learning tuning playbook, 2023",
    how_to_check="Ruled out if the loss falls below its first values by three standard errors.",
    check=_check,
    twice=True,
    holds=True,
)
