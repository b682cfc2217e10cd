"""The strategy of `find`: short runs to locate the rate, then full runs and repeats until the answer is sure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stepsize.curves.answer import NEAR, SEEDS, SURE, UNTIL, Answer, answer_from, best_place, worse_sides
from stepsize.curves.lr_model import LrModel, fit_lr_model
from stepsize.curves.lr_prior import Prior
from stepsize.study.strategy import Job, point_of
from stepsize.training.cost import CostModel
from stepsize.training.runs import Run, Trial

_ROUNDING = 1e-9  # of a budget


@dataclass(frozen=True)
class Recipe:
    """How `find` spends its budget; the evidence is in ``docs/benchmarks.md`` (regret against cost).

    Attributes:
        short: Lengths of the first runs as fractions of the full horizon, longest first; the longest of which
            ``short_runs`` are affordable and which is long enough is taken.
        short_runs: Number of short runs.
        short_spend: What they cost together at most, in full runs.
        fewest_steps: Steps below which a run says nothing about a longer one.
        middle: Lengths of what is trained when no full run is affordable, longest first.
        apart: Decades between short runs at least.
        distinct: Decades between full runs of one seed at least; a closer one is trained on another seed.
        spread: Decades between the very first runs, until the best of them has a worse one on either side.
        stride: Decades beyond the runs of its length where the next one may lie.
        greedy: Full runs up to which the next one is at the present answer, if no full run is near it.
        beside: Decades from a run within which another one is "near" for that.
        batch: Full runs that are asked for together, once there are as many.
    """

    short: tuple[float, ...] = (0.24, 0.12, 0.06)  # four of a quarter would cost a little more than one full run
    short_runs: int = 4
    short_spend: float = 1.1
    fewest_steps: int = 12
    middle: tuple[float, ...] = (0.48, 0.24, 0.12, 0.06)
    apart: float = 0.25
    distinct: float = 0.08
    spread: float = 0.85
    stride: float = 0.75
    greedy: int = 5
    beside: float = 0.12
    batch: int = 3


@dataclass(frozen=True)
class Question:
    """What a search is to answer: facts of the task, and when an answer is good enough.

    Attributes:
        usual: The rate that people start from with this optimizer, absolute.
        untrained: Objective value of the untrained model.
        costs: What runs of the task cost.
        family: Optimizer family in the record of curves; "" if unknown.
        parameters: Number of parameters of the model; 0 if unknown.
        until: Excess of the final loss over the best that counts as equally good, as a fraction.
        validated: Whether validation data select.
        budget: In full runs, if it is known before; the plan depends on it only below two full runs.
        prior: What is known before any run; None for the shipped record.
        first: Rate of the first run, absolute; None for ``usual``.
    """

    usual: float
    untrained: float
    costs: CostModel
    family: str = ""
    parameters: float = 0.0
    until: float = UNTIL
    validated: bool = True
    budget: float = math.inf
    prior: Prior | None = None
    first: float | None = None


class UntilSure:
    """Asks for runs until the answer is sure.

    Short runs locate the rate, then full runs follow: the first ones at the rate that seems best, further ones each
    at the best rate of a curve that is drawn from the posterior (Thompson sampling). These come in groups, each on a
    new seed, so that rates are compared on one seed and the comparison is repeated on others. An answer that is
    sure asks for what it lacks to be settled: a second seed, or a worse rate on either side. It stops when the answer
    is settled or flat. The runs that it asks for follow from the seed and what was told, never from a clock; a larger
    budget only follows the same plan further, but below two full runs, where the budget decides how long the runs are.

    Args:
        question: What is to be answered.
        seed: Random seed of the first runs; further runs have the seeds after it.
        recipe: How the budget is spent.

    Reference:
        Thompson, "On the likelihood that one unknown probability exceeds another", 1933; Chapelle and Li, "An
        empirical evaluation of Thompson sampling", NeurIPS 2011.
    """

    notes: Sequence[str] = ()

    def __init__(self, question: Question, *, seed: int = 0, recipe: Recipe | None = None) -> None:
        self.question = question
        self._seed = seed
        self._recipe = recipe or Recipe()
        self._runs: list[Run] = []
        self._queue: list[Job] = []
        self._running: dict[tuple[int, float, int], Job] = {}
        self._asked = 0
        self._answer: Answer | None = None
        self._finished = False

    @property
    def answer(self) -> Answer:
        """The answer to what was told so far."""
        if self._answer is None:
            self._answer = answer_from(self.model(), until=self.question.until, validated=self.question.validated)
        return self._answer

    def model(self, share: float = 1.0) -> LrModel:
        """Return the fitted curve for runs of length ``share``."""
        question = self.question
        return fit_lr_model(
            [point_of(run) for run in self._runs],
            usual=question.usual,
            untrained=self._untrained(),
            family=question.family,
            size=(question.costs.horizon, question.parameters) if question.parameters else None,
            share=share,
            prior=question.prior,
            seed=self._asked,
        )

    def _untrained(self) -> float:
        """Return the value of the untrained model; if it is not finite, the worst that a run came to."""
        if math.isfinite(self.question.untrained):
            return self.question.untrained
        return max((run.value for run in self._runs if math.isfinite(run.value)), default=1.0)

    def ask(self) -> Job | None:
        """Return the next run; None while a group of runs is under way, or at the end."""
        if not self._queue and not self._running and not self._finished:
            self._plan()
        if not self._queue:
            return None
        job = self._queue.pop(0)
        self._running[job.key] = job
        return job

    def tell(self, run: Run) -> None:
        """Take what came of a run."""
        self._running.pop(run.key, None)
        self._runs.append(run)
        self._answer = None

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:  # noqa: ARG002  the plan makes them again
        """Follow the plan as far as it was followed; runs of another plan count as evidence."""
        known = {run.key: run for run in runs}
        while known and not self._finished:
            self._plan()
            there = [job for job in self._queue if job.key in known and known[job.key].lr == job.trial.lr]
            for run in [known.pop(job.key) for job in there]:
                self.tell(run)
            self._queue = [job for job in self._queue if job not in there]
            if self._queue:
                break
        for run in known.values():
            self.tell(run)

    def remaining(self) -> int:
        """Return the runs under way: how many are needed beyond them is not known."""
        return len(self._queue) + len(self._running)

    @property
    def done(self) -> bool:
        """Whether the answer is sure."""
        if not self._queue and not self._running and not self._finished:
            self._finished = bool(self._full()) and self.answer.decided
        return self._finished

    def _plan(self) -> None:
        """Decide the next group of runs."""
        if self.done:
            return
        share = self._next_share()
        count = self._recipe.batch if share == 1.0 and len(self._full()) >= self._recipe.batch else 1
        model = self.model(share)
        draw = np.random.default_rng([self._seed, self._asked])
        fresh = 1 + max((run.seed for run in self._full()), default=self._seed)
        for _ in range(count):
            x, seed = self._place(model, share, draw, fresh)
            self._queue.append(Job(Trial(self._asked, {"lr": float(10**x)}), share, seed))
            self._asked += 1

    def _full(self) -> list[Run]:
        return [run for run in self._runs if run.share == 1.0]

    def _cost(self, share: float) -> float:
        costs = self.question.costs
        return costs.run(max(1, round(share * costs.horizon)))

    def _long_enough(self, share: float) -> bool:
        return share * self.question.costs.horizon >= self._recipe.fewest_steps

    def _next_share(self) -> float:
        """Return the length of the next run: short ones first, full ones then, in between if none is affordable."""
        recipe, budget = self._recipe, self.question.budget
        spent = math.fsum(run.cost for run in self._runs)
        if self._full():
            return 1.0
        short = self._short()
        if short is not None and sum(run.share == short for run in self._runs) < recipe.short_runs:
            return short
        if spent + 1.0 <= budget + _ROUNDING:
            return 1.0
        left = [s for s in recipe.middle if self._long_enough(s) and spent + self._cost(s) <= budget + _ROUNDING]
        return left[0] if left else short or 1.0

    def _short(self) -> float | None:
        """Return the length of the short runs; None if the horizon is too short for any."""
        recipe = self._recipe
        limit = min(recipe.short_spend, self.question.budget) / recipe.short_runs + _ROUNDING
        usable = [share for share in recipe.short if self._long_enough(share)]
        return next((share for share in usable if self._cost(share) <= limit), usable[-1] if usable else None)

    def _place(self, model: LrModel, share: float, draw: np.random.Generator, fresh: int) -> tuple[float, int]:
        """Return log10 of the rate, and the seed, of the next run of length ``share``; a new seed is ``fresh``."""
        recipe = self._recipe
        if not self._runs and not self._queue:
            return math.log10(self.question.first or self.question.usual), self._seed
        same = [*self._tried(share)]
        if len(same) < recipe.short_runs and len(same) == len(self._runs):
            return self._outward(model, same), self._seed
        first = len(same) < recipe.greedy
        low, high = self._window(share) if first else self._reach(same)
        apart = recipe.distinct if share == 1.0 else recipe.apart
        if not first and (missing := self._missing(model)) is not None:
            return missing
        best = self._greedy(model, share) if first and not self._queue else None
        if best is not None and low <= best <= high:
            return best, self._seed
        drawn = model.optima[draw.permutation(len(model.optima))]
        inside = drawn[(drawn > low) & (drawn < high)]
        places = inside if len(inside) else np.clip(drawn, low, high)
        seeds = [self._seed if first or share < 1.0 else fresh]
        if share == 1.0:
            seeds.append(fresh + len(self._queue))  # if runs of the first one are near all places
        for seed in seeds:
            for x in places:
                if all(s != seed or abs(tried - x) >= apart for tried, s in same):
                    return float(x), seed
        return self._widest_gap(low, high), self._seed

    def _outward(self, model: LrModel, same: Sequence[tuple[float, int]]) -> float:
        """Return log10 of the rate of one of the very first runs.

        First both sides of the first one, the more promising one first; then outward from the best run until both of
        its sides are worse; then the wider gap beside it is halved.
        """
        spread, first = self._recipe.spread, math.log10(self._runs[0].lr)
        tried = [x for x, _ in same]
        low, high = self._window(self._runs[0].share, spread)
        sides = [first - spread, first + spread] if len(same) < 3 and not self._runs[0].diverged else [low, high]
        missing = [x for x in sides if all(abs(x - other) > _ROUNDING for other in tried)]
        if missing:
            return min(missing, key=lambda x: float(np.interp(x, model.x, model.expected)))
        at = math.log10(self._best(self._runs).lr)
        return (low + at) / 2 if at - low >= high - at else (at + high) / 2

    def _best(self, runs: Sequence[Run]) -> Run:
        return min(runs, key=lambda run: (run.diverged, run.value))

    def _reach(self, same: Sequence[tuple[float, int]]) -> tuple[float, float]:
        """Return log10 of the rates between which the next run may lie: not far beyond those of its length."""
        places = [x for x, _ in same]
        return min(places) - self._recipe.stride, max(places) + self._recipe.stride

    def _window(self, share: float, stride: float | None = None) -> tuple[float, float]:
        """Return log10 of the rates beside the best run: while there are few runs, the next one lies between them."""
        runs = [run for run in self._runs if run.share == share] or self._runs
        best, stride = self._best(runs), self._recipe.stride if stride is None else stride
        at = math.log10(best.lr)
        if best.diverged or not best.value < self.question.untrained:
            return at - 2 * stride, at if best.diverged else at + 2 * stride
        below = [x for run in runs if (x := math.log10(run.lr)) < at]
        above = [x for run in runs if (x := math.log10(run.lr)) > at]
        return max(below, default=at - stride), min(above, default=at + stride)

    def _widest_gap(self, low: float, high: float) -> float:
        """Return the middle of the widest gap between the rates tried from ``low`` to ``high``."""
        places = sorted({low, high, *(x for run in self._runs if low < (x := math.log10(run.lr)) < high)})
        gap = max(range(len(places) - 1), key=lambda at: places[at + 1] - places[at])
        return (places[gap] + places[gap + 1]) / 2

    def _missing(self, model: LrModel) -> tuple[float, int] | None:
        """Return log10 of the rate, and the seed, of the run that a sure answer lacks to be settled; None if none.

        That is the answer on a second seed, or a rate beyond the range that is as good, on the side where nothing
        worse was seen.
        """
        answer = self.answer
        if answer.lr is None or answer.as_good is None or self._queue or answer.sure < SURE or answer.decided:
            return None
        at = math.log10(answer.lr)
        seeds = {seed for x, seed in self._tried(1.0) if abs(x - at) <= NEAR}
        if len(seeds) < SEEDS:
            return at, max(seeds, default=self._seed) + 1
        places = [x for x, _ in self._tried(1.0)]
        low, high = (math.log10(end) for end in answer.as_good)
        below, above = worse_sides(model, answer.lr, answer.tolerance)
        if not below:
            return min(low, *places) - NEAR, self._seed
        if not above:
            return max(high, *places) + NEAR, self._seed
        return None

    def _greedy(self, model: LrModel, share: float) -> float | None:
        """Return log10 of the rate that seems best, unless a run of that length is near it already."""
        tried = [x for x, _ in self._tried(share)]
        if share == 1.0:
            if self.answer.lr is None:
                return None
            x, near = float(model.x[best_place(model)]), self._recipe.beside
        else:
            x, near = float(model.x[model.expected.argmin()]), self._recipe.apart
        return x if all(abs(other - x) > near for other in tried) else None

    def _tried(self, share: float) -> Iterator[tuple[float, int]]:
        """Yield log10 of the rate, and the seed, of each run of a length that was told or asked for."""
        for run in self._runs:
            if run.share == share:
                yield math.log10(run.lr), run.seed
        for job in (*self._queue, *self._running.values()):
            if job.share == share:
                yield math.log10(job.trial.lr), job.seed
