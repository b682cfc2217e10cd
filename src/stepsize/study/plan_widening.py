"""Whether a better rate may be outside the range, and by how much the range is then widened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stepsize.curves.answer import UNTIL, clearly_worse
from stepsize.curves.lr_model import Point
from stepsize.curves.numerals import number_text
from stepsize.study.plan_ladder import rank
from stepsize.study.space import Range, Space
from stepsize.study.strategy import point_of, sharing
from stepsize.training.runs import Run, Value

_BEYOND = {"lower": "below", "upper": "above"}
_FLAT = 10.0  # ratio of rates that are as good from which the choice hardly matters, as in an answer
_OTHERS = 3  # runs that must be worse on a side where other values vary: one bad configuration says little of its rate


@dataclass(frozen=True)
class Edge:
    """The side of the range on which a better rate may be, and the best run; None if every run diverged."""

    side: Literal["lower", "upper"]
    best: Run | None

    @property
    def reason(self) -> str:
        """Why the range should be wider, as the beginning of a sentence."""
        if self.best is None:
            return "Every run diverged"
        return f"No rate {_BEYOND[self.side]} the best one, {number_text(self.best.trial.lr)}, was clearly worse"


def edge_of(runs: Sequence[Run], space: Space) -> Edge | None:
    """Return on which side of the best run of the longest rung a better rate may be, None if on neither.

    The rule is that of the answer (:func:`~stepsize.curves.answer.clearly_worse`): a side is open while no run there
    was clearly worse than the best, on any rung. If both are open, nothing shows the side; if rates a factor of ten
    apart are as good, the choice hardly matters.
    """
    if rate_range(space) is None or not runs:
        return None
    finite = [run for run in runs if math.isfinite(run.value) and not run.diverged]
    if not finite:
        return Edge("lower", None) if all(run.diverged for run in runs) else None
    longest = max(run.share for run in finite)
    best = min((run for run in finite if run.share == longest), key=rank)
    known = [run for run in runs if not math.isnan(run.value)]
    below, above = _worse_beside(known, best)
    if below == above or _spread(known, best) >= _FLAT:
        return None
    return Edge("lower" if above else "upper", best)


def _worse_beside(runs: Sequence[Run], best: Run) -> tuple[bool, bool]:
    """Return whether enough runs below, and above the best one were clearly worse than the best of their rung."""
    same = sharing(runs, best.trial)
    alone = len({run.trial.lr for run in same}) >= _OTHERS or len(same) == len(runs)
    rungs: dict[float, list[Point]] = {}
    for run in same if alone else runs:
        rungs.setdefault(run.share, []).append(point_of(run))
    worse = [lr for points in rungs.values() for lr in clearly_worse(points, UNTIL)]
    needed = 1 if alone else _OTHERS
    return sum(lr < best.trial.lr for lr in worse) >= needed, sum(lr > best.trial.lr for lr in worse) >= needed


def _spread(runs: Sequence[Run], best: Run) -> float:
    """Return the ratio of the highest to the lowest rate of the longest rung that is as good as the best one."""
    limit = best.value + UNTIL * (abs(best.value) or 1.0)
    good = [run.trial.lr for run in sharing(runs, best.trial) if run.share == best.share and run.value <= limit]
    return max(good) / min(good)


def wider(edge: Edge, runs: Sequence[Run], space: Space) -> Space:
    """Return ``space`` with lr widened beyond ``edge``: by one decade, or by a larger step of a coarse grid."""
    lr = rate_range(space)
    assert lr is not None  # without a range there is no edge
    tried = sorted({run.trial.lr for run in runs})
    if edge.side == "lower":
        gap = tried[1] / lr.low if len(tried) > 1 and math.isclose(tried[0], lr.low) else 1.0
        return space.widened("lr", low=lr.low / max(10.0, gap))
    gap = lr.high / tried[-2] if len(tried) > 1 and math.isclose(tried[-1], lr.high) else 1.0
    return space.widened("lr", high=lr.high * max(10.0, gap))


def moved_out(values: dict[str, Value], space: Space) -> dict[str, Value]:
    """Return a proposal for a widened range, its rate moved from the old part to the same place of the new.

    A grid continues in the new part; other samplers would mostly return to where trials are already.
    """
    lr = rate_range(space)
    assert lr is not None  # only ranges are widened
    old = replace(lr, low=lr.earlier[-1][0], high=lr.earlier[-1][1], earlier=())
    rate = float(values["lr"])
    low, high = (lr.low, old.low) if lr.low < old.low else (old.high, lr.high)
    if not old.low <= rate <= old.high:
        return values
    return values | {"lr": replace(old, low=low, high=high).from_unit(old.to_unit(rate))}


def rate_range(space: Space) -> Range | None:
    """Return the range of lr, None if it is a choice of single rates."""
    return next((one for one in space.dimensions if one.name == "lr" and isinstance(one, Range)), None)


def per_decade(space: Space, trials: int) -> int:
    """Return how many of ``trials`` fall on one decade of lr, at least 1 and at most all."""
    lr = rate_range(space)
    return trials if lr is None else min(trials, math.ceil(trials / math.log10(lr.high / lr.low)))
