"""Which run to make next: pure decisions on what was seen so far. Knows no torch and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, expected_drift, fit_lr_curve

__all__ = ["Policy", "Proposal", "Rung", "plan"]

_SURE = 0.004  # expected regret below which more runs would not change the answer
_FEWEST_STEPS = 8  # updates below which a training says nothing about a longer one


@dataclass(frozen=True)
class Rung:
    """A shortened horizon of the plan: its share of the full one, and the decades between neighbouring rates."""

    share: float
    spacing: float


@dataclass(frozen=True)
class Proposal:
    """The next run: its horizon in updates and its rate."""

    steps: int
    lr: float


_SCOUT = Rung(1 / 16, 0.5)
_LONGER = (Rung(1 / 8, 0.3), Rung(1 / 4, 0.3), Rung(1 / 2, 0.3), Rung(1.0, 0.3))
_PAIR = 2  # runs that a rung needs at least: one alone says nothing about the place of its optimum
_TOP_BUDGET = 0.72  # of the budget that a pair on the longest rung may take; the rest finds out where to put it


def plan(budget: float, cost: Callable[[float], float]) -> tuple[Rung, ...]:
    """Return the rungs that ``budget`` trainings pay for, ``cost`` being that of a run over a share of the horizon.

    The longest rung is the longest of which a pair of runs takes no more than 72 % of the budget. T/16 scouts for
    it, and T/4 lies between where the longest is longer than that.
    """
    affordable = [rung for rung in _LONGER if _PAIR * cost(rung.share) <= _TOP_BUDGET * budget]
    if not affordable:
        return (_SCOUT,)
    between = [rung for rung in _LONGER if rung.share == 1 / 4 and affordable[-1].share > 1 / 4]
    return (_SCOUT, *between, affordable[-1])


class Policy:
    """Brackets the optimum on short horizons, follows it to longer ones, and carries it to the full one.

    On each rung the rates grow outward from where the optimum is expected, until the best one has a worse
    neighbour on either side (a diverged one counts), or the next run would not leave the longer rungs a pair each.

    Args:
        horizon: T, in updates.
        budget: In trainings.
        cost: The cost of a run over a number of updates, in trainings.
        untrained: The judged value before training.
        prior: What is known before the first run; needs a center.
        rungs: The plan, from short to long; default what the budget pays for.
    """

    def __init__(
        self,
        *,
        horizon: int,
        budget: float,
        cost: Callable[[int], float],
        untrained: float,
        prior: Prior,
        rungs: tuple[Rung, ...] | None = None,
    ) -> None:
        self._horizon = horizon
        self._budget = budget
        self._cost = cost
        self.untrained = untrained
        self.prior = prior
        self._rungs = plan(budget, lambda share: cost(self._steps(share))) if rungs is None else rungs
        self._level = 0
        self.spent = 0.0
        self.observations: list[Observation] = []

    def tell(self, observation: Observation, cost: float) -> None:
        """Take note of a run and of what it cost, in trainings."""
        self.observations.append(observation)
        self.spent += cost

    def curve(self) -> LrCurve:
        """Return the fit to everything seen so far."""
        prior = replace(self.prior, drift=expected_drift(self.observations))
        return fit_lr_curve(self.observations, horizon=self._horizon, untrained=self.untrained, prior=prior)

    def ask(self) -> Proposal | None:
        """Return the next run, or None when the budget is spent or the answer is sure."""
        while self._level < len(self._rungs):
            proposal = self._within(self._rungs[self._level])
            if proposal is not None:
                return proposal
            self._level += 1
            if self._level < len(self._rungs) and self._sure():
                return None
        return None

    def _steps(self, share: float) -> int:
        return max(min(_FEWEST_STEPS, self._horizon), round(share * self._horizon))

    def _sure(self) -> bool:
        if not self.observations:
            return False
        curve = self.curve()
        return curve.expected_regret(curve.best()) < _SURE

    def _within(self, rung: Rung) -> Proposal | None:
        steps = self._steps(rung.share)
        done = [run for run in self.observations if run.steps == steps]
        kept_back = sum(_PAIR * self._cost(self._steps(longer.share)) for longer in self._rungs[self._level + 1 :])
        if self.spent + self._cost(steps) + kept_back > self._budget + 1e-9:
            return None
        if not done:
            return Proposal(steps, self._first(steps))
        x = self._outward(done, rung.spacing)
        return None if x is None else Proposal(steps, 10**x)

    def _first(self, steps: int) -> float:
        if not self.observations:
            assert self.prior.center is not None
            return 10**self.prior.center
        curve = self.curve()
        return curve.quantile(0.5) * 10 ** (curve.drift * math.log2(self._horizon / steps))

    @staticmethod
    def _outward(done: list[Observation], spacing: float) -> float | None:
        """Return the log10 rate beside the best run of a rung where a neighbour is missing, or None."""
        alive = [run for run in done if not run.diverged and math.isfinite(run.value)]
        if not alive:
            return math.log10(min(run.lr for run in done)) - 2 * spacing
        best = min(alive, key=lambda run: run.value)
        at = math.log10(best.lr)
        below = any(run.lr < best.lr for run in done)
        above = any(run.lr > best.lr for run in done)
        if not below:  # the cheaper side to be wrong on, and where longer horizons go
            return at - spacing
        return None if above else at + spacing
