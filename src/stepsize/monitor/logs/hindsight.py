"""What only the whole of a log can tell: whether it diverged for good, and what it says of the rates in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.divergence import DivergenceRule
from stepsize.curves.numerals import number_text
from stepsize.curves.range_reading import suggest
from stepsize.monitor.trace import LossPoints
from stepsize.monitor.verdict import RateVerdict

Array = NDArray[np.float64]
_FIRST = 5  # losses from which the start is read
_ENDED = 0.1  # of the peak: a rate that decayed this far was meant to end
_ONSET = 0.1  # of the rise above the start: where a blow-up begins
_RECOVERED = 0.5  # of the descent so far: below, what was learned is back
_LOST = 0.1  # of the descent that is left: what was learned is gone
_NOISES = 5.0  # standard deviations of a loss that a descent must exceed
_PIECES = 20
_RAMP = 20  # learning rates that a range test has at least …
_DECADES = 100.0  # … and the factor between the first and the last
_FLAT = 0.2  # of the steps at the highest learning rate: more, and the rise is a warmup
_NO_WEIGHTS = "A verdict on the learning rate needs the weights, which a log does not contain."


def divergence_of(losses: LossPoints) -> tuple[int, str] | None:
    """Return step and reason of a divergence that the rest of the log does not take back, or None."""
    values = losses.values
    known = np.flatnonzero(np.isfinite(values))
    end = int(known[-1]) + 1 if known.size else 0
    lost = (end, f"the loss became {values[end]}") if end < len(values) else None
    if known.size > _FIRST:
        found = _blown_up(values[known]) or _collapsed(values[known])
        lost = (int(known[found[0]]), found[1]) if found else lost
    return None if lost is None else (int(losses.steps[lost[0]]), lost[1])


def _blown_up(values: Array) -> tuple[int, str] | None:
    """Return where losses left their start upwards for good, and the reason."""
    rule, start = DivergenceRule(len(values)), float(np.median(values[:_FIRST]))
    for place, value in enumerate(values):
        if reason := rule.update(value):
            learned = start - _lowest(values[:place])
            if _level(values) < start - _RECOVERED * max(0.0, learned):
                return None
            below = np.flatnonzero(values[:place] <= start + _ONSET * (value - start))
            return (int(below[-1]) + 1 if below.size else 0), reason
    return None


def _collapsed(values: Array) -> tuple[int, str] | None:
    """Return where a loss that had fallen returned to its start for good, and the reason."""
    start, lowest, level = float(np.median(values[:_FIRST])), _lowest(values), _level(values)
    noise = 1.4826 * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)
    if start - lowest <= _NOISES * noise or level < start - _LOST * (start - lowest):
        return None
    low = np.flatnonzero(values < (start + lowest) / 2)
    place = int(low[-1]) + 1
    if len(values) - place < _width(values):
        return None
    reason = f"the loss returned to its initial value ({number_text(level)}; lowest {number_text(lowest)})"
    return place, reason


def _lowest(values: Array) -> float:
    """Return the lowest median of five neighbors."""
    if len(values) < _FIRST:
        return float(values.min(initial=math.inf))
    return float(np.median(np.lib.stride_tricks.sliding_window_view(values, _FIRST), axis=1).min())


def _level(values: Array) -> float:
    return float(np.median(values[-_width(values) :]))


def _width(values: Array) -> int:
    return int(np.clip(len(values) // 20, _FIRST, 50))


def finished(rates: Sequence[tuple[int, float]]) -> bool:
    """Return whether the learning rate has decayed, so that the log is the log of a whole run."""
    values = [value for _, value in rates]
    return bool(values) and values[-1] <= _ENDED * max(values) and max(values) > 0


def range_test_of(losses: LossPoints, rates: Sequence[tuple[int, float]]) -> RateVerdict | None:
    """Return the reading of a log whose learning rate only rises, by a factor of 100 or more; None of any other.

    Losses that are not finite count only at the end: before it they are single bad batches.
    """
    steps, values = np.array([step for step, _ in rates]), np.array([value for _, value in rates])
    if len(values) < _RAMP or values.min() <= 0 or np.any(np.diff(values) < 0) or values[-1] < _DECADES * values[0]:
        return None
    if np.mean(values >= 0.999 * values[-1]) > _FLAT:
        return None  # a warmup
    lrs = values[np.clip(np.searchsorted(steps, losses.steps, side="right") - 1, 0, len(values) - 1)]
    known = np.flatnonzero(np.isfinite(losses.values))
    kept = np.isfinite(losses.values)
    kept[known[-1] + 1 if known.size else 0 :] = True
    found = suggest(lrs[kept], losses.values[kept])
    low, high = number_text(float(values[0])), number_text(float(values[-1]))
    signals = {"lowest_lr": float(values[0]), "highest_lr": float(values[-1])}
    rate = ""
    if found.lr is not None:
        signals["suggested_lr"] = found.lr
        rate = f" Suggested for the first steps: {number_text(found.lr)}."
    reason = f"The log is a range test: the learning rate rises from {low} to {high}.{rate} {found.reason}"
    return RateVerdict.unknown(reason, signals)


def rates_seen(losses: LossPoints, rates: Sequence[tuple[int, float]], diverged: tuple[int, str] | None) -> RateVerdict:
    """Return which learning rates a log shows to have worked, in the place of a verdict."""
    text, signals = _used_rates(losses, rates, diverged)
    if diverged is not None:
        reason = f"The run diverged at step {diverged[0]:,}: {diverged[1]}. {text}"
        return RateVerdict("diverged", 1.0, "diverged", 1 / 3, reason.strip(), signals=signals)
    return RateVerdict.unknown(f"{_NO_WEIGHTS} {text or 'The log does not contain the learning rate either.'}", signals)


def _used_rates(
    losses: LossPoints, rates: Sequence[tuple[int, float]], diverged: tuple[int, str] | None
) -> tuple[str, Mapping[str, float]]:
    """Return as a sentence and as numbers which learning rates a run used without diverging."""
    if not rates or max(value for _, value in rates) <= 0:
        return "", {}
    steps, values = np.array([step for step, _ in rates]), np.array([value for _, value in rates])
    end = len(steps) if diverged is None else int(np.searchsorted(steps, diverged[0], side="right"))
    used = values[: max(1, end)]
    low, high, last = float(used[used > 0].min(initial=math.inf)), float(used.max()), float(values[-1] / values.max())
    signals = {"lowest_lr": low, "highest_lr": high, "last_over_peak": last}
    if low >= high:
        verb = "The run did not diverge at" if diverged is None else "That was at"
        return f"{verb} the learning rate {number_text(high)}, which was constant.", signals
    text = f"The run did not diverge at learning rates from {number_text(low)} to {number_text(high)}."
    if diverged is not None:
        used_then = number_text(float(used[-1]))
        text = f"Until then the learning rate was {number_text(low)} to {number_text(high)}, at last {used_then}."
    fastest = _fastest(losses if diverged is None else losses.until(diverged[0]))
    if fastest is not None:
        begin, until = fastest
        rate = float(values[max(0, int(np.searchsorted(steps, (begin + until) // 2, side="right")) - 1)])
        signals["fastest_lr"] = rate
        text += f" The loss fell fastest at {number_text(rate)} (steps {begin:,} to {until:,})."
    if diverged is not None:
        return text, signals
    if last <= _ENDED:
        return f"{text} The schedule has ended: the last learning rate is {last:.1%} of the highest.", signals
    rest = "the schedule does not decay, or the log ends before it does"
    return f"{text} The last learning rate is {last:.0%} of the highest: {rest}.", signals


def _fastest(losses: LossPoints) -> tuple[int, int] | None:
    """Return the steps between which the loss fell fastest; None if it never fell."""
    kept = losses.finite()
    if len(kept) < 2 * _PIECES:
        return None
    pieces = np.array_split(np.arange(len(kept)), _PIECES)
    x = np.array([float(kept.steps[piece].mean()) for piece in pieces])
    y = np.array([float(np.median(kept.values[piece])) for piece in pieces])
    slopes = np.diff(y) / np.diff(x)
    place = int(np.argmin(slopes))
    return (int(kept.steps[pieces[place][0]]), int(kept.steps[pieces[place + 1][-1]])) if slopes[place] < 0 else None
