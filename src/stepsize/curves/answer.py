"""The answer of every verb that recommends a rate: how good it is, how sure that is, and what to do next."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stepsize.curves.lr_model import LrModel, Point
from stepsize.curves.numerals import number_text, span_text

VerdictCode: TypeAlias = Literal["settled", "flat", "open", "no answer"]

UNTIL = 0.02
"""Excess of the final loss over the best, as a fraction, that counts as equally good by default."""

SURE = 0.9  # probability from which an answer counts as sure
NEAR = 0.25  # decades around the answer within which runs support it
_SUPPORT = 3  # full runs that must be that near
SEEDS = 2  # random seeds that they must have: one seed's luck is no evidence
_FLAT = 10.0  # ratio of the ends of the range from which the choice hardly matters
_LEARNED = 0.01  # fraction of the untrained value that the best run must have gained
_FLAT_WITHIN = 0.05  # tolerance up to which a wide range means that the choice hardly matters
_NOISY = 0.1  # excess beyond which the noise of a run is no excuse
_FAILED = 2.0  # times the best final loss from which a run at a higher rate has failed
_FEW, _LOWER = 3, 0.1  # with fewer full runs, the answer stays so many decades lower: short runs point too high
_BELOW = 0.1  # decades that the answer stays below it
_TIE = 1e-3  # weight of the mean height beside the expected excess
_AS_GOOD = 0.35  # probability of being as good from which a rate belongs to the range


@dataclass(frozen=True)
class Answer:
    """A recommended learning rate and how far it can be trusted.

    Attributes:
        lr: The recommended peak learning rate; None without an answer.
        as_good: The lowest and highest rate that are expected to be as good; None without an answer.
        sure: Probability that the final loss at ``lr`` is within ``tolerance`` of the best.
        excess: Expected final loss at ``lr`` above the best, as a fraction; NaN without an answer.
        tolerance: What "as good" means: ``until``, or the noise of a single run if that is larger, at most 10%.
        noise: Standard deviation of the final loss of a single run over seeds, as a fraction of the best loss.
        verdict: ``"settled"``: as good as the best with a probability of at least 90%. ``"flat"``: settled, and rates a
            factor of ten apart are as good. ``"open"``: the best that is known, but more runs may change it.
            ``"no answer"``: no rate trained the model.
        reason: One sentence with the reason.
        next: What to do now, as one sentence.
    """

    lr: float | None
    as_good: tuple[float, float] | None
    sure: float
    excess: float
    tolerance: float
    noise: float
    verdict: VerdictCode
    reason: str
    next: str

    @property
    def decided(self) -> bool:
        """Whether the search can stop: settled or flat."""
        return self.verdict in ("settled", "flat")

    def __str__(self) -> str:
        verdict = f"{self.verdict.capitalize()}: {self.reason[:1].lower()}{self.reason[1:]}"
        if self.lr is None or self.as_good is None:
            return verdict
        return f"lr {number_text(self.lr)}, as good from {span_text(self.as_good)}. {verdict}"

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain values for ``json.dumps``."""
        return {
            "lr": self.lr,
            "as_good": None if self.as_good is None else list(self.as_good),
            "sure": self.sure,
            "verdict": self.verdict,
            "reason": self.reason,
            "expected_excess": self.excess if math.isfinite(self.excess) else None,
            "tolerance": self.tolerance,
            "noise": self.noise if math.isfinite(self.noise) else None,
            "next": self.next,
        }


def answer_from(model: LrModel, *, until: float = UNTIL, validated: bool = True) -> Answer:
    """Return the rate of least expected loss among those that the runs speak of, and how sure it is.

    Args:
        model: The fitted curve at the full length of training.
        until: Excess of the final loss over the best that counts as equally good, as a fraction.
        validated: Whether validation data selected; if not, the reason says that the training loss did.

    Returns:
        The answer.

    Example:
        >>> from stepsize.curves.lr_model import fit_lr_model
        >>> runs = [Point(10**x, 0.1 + (x + 2) ** 2 / 4) for x in (-3.0, -2.5, -2.0, -1.5, -1.0)]
        >>> found = answer_from(fit_lr_model(runs, usual=1e-2, untrained=2.0))
        >>> 5e-3 < found.lr < 2e-2
        True
    """
    points = model.points
    refusal = _refusal(points, model.untrained)
    if refusal is not None:
        return no_answer(*refusal, until=until)
    tolerance = max(until, min(model.noise, _NOISY))
    longest = max(point.share for point in points)
    full = [point for point in points if point.share == longest]
    at = _lower(model) if longest < 1 or len(full) < _FEW else best_place(model)
    chance = model.chance(tolerance)
    low, high = _around(model.x, np.where(model.x <= _survived(model, full) + 0.026, chance, -1.0), at)
    lr = _rounded(model.x[at])
    sure = float(chance[at]) if longest >= 1 else min(float(chance[at]), 0.5)
    seeds = [point.seed for point in full if abs(math.log10(point.lr / lr)) <= NEAR]
    supported = len(seeds) >= _SUPPORT and len(set(seeds)) >= SEEDS
    below, above = worse_sides(model, lr, tolerance)
    flat = high / low >= _FLAT * 0.95 and tolerance <= max(until, _FLAT_WITHIN)  # the ratio is rounded
    decided = longest >= 1 and sure >= SURE and supported and ((below and above) or flat)
    verdict: VerdictCode = ("flat" if flat else "settled") if decided else "open"
    return Answer(
        lr=lr,
        as_good=(low, high),
        sure=sure,
        excess=float(model.expected[at]),
        tolerance=tolerance,
        noise=model.noise,
        verdict=verdict,
        reason=_reason(verdict, lr, (low, high), sure, tolerance, longest, below, above, until, len(set(seeds)))
        + ("" if validated else " No validation data: the training loss selected, which does not see overfitting."),
        next=_next(verdict, lr, longest),
    )


def best_place(model: LrModel) -> int:
    """Return the index of the rate of least expected excess between the lowest tried and the highest that is safe."""
    longest = max(point.share for point in model.points)
    full = [point for point in model.points if point.share == longest]
    low, high = math.log10(min(point.lr for point in full)), _safe(model, full)
    allowed = (model.x >= min(low, high) - 0.026) & (model.x <= high + 0.026)
    height = model.draws.mean(axis=0) - model.draws.mean()  # decides where every excess is capped
    return int(np.argmin(np.where(allowed, model.expected + _TIE * height, np.inf)))


def _lower(model: LrModel) -> int:
    """Return the index of a rate a little below the best one, but not below the lowest that was tried."""
    x = max(model.x[best_place(model)] - _LOWER, math.log10(min(point.lr for point in model.points)))
    return int(np.abs(model.x - x).argmin())


def _safe(model: LrModel, full: Sequence[Point]) -> float:
    """Return log10 of the highest rate that worked, or a little less than one that failed on some seed."""
    highest = math.log10(max(point.lr for point in model.points if _works(point, model.untrained)))
    return min(highest, _survived(model, full))


def _survived(model: LrModel, full: Sequence[Point]) -> float:
    """Return a little less than log10 of the lowest rate above the best one that failed on some seed."""
    best = min(full, key=lambda point: point.value if _works(point, model.untrained) else math.inf)
    limit = min(model.untrained, _FAILED * best.value) if best.value > 0 else model.untrained
    failed = [p.lr for p in full if p.lr >= best.lr and not _works(p, limit)]
    return min((math.log10(lr) - _BELOW for lr in failed), default=math.inf)


def _around(x: NDArray[np.float64], chance: NDArray[np.float64], at: int) -> tuple[float, float]:
    """Return the rates around ``at`` that are as good with some probability, without a gap."""
    enough = _AS_GOOD * min(1.0, float(chance[at]) / SURE)  # the less sure, the wider
    low = high = at
    while low > 0 and chance[low - 1] >= enough:
        low -= 1
    while high < len(x) - 1 and chance[high + 1] >= enough:
        high += 1
    return _rounded(x[low]), _rounded(x[high])


def _rounded(x: float) -> float:
    """Return 10**x with two digits: no answer is sharper than that."""
    return float(f"{10**x:.1e}")


def _works(point: Point, untrained: float) -> bool:
    return not point.diverged and math.isfinite(point.value) and point.value < untrained


def worse_sides(model: LrModel, lr: float, tolerance: float) -> tuple[bool, bool]:
    """Return whether a lower and a higher rate than ``lr`` are known to be worse, from the longest or shorter runs."""
    longest = max(point.share for point in model.points)
    worse = clearly_worse([point for point in model.points if point.share == longest], tolerance)
    low, high = model.worse
    at = math.log10(lr)
    below, above = any(rate < lr for rate in worse), any(rate > lr for rate in worse)
    return below or -math.inf < low < at, above or at < high < math.inf


def clearly_worse(runs: Sequence[Point], tolerance: float) -> list[float]:
    """Return the rates of which every run, all of one length, ended above the best one by more than the tolerance.

    On a side of the best rate without any, a better rate may lie further out. An unlucky seed does not make a rate
    worse of which another seed is as good as the best.
    """
    reached: dict[float, float] = {}
    for point in runs:
        value = math.inf if point.diverged or math.isnan(point.value) else point.value
        reached[point.lr] = min(value, reached.get(point.lr, math.inf))
    best = min(reached.values(), default=math.inf)
    if math.isinf(best):
        return []
    limit = best + tolerance * (abs(best) or 1.0)
    return [lr for lr, value in reached.items() if value > limit]


def _refusal(points: Sequence[Point], untrained: float) -> tuple[str, str] | None:
    """Return why there is no answer and what to do, or None if there is one."""
    if not points:
        return "No run has finished yet.", "Give it a larger budget."
    values = [point.value for point in points if math.isfinite(point.value) and not point.diverged]
    lowest, highest = (number_text(end([point.lr for point in points])) for end in (min, max))
    if not values:
        return (
            f"Every run diverged, down to lr {lowest}.",
            "Lower the range, clip gradients, or look for what makes the model unstable.",
        )
    best = min(values)
    if best < untrained - _LEARNED * abs(untrained) or (best < untrained and len(values) < 3):
        return None
    return (
        f"No rate from {lowest} to {highest} improved on the loss at initialization ({number_text(untrained, 4)}; best "
        f"run {number_text(best, 4)}).",
        "Train for more steps, or check the data and the loss.",
    )


def no_answer(reason: str, todo: str, *, until: float = UNTIL) -> Answer:
    """Return the answer that there is none."""
    return Answer(None, None, 0.0, math.nan, until, math.nan, "no answer", reason, todo)


def _reason(
    verdict: VerdictCode,
    lr: float,
    as_good: tuple[float, float],
    sure: float,
    tolerance: float,
    longest: float,
    below: bool,
    above: bool,
    until: float,
    seeds: int,
) -> str:
    percent = f"{number_text(100 * tolerance, 2)}%"
    why = "" if tolerance <= until else " (the noise of a single run)"
    if verdict == "flat":
        return f"Any rate from {span_text(as_good)} ends within {percent}{why} of the best loss."
    if verdict == "settled":
        return f"The final loss is within {percent}{why} of the best with a probability of {sure:.0%}."
    if longest < 1:
        return f"Only runs of up to {longest:.0%} of the steps were trained; the best rate of a full run can differ."
    if not below or not above:
        side = "lower" if not below else "higher"
        return f"No {side} rate was clearly worse yet, so the best rate may be {side}."
    if sure >= SURE and seeds < 2:
        return f"Only one random seed was trained near lr {number_text(lr)}, and it may have been lucky."
    return f"The final loss is within {percent}{why} of the best with a probability of {sure:.0%} only."


def _next(verdict: VerdictCode, lr: float, longest: float) -> str:
    if verdict == "open":
        return "Search on with a larger budget to settle it" + (" with full runs." if longest < 1 else ".")
    return f"Train with lr {number_text(lr)}."
