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
from stepsize.training.runs import Run

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


def wider(edge: Edge, runs: Sequence[Run], space: Space, per_decade: int) -> tuple[Space, list[float]]:
    """Return ``space`` with lr widened beyond ``edge``, and the rates to try there, from the inside outwards.

    It is widened by one decade, or by a larger step of a coarse grid, and gets as many rates as a decade had.
    """
    lr = rate_range(space)
    assert lr is not None  # without a range there is no edge
    below = edge.side == "lower"
    old = lr.low if below else lr.high
    tried = sorted({run.trial.lr for run in runs}, reverse=not below)
    gap = max(tried[1] / old, old / tried[1]) if len(tried) > 1 and math.isclose(tried[0], old) else 1.0
    factor = max(10.0, gap)
    new = old / factor if below else old * factor
    wide = replace(lr, low=new) if below else replace(lr, high=new)
    rates = [float(f"{old * (new / old) ** (step / per_decade):.12g}") for step in range(1, per_decade + 1)]
    return Space(tuple(wide if one is lr else one for one in space.dimensions)), rates


def rate_range(space: Space) -> Range | None:
    """Return the range of lr, None if it is a choice of single rates."""
    return next((one for one in space.dimensions if one.name == "lr" and isinstance(one, Range)), None)


def per_decade(space: Space, trials: int) -> int:
    """Return how many of ``trials`` at equal steps fall on one decade of lr, at least 1 and at most all."""
    lr = rate_range(space)
    return trials if lr is None else min(trials, max(1, round((trials - 1) / math.log10(lr.high / lr.low))))
