"""From a fitted lr curve to a recommendation, and how far it can be trusted. Pure decisions on numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stepsize.curves import Verdict
from stepsize.curves.lr_curve import LrCurve, Observation, rise
from stepsize.curves.numerals import number_text

__all__ = ["judge_answer", "recommended"]

_CONFIDENT = 0.03  # expected regret up to which an answer is called confident
_UNCERTAIN = 0.15  # … beyond which it is called too uncertain to rely on
_FLAT = 0.02  # regret within which a decade or more makes a basin flat
_LEARNED = 0.01  # share of the untrained value that the best run must have gained


def recommended(observations: Sequence[Observation], fit: LrCurve) -> float:
    """Return the rate of least expected regret among those that the runs speak of.

    Never above the highest one that was seen to work, nor below the lowest one that was tried on the longest horizon
    (carried to the full one with the drift of the optimum): of what lies beyond, the fit only guesses.
    """
    longest = max(seen.steps for seen in observations)
    lowest = min(seen.lr for seen in observations if seen.steps == longest)
    at_least = lowest / 10 ** (max(fit.drift, 0.0) * rise(fit.to_go))
    return max(fit.best(at_most=max(seen.lr for seen in observations if math.isfinite(seen.value))), at_least)


def judge_answer(
    observations: Sequence[Observation], fit: LrCurve | None, untrained: float, *, has_val: bool
) -> Verdict:
    """Return how far the answer read off ``fit`` can be trusted, as a sentence with its reason."""
    refusal = _refusal(observations, fit, untrained)
    if refusal is not None:
        return refusal
    assert fit is not None
    lr = recommended(observations, fit)
    regret = fit.expected_regret(lr)
    low, high = fit.interval()
    note = "" if has_val else " There are no unseen data: the training loss judged, which does not see overfitting."
    edge = _edge(observations)
    if edge:
        return Verdict(
            "at the edge",
            f"On the longest horizon trained, the best rate is the {edge} one tried: the budget ended before a worse "
            f"one was seen beyond it. A larger budget settles it.{note}",
            True,
        )
    if regret > _UNCERTAIN:
        return Verdict(
            "uncertain",
            f"The runs leave the optimum open between {number_text(low)} and {number_text(high)}; the recommended rate "
            f"is expected to lose {regret:.0%} against the best. A larger budget narrows it.{note}",
            True,
        )
    flat_low, flat_high = fit.within(_FLAT)
    if flat_high / flat_low >= 10 and fit.to_go <= 1:  # short runs do not show how steep the sides will become
        return Verdict(
            "flat",
            f"Every rate between {number_text(flat_low)} and {number_text(flat_high)} is expected to come within "
            f"{_FLAT:.0%} of the best: the choice matters little.{note}",
            True,
        )
    code = "confident" if regret <= _CONFIDENT else "fair"
    return Verdict(
        code,
        f"The optimum is bracketed by worse rates on both sides; the recommended one is expected to lose {regret:.1%} "
        f"against the best.{note}",
        True,
    )


def _refusal(observations: Sequence[Observation], fit: LrCurve | None, untrained: float) -> Verdict | None:
    if not observations:
        return Verdict("no answer", "The budget does not pay for a single short run. Raise it.", False)
    if fit is None:
        lowest = min(seen.lr for seen in observations)
        return Verdict(
            "no answer",
            f"Every rate that was tried diverged, down to {number_text(lowest)}. Lower the start, clip gradients, or "
            "look for what makes the model unstable.",
            False,
        )
    best = min(seen.value for seen in observations if math.isfinite(seen.value))
    if math.isfinite(untrained) and not best < untrained - _LEARNED * abs(untrained):
        return Verdict(
            "no answer",
            f"No rate improved on the untrained model ({untrained:.4g}) within the short runs; the best reached "
            f"{best:.4g}. The horizon may be too short to tell, or the model cannot learn these data.",
            False,
        )
    return None


def _edge(observations: Sequence[Observation]) -> str:
    """Return on which side the best run of the longest horizon lacks a worse neighbour; empty where on none."""
    longest = max(seen.steps for seen in observations)
    rung = [seen for seen in observations if seen.steps == longest]
    sides = [_open_side([seen for seen in rung if seen.seed == seed]) for seed in sorted({seen.seed for seen in rung})]
    return sides[0] if all(sides) else ""


def _open_side(runs: Sequence[Observation]) -> str:
    alive = [seen for seen in runs if math.isfinite(seen.value)]
    if not alive:
        return ""
    best = min(alive, key=lambda seen: seen.value)
    below, above = (any(seen.lr < best.lr for seen in runs), any(seen.lr > best.lr for seen in runs))
    return "" if below and above else "lowest" if above else "highest" if below else "only"
