"""The next steps will lose it."""

from __future__ import annotations

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.monitor.finding import Rule, Seen, times_text
from stepsize.monitor.record import Record

__all__ = ["RULE"]

_LAST = 6  # updates
_RATIO = 0.05  # a step this long against the weights leaves the region where gradients say anything
_GROWTH = 4.0


def _look(record: Record) -> Seen | None:
    if record.lost is not None or "slope_now" not in record:
        return None
    long, norm = record.last("update_ratio"), record.last("grad_norm")
    if record.last("loss") <= record.start and long <= _RATIO and norm < np.inf:
        return None  # at most two of the four signs are there: most steps need no more than this look
    now, then = record.recent("slope_now", _LAST).values, record.recent("slope_then", _LAST).values
    losses = record.recent("loss", 3).values
    if len(now) < 2 or not len(losses):
        return None
    start, noise = record.start, record.start_noise
    bad = int(np.sum(~np.isfinite(record.recent("grad_norm", _LAST).values)))
    if bad:
        return _seen(record, "the gradient is not finite", float(bad))
    ratios = record.recent("update_ratio", _LAST).finite().values
    long = float(np.max(ratios)) if ratios.size else 0.0
    climbs = float(np.median(now[-3:])) > 0 and float(now[-3:].sum()) > abs(float(then[-3:].sum()))
    above = float(np.median(losses)) > start + 4 * noise
    norms = record.recent("grad_norm", 256).finite().values
    usual = float(np.median(norms[:-1])) if norms.size > 1 else np.inf
    grows = norms.size > 1 and float(norms[-1]) > _GROWTH * usual
    votes = [climbs, above, grows, long > _RATIO]
    if sum(votes) < 3:
        return None
    words = ["the loss climbs along the steps", "it lies above its start", "the gradient grows", "steps are long"]
    return _seen(record, ", ".join(word for word, vote in zip(words, votes, strict=True) if vote), long)


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
        "Several signs that come before a divergence are there at once: steps end where the loss rises more "
        "than it fell "
        "before, the gradient grows by multiples, steps are long against the weights, the loss lies above its start."
    ),
    signals=("loss", "slope_now", "grad_norm", "update_ratio"),
    reference="Cohen et al., Gradient descent on neural networks typically occurs at the edge of stability, 2021",
    would_change="The signs passing within a few steps, as at the edge of stability, where the steps catch themselves.",
    look=_look,
)
