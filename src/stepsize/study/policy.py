"""Which run to make next: pure decisions on what was seen so far. Knows no torch and trains nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, expected_drift, fit_lr_curve, rise

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
_CROWD_SPACING = 0.5  # decades between the scouts of a crowd
_CLOSEST, _FARTHEST = 0.1, 0.35  # decades between the rates of a crowd on the final horizon
_BELOW_LOST = 0.8  # of the lowest rate that diverged: the highest with which a longer horizon begins
_TAILS = 0.03  # of the posterior that such a crowd may leave out on either side


@dataclass(frozen=True)
class Proposal:
    """A run to be made: its horizon in updates, its rate, and which of the seeds it has."""

    steps: int
    lr: float
    seed: int = 0


class Policy:
    """Scouts on a short horizon, then brackets the optimum on the longest one that the budget pays for.

    What it asks for at once is trained at once. Where members of a population are cheaper than runs one after the
    other (``gain`` > 1), scouts and final runs are crowds of ``crowd`` rates, and further crowds on the full horizon
    have seeds of their own; else they are single runs, of which each is placed by the ones before.

    Scouts train for T/16. Then the rest of the budget is divided by three, and that sets the final horizon, up to T. On
    either horizon the rates grow outward from where the optimum is expected, until the best one has a worse
    neighbour on both sides (a diverged one counts) or the money is gone.

    Args:
        horizon: T, in updates.
        budget: In trainings.
        cost: The cost of a run over a number of updates, in trainings.
        untrained: The judged value before training.
        prior: What is known before the first run; needs a center.
        crowd: How many rates are trained together.
        gain: How many times cheaper than a plain run each of them is; 1.0 forms no crowds.
    """

    def __init__(
        self,
        *,
        horizon: int,
        budget: float,
        cost: Callable[[int], float],
        untrained: float,
        prior: Prior,
        crowd: int = 1,
        gain: float = 1.0,
    ) -> None:
        self._horizon = horizon
        self._budget = budget
        self._cost = cost
        self._crowd = crowd if gain > 1 else 1
        self._gain = gain
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

    def price(self, steps: int, count: int) -> float:
        """Return what ``count`` runs of ``steps`` updates at once cost, in trainings: whichever way is cheaper."""
        one = self._cost(steps)
        if self._crowd == 1:
            return count * one
        return one * min(count, max(count, self._crowd) / self._gain)

    def ask(self) -> list[Proposal]:
        """Return the next runs, to be trained at once; none when the budget is spent or the answer is sure."""
        if self._final_steps is None:
            proposals = self._scouts()
            if proposals:
                return proposals
            self._final_steps = self._affordable_steps()
        return self._finals(self._final_steps) if self._final_steps else []

    @property
    def _scout_steps(self) -> int:
        return max(min(_FEWEST_STEPS, self._horizon), round(_SCOUT_SHARE * self._horizon))

    def _scouts(self) -> list[Proposal]:
        steps = self._scout_steps
        rest = (1 - _SCOUT_SPEND) * self._budget
        # A budget that cannot pay for longer runs after them belongs to the scouts altogether.
        longer = rest >= _FINAL_RUNS * self._cost(round(_WORTH_IT * steps))
        limit = self._budget - rest if longer else self._budget
        assert self.prior.center is not None
        if not self.observations:
            if self._crowd > 1 and self._affords(steps, limit, self._crowd):
                return self._row(steps, self.prior.center, _CROWD_SPACING)
            return [Proposal(steps, 10**self.prior.center)] if self._affords(steps, limit) else []
        x = self._outward(steps, _SCOUT_SPACING) if self._affords(steps, limit) else None
        return [] if x is None else [Proposal(steps, 10**x)]

    def _affordable_steps(self) -> int:
        """Return the longest horizon of which three runs are affordable (two where that is short), or 0."""
        worth_it = min(self._horizon, round(_WORTH_IT * self._scout_steps))
        if self._crowd > 1:
            steps = self._longest((self._budget - self.spent) * self._gain / self._crowd)
            if steps >= worth_it:
                return steps
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

    def _finals(self, steps: int) -> list[Proposal]:
        if not self.observations or not self._affords(steps):
            return []
        curve = self.curve()
        done = [run for run in self.observations if run.steps == steps]
        if done and curve.to_go <= 1 and curve.expected_regret(curve.best()) < _SURE:
            return []
        if self._crowd > 1 and self._affords(steps, count=self._crowd) and (not done or steps == self._horizon):
            return self._around(curve, steps, seed=len({run.seed for run in done}))
        if not done:
            there = curve.drift * rise(math.log2(self._horizon / steps))
            return [Proposal(steps, min(curve.quantile(0.5) * 10**there, _BELOW_LOST * self._lost))]
        x = self._outward(steps, _FINAL_SPACING)
        if x is not None:
            return [Proposal(steps, 10**x)]
        best = curve.best()
        tried = min(abs(math.log10(run.lr / best)) for run in done)
        return [Proposal(steps, best)] if steps == self._horizon and tried > _REFINED else []

    def _around(self, curve: LrCurve, steps: int, seed: int) -> list[Proposal]:
        """Return a crowd over the rates between which the optimum of a horizon lies."""
        there = curve.drift * rise(math.log2(self._horizon / steps))
        low, high = (math.log10(curve.quantile(share)) + there for share in (_TAILS, 1 - _TAILS))
        spacing = min(max((high - low) / (self._crowd - 1), _CLOSEST), _FARTHEST)
        center = (low + high + spacing) / 2  # of an even number, one more lies below it
        over = center + (self._crowd - 1 - self._crowd // 2) * spacing - math.log10(self._lost)
        return self._row(steps, center - max(0.0, over), spacing, seed)

    @property
    def _lost(self) -> float:
        """The lowest rate that diverged; infinite where none did."""
        return min((run.lr for run in self.observations if run.diverged), default=math.inf)

    def _row(self, steps: int, center: float, spacing: float, seed: int = 0) -> list[Proposal]:
        places = range(-(self._crowd // 2), self._crowd - self._crowd // 2)
        return [Proposal(steps, 10 ** (center + place * spacing), seed) for place in places]

    def _affords(self, steps: int, limit: float | None = None, count: int = 1) -> bool:
        return self.spent + self.price(steps, count) <= (self._budget if limit is None else limit) + 1e-9

    def _outward(self, steps: int, spacing: float) -> float | None:
        """Return the log10 rate beside the best run of a horizon where a neighbour is missing, or None."""
        done = [run for run in self.observations if run.steps == steps and run.seed == 0]
        alive = [run for run in done if not run.diverged and math.isfinite(run.value)]
        if not alive:
            elsewhere = len(done) < len(self.observations)  # other horizons say that it cannot be far
            return math.log10(min(run.lr for run in done)) - (spacing if elsewhere else 2 * spacing)
        best = min(alive, key=lambda run: run.value)
        at = math.log10(best.lr)
        if not any(run.lr < best.lr for run in done):  # the cheaper side to be wrong on, and where longer horizons go
            return at - spacing
        return None if any(run.lr > best.lr for run in done) else at + spacing
