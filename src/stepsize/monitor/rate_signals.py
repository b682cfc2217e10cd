"""What tells whether a learning rate is too high, too low or fine: numbers without units, from the signals of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.readings import loss_noise
from stepsize.monitor.record import Record
from stepsize.monitor.trace import LossPoints

Array = NDArray[np.float64]

RATE_SIGNALS: Mapping[str, str] = {
    "over usual": "log10: learning rate over the usual one of the optimizer",
    "adaptive": "whether the optimizer scales each coordinate",
    "momentum": "log10: length of a step that momentum adds up to",
    "steps": "log10: steps",
    "parameters": "log10: trainable parameters",
    "progress": "log2: fraction of the steps that is done",
    "rate now": "present learning rate over its peak",
    "rate so far": "mean learning rate so far over its peak",
    "fall": "decrease of the loss over the loss at the start",
    "log fall": "log10: loss over that at the start",
    "log late fall": "log10: loss over that in the second quarter of the steps so far",
    "early fall": "share of the decrease in the first quarter of the steps so far",
    "late fall": "share of the decrease in the second half of the steps so far",
    "trend": "decrease between the last two quarters of the steps so far, in standard errors",
    "noise": "log10: noise of single losses over the loss",
    "noise change": "log10: noise of single losses over that in the first quarter",
    "worst": "log10: highest mean loss of a sixteenth of the steps over the loss at the start",
    "promise": "log10: decrease that the steps to come would make at the present slope, over the loss",
    "promised": "log10: decrease that the slopes so far add up to, over the loss at the start",
    "alpha": "where steps end on the parabola of the loss (-1 = at their start, 0 = lowest point)",
    "alpha early": "the same in the first quarter of the steps so far",
    "cosine": "cosine between consecutive gradients",
    "cosine early": "cosine between consecutive gradients in the first quarter of the steps so far",
    "update": "log10: step over the weights",
    "update change": "log10: step over the weights, over that in the first quarter of the steps so far",
    "updates": "log10: step over the weights times the number of steps",
    "gradient": "log10: gradient norm over that in the first quarter of the steps so far",
    "clipped": "gradient norm after clipping over that before",
    "straightness": "straightness of the weight trajectory (1 = straight line, 0 = no common direction)",
    "slowing": "log10: weight change in the last quarter of the steps so far over that in the second",
    "efficiency": "distance of the weights from initialization over the length of the trajectory",
    "growth": "log10: norm of the weights over that at initialization",
    "distance": "log10: largest relative distance of a tensor from its initialization",
    "val fall": "log10: validation loss over the first one",
    "val trend": "log10: validation loss over that at three quarters of the steps so far",
    "val best": "fraction of the steps so far at which the validation loss was lowest",
    "val rise": "log10: validation loss over its lowest value",
}
"""What each signal is, in words; "log10:" says that the signal is the logarithm of it."""

CIRCUMSTANCES = frozenset({"adaptive", "momentum", "steps", "parameters", "progress", "rate now", "rate so far"})
"""Signals without which the others cannot be read; by themselves they say nothing of the learning rate."""

_FEWEST = 3  # finite values that a mean needs
_SMALL = 1e-12


def signal_text(name: str, value: float) -> str:
    """Return a signal in words, such as ``"learning rate over the usual one of the optimizer 0.03"``."""
    kind, colon, text = RATE_SIGNALS[name].rpartition(": ")
    shown = {"log10": 10.0, "log2": 2.0}[kind] ** value if colon else value
    return f"{text} {number_text(float(f'{shown:.2g}'))}"


def rate_signals(record: Record) -> dict[str, float]:
    """Return the signals of :data:`RATE_SIGNALS` at the present step of a run; those that are unknown are NaN."""
    facts, step = record.facts, max(1, record.step)
    steps = facts.steps or 4 * step
    parts = _Parts(record)
    rates = parts(record.rates()[0]) if record.rates() else np.zeros(0)
    found = dict.fromkeys(RATE_SIGNALS, math.nan)
    found |= {
        "over usual": _log10(record.peak_lr / facts.usual_lr) if facts.usual_lr else math.nan,
        "adaptive": math.nan if facts.adaptive is None else float(facts.adaptive),
        "momentum": -math.log10(1 - min(facts.momentum, 0.9999)),
        "steps": math.log10(steps),
        "parameters": math.log10(facts.parameters) if facts.parameters else math.nan,
        "progress": math.log2(step / steps),
        "rate now": record.lr / record.peak_lr if record.peak_lr > 0 else math.nan,
        "rate so far": float(rates.mean()) / record.peak_lr if len(rates) and record.peak_lr > 0 else math.nan,
    }
    found |= _of_losses(record, parts, step) | _of_steps(record, parts, step, steps)
    return found | _of_weights(record) | _of_val(parts, step)


def _of_losses(record: Record, parts: _Parts, step: int) -> dict[str, float]:
    quarters = [parts("loss", n / 4, (n + 1) / 4) for n in range(4)]
    if any(len(one) < _FEWEST for one in quarters) or not math.isfinite(record.start):
        return {}
    begin = record.start
    first, second, third, last = (float(np.median(one)) for one in quarters)
    scale = max(abs(begin), abs(last), _SMALL)
    single = loss_noise(record.recent("loss"))  # of single losses: a history holds means
    error = 1.25 * single * math.sqrt(2 / (step / 4)) + _SMALL * scale
    whole = begin - last
    moved = abs(whole) > 2 * error
    pieces = [parts("loss", n / 16, (n + 1) / 16) for n in range(16)]
    means = [float(one.mean()) for one in pieces if len(one)]
    return {
        "fall": float(np.clip(whole / scale, -3, 1)),
        "log fall": _ratio(last, begin),
        "log late fall": _ratio(last, second),
        "early fall": float(np.clip((begin - first) / whole, -1, 2)) if moved else 0.0,
        "late fall": float(np.clip((second - last) / whole, -1, 2)) if moved else 1.0,
        "trend": float(np.clip((third - last) / error, -20, 20)),
        "noise": _log10(single / max(abs(last), _SMALL)),
        "noise change": _ratio(single, loss_noise(parts.points("loss", 0, 0.25))),
        "worst": _ratio(max(means), begin),
    }


def _of_steps(record: Record, parts: _Parts, step: int, steps: int) -> dict[str, float]:
    loss = parts("loss", 0.75, 1)
    level, begin = float(np.median(loss)) if len(loss) else math.nan, record.start
    slopes = {place: parts("slope_then", *place) for place in ((0.0, 0.25), (0.75, 1.0), (0.0, 1.0))}
    late, every = slopes[0.75, 1.0], slopes[0.0, 1.0]
    update, update_early = (_median(parts("update_ratio", *place)) for place in ((0.75, 1), (0, 0.25)))
    return {
        "promise": _log10(-_mean(late) * (steps - step) / max(abs(level), _SMALL)),
        "promised": _log10(-_mean(every) * step / max(abs(begin), _SMALL)),
        "alpha": _alpha(parts, 0.75, 1.0),
        "alpha early": _alpha(parts, 0.0, 0.25),
        "cosine": _mean(parts("cosine", 0.75, 1)),
        "cosine early": _mean(parts("cosine", 0, 0.25)),
        "update": _log10(update),
        "update change": _ratio(update, update_early),
        "updates": _log10(update * steps),
        "gradient": _ratio(_median(parts("grad_norm", 0.75, 1)), _median(parts("grad_norm", 0, 0.25))),
        "clipped": _mean(parts("clipped", 0, 1)),
    }


def _of_weights(record: Record) -> dict[str, float]:
    last = record.last
    return {
        "straightness": last("straightness"),
        "slowing": _log10(last("slowing")),
        "efficiency": last("efficiency"),
        "growth": _log10(last("growth")),
        "distance": _log10(last("distance")),
    }


def _of_val(parts: _Parts, step: int) -> dict[str, float]:
    seen = parts.points("val_loss")
    if len(seen) < _FEWEST:
        return {}
    before = float(seen.values[int(np.argmin(np.abs(seen.steps - 0.75 * step)))])
    now, lowest = float(seen.values[-1]), int(np.argmin(seen.values))
    return {
        "val fall": _ratio(now, float(seen.values[0])),
        "val trend": _ratio(now, before),
        "val best": float((seen.steps[lowest] + 1) / step),
        "val rise": _ratio(now, float(seen.values[lowest])),
    }


class _Parts:
    """Finite values of signals between two fractions of the steps so far; each signal is read once."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._read: dict[str, LossPoints] = {}

    def points(self, name: str, begin: float = 0.0, end: float = 1.0) -> LossPoints:
        """Return a part of a signal."""
        if name not in self._read:
            self._read[name] = self._record.history(name).finite()
        found, step = self._read[name], self._record.step
        first, last = np.searchsorted(found.steps, (int(begin * step), math.ceil(end * step)))
        return LossPoints(found.steps[first:last], found.values[first:last])

    def __call__(self, name: str, begin: float = 0.0, end: float = 1.0) -> Array:
        return self.points(name, begin, end).values


def _alpha(parts: _Parts, begin: float, end: float) -> float:
    then, now = (parts(name, begin, end) for name in ("slope_then", "slope_now"))
    if min(len(then), len(now)) < _FEWEST or then.mean() == 0:
        return math.nan
    return float(np.clip(-now.mean() / then.mean(), -3, 3))


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) >= _FEWEST else math.nan


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) >= _FEWEST else math.nan


def _log10(value: float) -> float:
    """Return the logarithm within -6 … 6; -6 of what is not positive."""
    return math.nan if math.isnan(value) else math.log10(min(max(value, 1e-6), 1e6))


def _ratio(one: float, other: float) -> float:
    """Return log10 of a ratio within -3 … 3; NaN if one of them is not positive."""
    return float(np.clip(_log10(one / other), -3, 3)) if one > 0 and other > 0 else math.nan
