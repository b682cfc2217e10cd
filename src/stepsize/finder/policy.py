"""Which run to make next: pure decisions on what was seen so far. Knows no torch and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, expected_drift, fit_lr_curve

__all__ = ["Policy", "Proposal"]

_SCOUT_SHARE = 1 / 16  # of the horizon: the shortest training that still ranks rates
_SCOUT_SPEND = 0.45  # of the budget that may be gone when scouting ends
_SCOUT_SPACING = 0.5  # decades between rates
_FINAL_SPACING = 0.5
_FINAL_RUNS = 3  # a rate and its two neighbours, at the longest horizon that the rest of the budget pays for
_WORTH_IT = 1.5  # times the scouts' horizon below which final runs would tell nothing new
_REFINED = 0.1  # decades from a trained rate within which another run is a repetition
_SURE = 0.004  # expected regret below which more runs would not change the answer
_FEWEST_STEPS = 8  # updates below which a training says nothing about a longer one


@dataclass(frozen=True)
class Proposal:
    """The next run: its horizon in updates and its rate."""

    steps: int
    lr: float


class Policy:
    """Scouts on a short horizon, then brackets the optimum on the longest one that the budget pays for.

    Scouts train for T/16. Then the rest of the budget is divided by three, and that sets the final horizon, up to T. On
    either horizon the rates grow outward from where the optimum is expected, until the best one has a worse
    neighbour on both sides (a diverged one counts) or the money is gone.

    Args:
        horizon: T, in updates.
        budget: In trainings.
        cost: The cost of a run over a number of updates, in trainings.
        untrained: The judged value before training.
        prior: What is known before the first run; needs a center.
    """

    def __init__(
        self, *, horizon: int, budget: float, cost: Callable[[int], float], untrained: float, prior: Prior
    ) -> None:
        self._horizon = horizon
        self._budget = budget
        self._cost = cost
        self._final_steps: int | None = None
        self.untrained = untrained
        self.prior = prior
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
        if self._final_steps is None:
            proposal = self._scout()
            if proposal is not None:
                return proposal
            self._final_steps = self._affordable_steps()
        return self._final(self._final_steps) if self._final_steps else None

    @property
    def _scout_steps(self) -> int:
        return max(min(_FEWEST_STEPS, self._horizon), round(_SCOUT_SHARE * self._horizon))

    def _scout(self) -> Proposal | None:
        steps = self._scout_steps
        rest = (1 - _SCOUT_SPEND) * self._budget
        # A budget that cannot pay for longer runs after them belongs to the scouts altogether.
        longer = rest >= _FINAL_RUNS * self._cost(round(_WORTH_IT * steps))
        if not self._affords(steps, self._budget - rest if longer else self._budget):
            return None
        assert self.prior.center is not None
        x = self._outward(steps, _SCOUT_SPACING) if self.observations else self.prior.center
        return None if x is None else Proposal(steps, 10**x)

    def _affordable_steps(self) -> int:
        """Return the longest horizon of which three runs are affordable (two where that is short), or 0."""
        worth_it = min(self._horizon, round(_WORTH_IT * self._scout_steps))
        for runs in (_FINAL_RUNS, _FINAL_RUNS - 1):
            steps = self._longest((self._budget - self.spent) / runs)
            if steps >= worth_it:
                return steps
        return 0

    def _longest(self, price: float) -> int:
        """Return the most updates that one run can have for ``price``, at most the horizon."""
        low, high = 0, self._horizon
        while low < high:  # bisection: cost rises with steps, but evaluation makes it no plain multiple of them
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._cost(middle) <= price else (low, middle - 1)
        return low

    def _final(self, steps: int) -> Proposal | None:
        if not self.observations or not self._affords(steps):
            return None
        curve = self.curve()
        done = [run for run in self.observations if run.steps == steps]
        if not done:
            there = curve.drift * math.log2(self._horizon / steps)
            return Proposal(steps, curve.quantile(0.5) * 10**there)
        if curve.to_go <= 1 and curve.expected_regret(curve.best()) < _SURE:
            return None
        x = self._outward(steps, _FINAL_SPACING)
        if x is not None:
            return Proposal(steps, 10**x)
        best = curve.best()
        tried = min(abs(math.log10(run.lr / best)) for run in done)
        return Proposal(steps, best) if steps == self._horizon and tried > _REFINED else None

    def _affords(self, steps: int, limit: float | None = None) -> bool:
        return self.spent + self._cost(steps) <= (self._budget if limit is None else limit) + 1e-9

    def _outward(self, steps: int, spacing: float) -> float | None:
        """Return the log10 rate beside the best run of a horizon where a neighbour is missing, or None."""
        done = [run for run in self.observations if run.steps == steps]
        alive = [run for run in done if not run.diverged and math.isfinite(run.value)]
        if not alive:
            elsewhere = len(done) < len(self.observations)  # other horizons say that it cannot be far
            return math.log10(min(run.lr for run in done)) - (spacing if elsewhere else 2 * spacing)
        best = min(alive, key=lambda run: run.value)
        at = math.log10(best.lr)
        if not any(run.lr < best.lr for run in done):  # the cheaper side to be wrong on, and where longer horizons go
            return at - spacing
        return None if any(run.lr > best.lr for run in done) else at + spacing
