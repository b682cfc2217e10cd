"""Whether a training is in trouble, by its signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.guarding.expected import Expected
from stepsize.monitor.guarding.policy import Trouble
from stepsize.monitor.record import Record
from stepsize.monitor.trace import Points

__all__ = ["nothing_learned", "trouble_of"]

_WINDOW = 64
_LEAST = 12
_ALONE = 25.0  # widths of the noise: one such loss is trouble
_LASTING = 8.0  # three of the last four
_OF_FOUR = 3
_MISTAKE = 4.0
_HALF_WINDOW = 8  # losses, whose median no single batch moves
_MEDIAN = 5  # losses, to find the best level so far
_LONG = 0.1  # an update so long against the weights leaves the region where gradients say anything
_LOST = 0.9  # of the progress
_EARLY = 0.25  # of the steps, before which many a training has learned nothing yet
_PROGRESS = 4.0  # noises of the last losses


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
    settled = _far_above_the_start(record, new, at) or _lost_progress(record, losses, new, at)
    if settled is not None:
        return settled
    return _outlier(record, losses.finite().values, new.finite().values, new.steps.tolist(), at)


def nothing_learned(record: Record, since: int, progress: float) -> str | None:
    """Return that the training is where it began, long after an act: the weights do not come back to life.

    Args:
        record: The signals.
        since: The watched step after the last act.
        progress: The share of the training that is done; NaN where it is unknown.
    """
    new = record.recent("loss", 2 * _WINDOW).finite().since(since)
    if len(new) < 2 * _WINDOW or not record.first or progress < _EARLY:
        return None
    now, untrained = float(np.median(new.values)), record.first[0]
    if now < untrained - 0.1 * abs(untrained):
        return None
    return f"the loss is at {number_text(now)}, no lower than at the start"


def _standing(losses: Points, undone: Sequence[tuple[int, int]]) -> Points:
    """Return the last losses of steps that were not undone."""
    keep = np.ones(len(losses), dtype=bool)
    for first, end in undone:
        keep &= (losses.steps < first) | (losses.steps >= end)
    return Points(losses.steps[keep][-_WINDOW:], losses.values[keep][-_WINDOW:])


def _far_above_the_start(record: Record, new: Points, at: Mapping[int, tuple[int, int]]) -> Trouble | None:
    """Return the trouble of losses far above the first two, while updates are long against the weights.

    It comes on over many steps where the rate is much too high: none of them stands out from those before.
    """
    if len(new) < _HALF_WINDOW or len(record.first) < _HALF_WINDOW:
        return None
    untrained = max(record.first[:2])
    now = float(np.median(new.values[-_HALF_WINDOW:]))
    ratios = record.recent("update_ratio", 2 * _HALF_WINDOW).finite().values
    if now <= untrained + 0.5 * abs(untrained) or not ratios.size or ratios.max() <= _LONG:
        return None
    where = at.get(int(new.steps[-_HALF_WINDOW]))
    told = f"the loss is at {number_text(now)}, far above the first one at {number_text(record.first[0])}"
    return None if where is None else Trouble(*where, told, lasting=True)


def _lost_progress(record: Record, standing: Points, new: Points, at: Mapping[int, tuple[int, int]]) -> Trouble | None:
    """Return the trouble of a loss that is back where it began, for as long as no chance explains."""
    width = 2 * _HALF_WINDOW
    if len(new) < width or len(standing) <= width:
        return None
    last, untrained = new.values[-width:], record.first[0]
    now = float(np.median(last))
    best = float(np.min(np.median(np.lib.stride_tricks.sliding_window_view(standing.values, _MEDIAN), axis=1)))
    noise = 1.05 * float(np.median(np.abs(np.diff(last))))
    progress = untrained - best
    if progress < max(_PROGRESS * noise, 0.05 * abs(untrained)) or now < best + _LOST * progress:
        return None
    where = at.get(int(new.steps[-width]))
    told = f"the loss is at {number_text(now)} again, where it began: it had come down to {number_text(best)}"
    return None if where is None else Trouble(*where, told, lasting=True)


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
