"""Whether the best rate lies at the edge of its range, and by what the range is then widened."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from stepsize.curves.numerals import number_text
from stepsize.study.ceiling import Ceiling
from stepsize.study.plan_ladder import rank
from stepsize.study.space import Range, Space
from stepsize.training.runs import Run, Value

__all__ = ["Edge", "edge_of", "moved_out", "per_decade", "rate_range", "wider"]

_NEAR = 0.05
"""The part of the range, in log lr, that counts as its edge."""

_FAR = 0.25
"""The part beyond which nothing counts as its edge, however few rates were tried."""


@dataclass(frozen=True)
class Edge:
    """The side of the range at which the best rate lies.

    Attributes:
        side: Which.
        best: The best run; None where every training diverged, so that all rates lie too high.
    """

    side: Literal["lower", "upper"]
    best: Run | None

    @property
    def reason(self) -> str:
        """Why the range should be wider, as the beginning of a sentence."""
        if self.best is None:
            return "Every training diverged"
        return f"The best rate, {number_text(self.best.trial.lr)}, lies at the {self.side} edge of its range"


def edge_of(runs: Sequence[Run], space: Space) -> Edge | None:
    """Return at which edge of the range of lr the best run of the longest rung lies, None if at neither.

    At an edge is a rate within 5 % of the range in log lr, or the lowest or highest of all n rates tried if it is
    within 2 / n of the range (at most a quarter): the last of many that are spread over it.

    Args:
        runs: Of all rungs, the diverged ones included.
        space: What they were drawn from.
    """
    lr = rate_range(space)
    if lr is None or not runs:
        return None
    finite = [run for run in runs if math.isfinite(run.value) and not run.diverged]
    if not finite:
        return Edge("lower", None) if all(run.diverged for run in runs) else None
    longest = max(run.share for run in finite)
    best = min((run for run in finite if run.share == longest), key=rank)
    tried = {run.trial.lr for run in runs}
    span = math.log(lr.high / lr.low)
    near = max(_NEAR, min(2 / len(tried), _FAR)) if len(tried) > 2 else _NEAR
    below = math.log(best.trial.lr / lr.low) / span
    if below <= (near if best.trial.lr == min(tried) else _NEAR):
        return Edge("lower", best)
    if 1 - below <= (near if best.trial.lr == max(tried) else _NEAR):
        return Edge("upper", best)
    return None


def wider(edge: Edge, runs: Sequence[Run], space: Space, ceiling: Ceiling | None) -> Space | None:
    """Return ``space`` with more of lr behind ``edge``, None where the ceiling forbids higher rates.

    By one decade; by the gap between the two outermost rates tried where that is larger and the outermost is the very
    end of the range, so that a coarse grid goes on by a point.

    Args:
        edge: The side.
        runs: What led to it.
        space: What they were drawn from.
        ceiling: What was learned of divergence; None where nothing was.
    """
    lr = rate_range(space)
    assert lr is not None  # without a range there is no edge
    tried = sorted({run.trial.lr for run in runs})
    if edge.side == "lower":
        gap = tried[1] / lr.low if len(tried) > 1 and math.isclose(tried[0], lr.low) else 1.0
        return space.widened("lr", low=lr.low / max(10.0, gap))
    assert edge.best is not None  # the upper edge has a best rate
    bound = None if ceiling is None else ceiling.bound(edge.best.trial.values)
    if bound is not None and bound <= lr.high:
        return None
    gap = lr.high / tried[-2] if len(tried) > 1 and math.isclose(tried[-1], lr.high) else 1.0
    return space.widened("lr", high=lr.high * max(10.0, gap))


def moved_out(values: dict[str, Value], space: Space, ceiling: Ceiling | None) -> dict[str, Value]:
    """Return a proposal for a range that was widened, its rate moved from the old part to the same place of the new.

    A grid goes on in the new part by itself; other samplers would mostly return to where trials are already.

    Args:
        values: The proposal.
        space: Where it lies; its rates were widened.
        ceiling: What bounds the new part; None bounds nothing.
    """
    lr = rate_range(space)
    assert lr is not None  # only ranges are widened
    old = replace(lr, low=lr.earlier[-1][0], high=lr.earlier[-1][1], earlier=())
    rate = float(values["lr"])
    low, high = (lr.low, old.low) if lr.low < old.low else (old.high, lr.high)
    bound = None if ceiling is None else ceiling.bound(values)
    high = high if bound is None else min(high, bound)
    if not (old.low <= rate <= old.high and low < high):
        return values
    return values | {"lr": replace(old, low=low, high=high).from_unit(old.to_unit(rate))}


def rate_range(space: Space) -> Range | None:
    """Return the range of lr, None where it is a choice of single rates."""
    return next((one for one in space.dimensions if one.name == "lr" and isinstance(one, Range)), None)


def per_decade(space: Space, trials: int) -> int:
    """Return how many of ``trials`` fall on one decade of lr, at least 1 and at most all."""
    lr = rate_range(space)
    return trials if lr is None else min(trials, math.ceil(trials / math.log10(lr.high / lr.low)))
