"""Whether a training is in trouble, by its signals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.guarding.expected import Expected
from stepsize.monitor.guarding.policy import Trouble
from stepsize.monitor.record import Record
from stepsize.monitor.trace import Points

__all__ = ["trouble_of"]

_WINDOW = 64
_LEAST = 12
_ALONE = 25.0  # widths of the noise: one such loss is trouble
_LASTING = 8.0  # three of the last four
_OF_FOUR = 3
_MISTAKE = 4.0


def trouble_of(
    record: Record,
    numbers: Sequence[tuple[int, int, int]],
    since: int,
    expected: Expected,
    undone: Sequence[tuple[int, int]] = (),
) -> Trouble | None:
    """Return what is wrong with the last losses and gradients.

    Args:
        record: The signals.
        numbers: Of the last steps: as watched, as guarded, and of their batch.
        since: The watched step from which on losses count: those before belong to what was undone.
        expected: The rates that are to be expected.
        undone: Watched steps, half open, whose losses are no measure of others, since the training went back behind
            them: else the first bad loss would hide the second.

    Returns:
        The trouble; None where there is none.
    """
    step, batch = numbers[-1][1:]
    excess = expected.excess(record, step)
    if excess >= _MISTAKE:
        return Trouble(step, batch, f"the rate is {number_text(excess)}× what was to be expected", excess)
    at = {watched: (step, batch) for watched, step, batch in numbers}
    losses, norms = _standing(record.recent("loss"), undone), record.recent("grad_norm", 16).since(since)
    new = losses.since(since)
    for points, what in ((new, "loss"), (norms, "gradient")):
        bad = np.nonzero(~np.isfinite(points.values))[0]
        if bad.size and (where := at.get(int(points.steps[bad[0]]))) is not None:
            return Trouble(*where, f"the {what} is not finite")
    if record.lost is not None and record.lost[0] >= since and (where := at.get(record.lost[0])) is not None:
        return Trouble(*where, record.lost[1])
    return _outlier(record, losses.finite().values, new.finite().values, new.steps.tolist(), at)


def _standing(losses: Points, undone: Sequence[tuple[int, int]]) -> Points:
    """Return the last losses of steps that were not undone."""
    keep = np.ones(len(losses), dtype=bool)
    for first, end in undone:
        keep &= (losses.steps < first) | (losses.steps >= end)
    return Points(losses.steps[keep][-_WINDOW:], losses.values[keep][-_WINDOW:])


def _outlier(
    record: Record,
    window: NDArray[np.float64],
    new: NDArray[np.float64],
    steps: list[int],
    at: dict[int, tuple[int, int]],
) -> Trouble | None:
    if not new.size or window.size < _LEAST or steps[-1] not in at:
        return None
    before = window[:-4] if window.size > _LEAST + 4 else window[:-1]
    level = float(np.median(before[-_LEAST * 2 :]))
    spread = 1.4826 * float(np.median(np.abs(before[-_LEAST * 2 :] - level)))
    reach = max(float(np.max(before)) - level, 0.02 * abs(record.start - level))
    alone = level + max(_ALONE * spread, 3 * reach)
    lasting = level + max(_LASTING * spread, 1.5 * reach)
    last = new[-4:]
    if last[-1] <= alone and int(np.sum(last > lasting)) < _OF_FOUR:
        return None
    first = steps[-len(last) :][int(np.argmax(last > lasting))]
    step, batch = at.get(first, at[steps[-1]])
    reason = f"the loss rose to {number_text(float(last[-1]))} from {number_text(level)}"
    return Trouble(step, batch, reason)
