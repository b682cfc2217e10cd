"""The next steps will diverge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, advice
from stepsize.monitor.record import Record

Array = NDArray[np.float64]
_LAST = 6  # updates
_RATIO = 0.1  # a step this long compared with the weights leaves the region in which gradients say anything
_GROWTH = 4.0
_FIRST = 5  # steps from which the start is read
_NOISES = 8.0  # standard deviations of the first losses: beyond, twice the start is no chance
_ENOUGH, _BEFORE = 3, 2  # signs now, and at the update before: a good run can show three for a moment
_WORDS = (
    "loss rising along the step",
    "loss above its initial value",
    "gradient norm growing",
    "large update-to-weight ratio",
)


def _check(record: Record) -> Seen | None:
    if record.diverged is not None or "slope_now" not in record:
        return None
    ratio, norm = record.last("update_ratio"), record.last("grad_norm")
    if record.last("loss") <= record.start and ratio <= _RATIO and norm < np.inf:
        return None  # at most two of the four signs: most steps need no more than this
    last = {name: record.recent(name, _LAST + 1).values for name in ("slope_now", "slope_then", "update_ratio")}
    losses, norms = record.recent("loss", 4).values, record.recent("grad_norm", 256).values
    if not len(losses):
        return None
    if record.step > _FIRST and losses[-1] > record.start + max(_NOISES * record.start_noise, abs(record.start)):
        return _seen(record, "a loss is twice its initial value", float(losses[-1]))
    if len(last["slope_now"]) < 2:
        return None
    bad = int(np.sum(~np.isfinite(norms[-_LAST:])))
    if bad:
        return _seen(record, "the gradient is not finite", float(bad))
    signs = _signs(record, last, losses, norms)
    if sum(signs) < _ENOUGH:
        return None
    before = _signs(record, {name: values[:-1] for name, values in last.items()}, losses[:-1], norms[:-1])
    if sum(signs) < len(signs) and sum(before) < _BEFORE:
        return None
    words = ", ".join(word for word, sign in zip(_WORDS, signs, strict=True) if sign)
    return _seen(record, words, _largest(last["update_ratio"]))


def _signs(record: Record, last: dict[str, Array], losses: Array, norms: Array) -> list[bool]:
    """Return which signs are present at the last of the given updates."""
    now, then, known = last["slope_now"][-3:], last["slope_then"][-3:], norms[np.isfinite(norms)]
    rises = len(now) > 0 and float(np.median(now)) > 0 and float(now.sum()) > abs(float(then.sum()))
    above = len(losses) > 0 and float(np.median(losses[-3:])) > record.start + 4 * record.start_noise
    grows = known.size > 1 and float(known[-1]) > _GROWTH * float(np.median(known[:-1]))
    return [rises, above, grows, _largest(last["update_ratio"][-_LAST:]) > _RATIO]


def _largest(ratios: Array) -> float:
    return float(np.max(ratios[np.isfinite(ratios)], initial=0.0))


def _seen(record: Record, what: str, largest: float) -> Seen:
    evidence = {"lr": record.lr, "largest_update_ratio": largest, "loss": record.last("loss"), "start": record.start}
    return Seen(f"About to diverge at lr {number_text(record.lr)}: {what}.", evidence, f"{advice(1 / 3)}.", 1 / 3)


RULE = Rule(
    code="about-to-diverge",
    title="About to diverge",
    severity="critical",
    meaning=(
        "Most signs that precede a divergence are present together and persist: the loss rises more along a step than "
        "it fell before, the gradient norm grows by a factor of four, the update-to-weight ratio is large, the loss is "
        "above its initial value. Or a single loss is twice its initial value, many "
        "standard deviations above the others."
    ),
    signals=("loss", "slope_now", "grad_norm", "update_ratio"),
    reference="Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
    how_to_check=(
        "Ruled out if the signs disappear within a few steps, as at the edge of stability, where training stabilizes "
        "itself."
    ),
    check=_check,
    urgent=True,
)
