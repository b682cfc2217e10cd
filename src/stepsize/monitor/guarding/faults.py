"""Whether something is wrong with a run, by its signals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.guarding.expected import ExpectedRates
from stepsize.monitor.guarding.policy import Fault
from stepsize.monitor.record import Record
from stepsize.monitor.trace import LossPoints

Where: TypeAlias = Mapping[int, tuple[int, int]]
"""Step and batch as the guard counts them, by watched step."""

_WINDOW = 64
_LEAST = 12
_ALONE = 25.0  # robust standard deviations: one such loss is a fault
_LASTING = 8.0  # three of the last four
_OF_FOUR = 3
_MISTAKE = 4.0
_HALF_WINDOW = 8  # losses, whose median no single batch moves
_MEDIAN = 5  # losses, to find the best level so far
LONG = 0.1  # an update so long compared with the weights leaves the region where gradients say anything
REPLACED = 0.5  # an update so long replaces most of the weights
_LOST = 0.9  # of the progress
_EARLY = 0.25  # of the steps, before which many runs have learned nothing yet
_PROGRESS = 4.0  # noises of the last losses


def find_fault(
    record: Record,
    numbers: Sequence[tuple[int, int, int]],
    since: int,
    expected: ExpectedRates,
) -> Fault | None:
    """Return what is wrong with the last losses, gradients and learning rates, or None.

    ``numbers`` are those of the last steps: as watched, as guarded, and of their batch. A loss can be a fault from the
    watched step ``since`` on; earlier ones are what it is compared with.
    """
    step, batch = numbers[-1][1:]
    excess = expected.excess(record, step)
    if excess >= _MISTAKE:
        return Fault(step, batch, f"the learning rate is {number_text(excess)}× the expected one", excess)
    at = {watched: (step, batch) for watched, step, batch in numbers}
    every, norms = record.recent("loss"), record.recent("grad_norm", 16).since(since)
    losses = LossPoints(every.steps[-_WINDOW:], every.values[-_WINDOW:])
    new = losses.since(since)
    for points, what in ((new, "loss"), (norms, "gradient")):
        bad = np.nonzero(~np.isfinite(points.values))[0]
        if bad.size and (where := at.get(int(points.steps[bad[0]]))) is not None:
            return Fault(*where, f"the {what} is not finite")
    if record.diverged is not None and record.diverged[0] >= since and (where := at.get(record.diverged[0])):
        return Fault(*where, record.diverged[1])
    return (
        _far_above_the_start(record, new, at)
        or _not_recovered(record, every.since(since).finite(), at)
        or _lost_progress(record, losses, new, at)
        or _outlier(record, losses.finite().values, new.finite().values, new.steps.tolist(), at)
    )


def longest_before(record: Record, step: int) -> float:
    """Return the largest norm of the updates shortly before a watched step, over that of the weights."""
    ratios = record.recent("update_ratio", 4 * _HALF_WINDOW).finite().until(step).values[-2 * _HALF_WINDOW :]
    return float(ratios.max(initial=0.0))


def nothing_learned(record: Record, since: int, progress: float) -> str | None:
    """Return that the loss is where it began long after the last action, or None: such weights do not recover."""
    new = record.recent("loss", 2 * _WINDOW).finite().since(since)
    if len(new) < 2 * _WINDOW or not record.first or progress < _EARLY:
        return None
    now, initial = float(np.median(new.values)), record.first[0]
    if now < initial - 0.1 * abs(initial):
        return None
    return f"the loss is {number_text(now)}, no lower than at the start"


def never_as_low(record: Record, since: int) -> str | None:
    """Return that the loss jumped far above the start and was not as low since, for a quarter of the run; or None."""
    losses = record.history("loss").finite().since(since)
    if not record.facts.steps or len(record.first) < _HALF_WINDOW:
        return None
    high = np.nonzero(losses.values > _far(max(record.first[:2])))[0]
    if not high.size or losses.steps[-1] - losses.steps[high[-1]] < _EARLY * record.facts.steps:
        return None
    before, after = _lowest(losses.values[: high[0]]), _lowest(losses.values[high[-1] + 1 :])
    if after <= before or not _long_updates(record, 1 << 30):
        return None
    jump = f"jumped from {number_text(before)} to {number_text(float(losses.values[high].max()))}"
    return f"the loss {jump} at step {losses.steps[high[0]]:,} and has not been as low since"


def _far_above_the_start(record: Record, new: LossPoints, at: Where) -> Fault | None:
    """Return the fault of losses far above the first two, while updates are long compared with the weights.

    It develops over many steps if the learning rate is much too high: none of them stands out from those before.
    """
    if len(new) < _HALF_WINDOW or len(record.first) < _HALF_WINDOW:
        return None
    now = float(np.median(new.values[-_HALF_WINDOW:]))
    if now <= _far(max(record.first[:2])) or not _long_updates(record, 2 * _HALF_WINDOW):
        return None
    where = at.get(int(new.steps[np.argmax(new.values > _far(record.first[0]))]))
    reason = f"the loss is {number_text(now)}, far above the initial {number_text(record.first[0])}"
    return None if where is None else Fault(*where, reason, lasting=True)


def _far(initial: float) -> float:
    return initial + 0.5 * abs(initial)


def _not_recovered(record: Record, new: LossPoints, at: Where) -> Fault | None:
    """Return the fault of a loss that was far above the start after long updates, and has stayed high since.

    An update that replaced most of the weights counts like such a loss, if the loss is still above the start.
    """
    width = int(np.clip((record.facts.steps or 0) // 25, 2 * _HALF_WINDOW, 4 * _WINDOW))
    if len(new) <= width or len(record.first) < _HALF_WINDOW or not _long_updates(record, 4 * width):
        return None
    last, initial = new.values[-width:], record.first[0]
    now = float(np.median(last))
    ratios = record.recent("update_ratio", 4 * width).finite().since(int(new.steps[0]))
    high = new.steps[new.values > _far(initial)]
    if not high.size and now > max(initial, record.start):
        high = ratios.steps[ratios.values > REPLACED]
    if not high.size or high[-1] >= new.steps[-width]:
        return None
    before = new.until(int(high[0])).values
    best, noise = min(initial, _lowest(before)), 1.05 * float(np.median(np.abs(np.diff(last))))
    learned = initial - best >= max(_PROGRESS * noise, 0.1 * abs(initial))
    if now < (best + 0.5 * (initial - best) if learned else initial - 0.1 * abs(initial)):
        return None
    where = at.get(int(high[0]))
    top = number_text(float(new.since(int(high[0])).values.max()))
    reason = f"the loss is {number_text(now)}, {width} steps after it jumped to {top}"
    return None if where is None else Fault(*where, reason, lasting=True)


def _long_updates(record: Record, steps: int) -> bool:
    ratios = record.recent("update_ratio", steps).finite().values
    return bool(ratios.size) and float(ratios.max()) > LONG


def _lowest(values: NDArray[np.float64]) -> float:
    """Return the lowest median of a few losses in a row; infinite for too few."""
    if len(values) < _MEDIAN:
        return np.inf
    return float(np.min(np.median(np.lib.stride_tricks.sliding_window_view(values, _MEDIAN), axis=1)))


def _lost_progress(record: Record, valid: LossPoints, new: LossPoints, at: Where) -> Fault | None:
    """Return the fault of a loss that is back where it began, for longer than chance explains."""
    width = 2 * _HALF_WINDOW
    if len(new) < width or len(valid) <= width:
        return None
    last, initial = new.values[-width:], record.first[0]
    now = float(np.median(last))
    best = _lowest(valid.values)
    noise = 1.05 * float(np.median(np.abs(np.diff(last))))
    progress = initial - best
    if progress <= 0 or progress < max(_PROGRESS * noise, 0.05 * abs(initial)) or now < best + _LOST * progress:
        return None
    where = at.get(int(new.steps[-width]))
    reason = f"the loss is back at {number_text(now)}, where it began, after it had fallen to {number_text(best)}"
    return None if where is None else Fault(*where, reason, lasting=True)


def _outlier(
    record: Record, window: NDArray[np.float64], new: NDArray[np.float64], steps: list[int], at: Where
) -> Fault | None:
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
    return Fault(step, batch, f"the loss rose to {number_text(float(last[-1]))} from {number_text(level)}")
