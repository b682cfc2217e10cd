"""The next steps will lose it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, times_text
from stepsize.monitor.record import Record

__all__ = ["RULE"]

Array = NDArray[np.float64]
_LAST = 6  # updates
_RATIO = 0.1  # a step this long against the weights leaves the region where gradients say anything
_GROWTH = 4.0
_FIRST = 5  # steps from which the start is read
_NOISES = 8.0  # of the first losses: beyond, twice the start is no chance
_ENOUGH, _BEFORE = 3, 2  # signs now, and at the update before: a good training may show three for a moment
_WORDS = ("the loss climbs along the steps", "it lies above its start", "the gradient grows", "steps are long")


def _look(record: Record) -> Seen | None:
    if record.lost is not None or "slope_now" not in record:
        return None
    long, norm = record.last("update_ratio"), record.last("grad_norm")
    if record.last("loss") <= record.start and long <= _RATIO and norm < np.inf:
        return None  # at most two of the four signs are there: most steps need no more than this look
    last = {name: record.recent(name, _LAST + 1).values for name in ("slope_now", "slope_then", "update_ratio")}
    losses, norms = record.recent("loss", 4).values, record.recent("grad_norm", 256).values
    if not len(losses):
        return None
    if record.step > _FIRST and losses[-1] > record.start + max(_NOISES * record.start_noise, abs(record.start)):
        return _seen(record, "a loss lies twice as high as at the start", float(losses[-1]))
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
    ratios = last["update_ratio"]
    longest = float(np.max(ratios[np.isfinite(ratios)], initial=0.0))
    return _seen(record, ", ".join(word for word, sign in zip(_WORDS, signs, strict=True) if sign), longest)


def _signs(record: Record, last: dict[str, Array], losses: Array, norms: Array) -> list[bool]:
    """Return which signs are there at the last of the updates given."""
    now, then = last["slope_now"][-3:], last["slope_then"][-3:]
    ratios, known = last["update_ratio"][-_LAST:], norms[np.isfinite(norms)]
    climbs = len(now) > 0 and float(np.median(now)) > 0 and float(now.sum()) > abs(float(then.sum()))
    above = len(losses) > 0 and float(np.median(losses[-3:])) > record.start + 4 * record.start_noise
    grows = known.size > 1 and float(known[-1]) > _GROWTH * float(np.median(known[:-1]))
    long = float(np.max(ratios[np.isfinite(ratios)], initial=0.0)) > _RATIO
    return [climbs, above, grows, long]


def _seen(record: Record, what: str, long: float) -> Seen:
    evidence = {"lr": record.lr, "longest_update_ratio": long, "loss": record.last("loss"), "start": record.start}
    return Seen(
        f"At lr {number_text(record.lr)} it is about to diverge: {what}.", evidence, f"{times_text(1 / 3)}.", 1 / 3
    )


RULE = Rule(
    code="about-to-diverge",
    title="About to diverge",
    severity="critical",
    meaning=(
        "Most of the signs that come before a divergence are there at once, and not for a moment only: steps end where "
        "the loss rises more than it fell before, the gradient grows by multiples, steps are long against the weights, "
        "the loss lies above its start; or a loss lies twice as high as at the start, far beyond the noise."
    ),
    signals=("loss", "slope_now", "grad_norm", "update_ratio"),
    reference="Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
    would_change="The signs passing within a few steps, as at the edge of stability, where the steps catch themselves.",
    look=_look,
)
