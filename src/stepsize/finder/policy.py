"""Which run to make next: pure decisions on what was seen so far. Knows no torch and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, fit_lr_curve

__all__ = ["Policy", "Proposal", "Rung"]

_SURE = 0.004  # expected regret below which more runs would not change the answer
_FEWEST_STEPS = 8  # updates below which a training says nothing about a longer one


@dataclass(frozen=True)
class Rung:
    """A shortened horizon of the plan.

    Attributes:
        share: Its horizon, as a share of the full one.
        spacing: Decades between neighbouring rates.
        spend: The share of the whole budget that may be gone when this rung ends.
    """

    share: float
    spacing: float
    spend: float


@dataclass(frozen=True)
class Proposal:
    """The next run: its horizon in updates and its rate."""

    steps: int
    lr: float


RUNGS = (Rung(1 / 16, 0.5, 0.45), Rung(1 / 4, 0.25, 1.0), Rung(1.0, 0.15, 1.0))


class Policy:
    """Brackets the optimum on short horizons, follows it to longer ones, and carries it to the full one.

    On each rung the rates grow outward from where the optimum is expected, until the best one has a worse
    neighbour on either side (a diverged one counts) or the rung's share of the budget is gone. Then the next rung
    begins, if the budget allows at least two of its runs (one of the last), at finer spacing.

    Args:
        horizon: T, in updates.
        budget: In trainings.
        cost: The cost of a run over a number of updates, in trainings.
        untrained: The judged value before training.
        prior: What is known before the first run.
        rungs: The plan, from short to long.
    """

    def __init__(
        self,
        *,
        horizon: int,
        budget: float,
        cost: Callable[[int], float],
        untrained: float,
        prior: Prior,
        rungs: tuple[Rung, ...] = RUNGS,
    ) -> None:
        self._horizon = horizon
        self._budget = budget
        self._cost = cost
        self.untrained = untrained
        self.prior = prior
        self._rungs = rungs
        self._level = 0
        self.spent = 0.0
        self.observations: list[Observation] = []

    def tell(self, observation: Observation, cost: float) -> None:
        """Take note of a run and of what it cost, in trainings."""
        self.observations.append(observation)
        self.spent += cost

    def curve(self) -> LrCurve:
        """Return the fit to everything seen so far."""
        return fit_lr_curve(self.observations, horizon=self._horizon, untrained=self.untrained, prior=self.prior)

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

    def _sure(self) -> bool:
        if not self.observations:
            return False
        curve = self.curve()
        return curve.expected_regret(curve.best()) < _SURE

    def _within(self, rung: Rung) -> Proposal | None:
        steps = max(min(_FEWEST_STEPS, self._horizon), round(rung.share * self._horizon))
        done = [run for run in self.observations if run.steps == steps]
        price = self._cost(steps)
        if self.spent + price > rung.spend * self._budget + 1e-9:
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
