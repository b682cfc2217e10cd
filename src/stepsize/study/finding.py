"""The whole answer: bracket with a range test, train short, follow the optimum, carry it to the full horizon."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, fit_lr_curve
from stepsize.errors import InputError
from stepsize.optimizers import OPTIMIZERS
from stepsize.probe.on_task import range_test_task
from stepsize.probe.range_test import RangeTest
from stepsize.study.found import Cost, CurveData, Found
from stepsize.study.policy import Policy
from stepsize.study.trust import judge_answer, recommended
from stepsize.training.conditions import Conditions
from stepsize.training.executor import Executor, InOrder
from stepsize.training.population import Population
from stepsize.training.population.gain import CROWD, Gain, known_gain, measure_gain
from stepsize.training.runs import Progress, Run, Setting, Watcher
from stepsize.training.snapshot import Snapshot
from stepsize.training.start import look_at_start
from stepsize.training.task import Task

__all__ = ["find"]

_RANGE_SHARE = 1 / 12  # of the horizon, for the ramp of the range test
_RAMP_STEPS = (20, 100)  # fewer are too noisy to help, more help no further
_PROBE_CALLS = 15  # of the step function, at the critical rate, about
_MOST_FOR_BRACKET = 0.5  # of the budget
_RESERVE = 0.05  # of the budget, for what passes do not count: building models, snapshots, fits
_MEASURING = 20  # updates that it takes to measure what is gained by training rates at once, about
_MOST_FOR_MEASURING = 0.1  # of the budget
_TIMID = 2.0  # a critical rate is an upper bound: begin so many times below it where there is nothing better


def find(
    task: Task,
    budget: float = 1.0,
    *,
    seed: int | None = None,
    executor: Executor | None = None,
    gain: float | None = None,
    watcher: Watcher | None = None,
) -> Found:
    """Recommend a peak learning rate for ``task``, within ``budget`` trainings, judged by unseen data.

    A range test brackets the rate. Then single rates are trained from the same initial weights on the same batches,
    outward from the best until it has worse neighbours: first over T/16 updates, then over the longest horizon of
    which the rest of the budget pays for three runs, each with the task's whole schedule compressed into it. Where
    eight runs at once, as a population, cost about three plain ones or less (that is measured first), crowds of eight
    take the place of single runs. The loss is fitted against log rate over both horizons at once, with the drift of
    the optimum from short to long ones, and the rate of least expected regret at the full horizon T is recommended: on
    the low side of the likely optima, since the high side is a cliff; never above the highest rate that was seen to
    work, nor below what was tried.

    Args:
        task: What to train; without ``val`` the training loss judges, and the verdict says so.
        budget: What may be spent, in trainings (forward and backward passes of one full training with its
            evaluation); less is spent where more would not change the answer.
        seed: Of initial weights, batch order and dropout, shared by all runs; default the task's.
        executor: What trains lists of settings; default one after the other, and crowds as a population.
        gain: How many times cheaper than a plain run each of eight runs at once is, >= 1. Default measures it,
            rounded; ``found.cost.gain`` tells it, and giving that again, where it is above 1, makes the same plan on a
            machine that is busy with something else. 1 trains one rate after the other.
        watcher: Called with the progress of each run.

    Returns:
        The recommendation with its interval, verdict, cost, conditions and curve.

    Raises:
        InputError: If ``budget`` is not positive, or ``gain`` is below 1.
        TaskError: If the parts of the task turn out not to fit together.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = find(build_task("cancer-mlp", optimizer="adamw"), budget=0.4)
        >>> 1e-5 < found.lr < 1e-1, found.cost.trainings <= 0.4, found.restored
        (True, True, True)

    Reference:
        Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization", 2016,
        for short horizons that drop the losers; the joint fit and the carrying are ours.
    """
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not 0 < budget < math.inf:
        raise InputError("budget", budget, "must be a positive number of trainings")
    if gain is not None and (isinstance(gain, bool) or not isinstance(gain, int | float) or not 1 <= gain < math.inf):
        raise InputError("gain", gain, "must be a number of at least 1", "None measures it, 1 trains one by one")
    search = _Search(task, float(budget), task.seed if seed is None else seed, executor, gain, watcher)
    return search.run()


class _Search:
    """One call of :func:`find` while it goes on."""

    def __init__(
        self,
        task: Task,
        budget: float,
        seed: int,
        executor: Executor | None,
        gain: float | None,
        watcher: Watcher | None,
    ) -> None:
        self._task = task
        self._budget = budget
        self._seed = seed
        self._alone = executor or InOrder()
        self._together = executor or Population()
        self._given = 1.0 if executor is not None and gain is None else gain
        self._watcher = watcher
        self._began = time.perf_counter()
        self._runs: list[Run] = []

    def run(self) -> Found:
        world = Snapshot(data=[source for source in (self._task.train, self._task.val) if source is not None])
        try:
            self._start = look_at_start(self._task, self._seed)
            ranged = self._bracket()
            gain = self._gain()
            policy = Policy(
                horizon=self._task.horizon,
                budget=(1 - _RESERVE) * self._budget,
                cost=self._start.costs.run,
                untrained=self._start.judged,
                prior=_prior(self._task, ranged),
                crowd=CROWD,
                gain=gain.factor,
            )
            calls = 0 if ranged is None else ranged.calls
            costs = self._start.costs
            policy.spent = costs.updates(calls) + costs.evaluation() + costs.full_runs(gain.passes)
            self._train(policy)
        finally:
            world.restore()
        intact = ranged is None or ranged.restored
        return self._answer(policy, ranged, gain, restored=intact and world.intact())

    def _bracket(self) -> RangeTest | None:
        """Run the range test, unless it would take most of a small budget."""
        steps = int(min(max(self._task.horizon * _RANGE_SHARE, _RAMP_STEPS[0]), _RAMP_STEPS[1]))
        if self._start.costs.updates(steps + _PROBE_CALLS) > _MOST_FOR_BRACKET * self._budget:
            return None
        return range_test_task(self._task, steps=steps, seed=self._seed, watch=self._range_watch(steps))

    def _range_watch(self, steps: int) -> Callable[[float, float], None] | None:
        if self._watcher is None:
            return None
        watcher, counter = self._watcher, itertools.count(1)
        return lambda lr, loss: watcher(Progress(Setting(lr, self._seed, steps), next(counter), loss, "range test"))

    def _gain(self) -> Gain:
        """Return what is gained by training several rates at once; measured, where that is cheap."""
        if self._given is not None:
            return known_gain(self._given, self._task)
        if _MEASURING / self._task.horizon > _MOST_FOR_MEASURING * self._budget:
            return Gain(1.0, reason="the training is too short to pay for measuring it")
        return measure_gain(self._task, self._seed)

    def _train(self, policy: Policy) -> None:
        while proposals := policy.ask():
            limit = self._start.costs.val_limit
            settings = [
                Setting(proposal.lr, self._seed + proposal.seed, proposal.steps, limit(proposal.steps))
                for proposal in proposals
            ]
            train = self._alone if len(settings) == 1 else self._together
            runs = train(self._task, settings, watcher=self._watcher)
            self._runs += runs
            # A crowd is over when its last member is: one that diverges early makes it cheaper, not free.
            passes = [self._start.costs.full_runs(run.passes) for run in runs]
            price = policy.price(settings[0].steps, len(runs)) / policy.price(settings[0].steps, 1)
            share = min(price * max(passes) / sum(passes), 1.0)
            for proposal, run, cost in zip(proposals, runs, passes, strict=True):
                policy.tell(_observed(self._task, run, proposal.seed), cost * share)

    def _answer(self, policy: Policy, ranged: RangeTest | None, gain: Gain, *, restored: bool) -> Found:
        observations = policy.observations
        fit = policy.curve() if any(math.isfinite(seen.value) for seen in observations) else None
        verdict = judge_answer(observations, fit, policy.untrained, has_val=self._task.val is not None)
        lr = recommended(observations, fit) if fit is not None and verdict.trustworthy else None
        return Found(
            lr=lr,
            interval=None if fit is None or lr is None else _interval(fit, lr),
            verdict=verdict,
            cost=self._cost(policy, gain),
            conditions=Conditions.of(self._task, self._start.batch_size),
            curve=CurveData(tuple(self._runs), tuple(seen.value for seen in observations), fit),
            train_optimum=self._train_optimum(policy) if lr is not None else None,
            regret=None if fit is None or lr is None else fit.expected_regret(lr),
            range_test=ranged,
            restored=restored,
        )

    def _cost(self, policy: Policy, gain: Gain) -> Cost:
        seconds = time.perf_counter() - self._began
        # The longest run tells the price of an update best; a training that was cut short is no measure.
        longest = max(self._runs, key=lambda run: len(run.losses), default=None)
        wall = None
        if longest is not None:
            crowded = sum(run.setting.steps == longest.setting.steps for run in self._runs) >= CROWD
            alone = gain.factor if crowded else 1.0  # the seconds of a member of a crowd are its share of them
            wall = seconds * self._start.costs.full_runs(longest.passes) / (longest.seconds * alone)
        return Cost(policy.spent, wall, seconds, len(self._runs), gain.factor)

    def _train_optimum(self, policy: Policy) -> float | None:
        seen = [
            Observation(
                r.setting.steps, r.setting.lr, r.train_loss, r.divergence is not None, seed=r.setting.seed - self._seed
            )
            for r in self._runs
        ]
        if not any(math.isfinite(run.value) for run in seen):
            return None
        untrained = float(self._runs[0].losses[0])
        fit = fit_lr_curve(seen, horizon=self._task.horizon, untrained=untrained, prior=policy.prior)
        return recommended(seen, fit)


def _observed(task: Task, run: Run, seed: int) -> Observation:
    value = run.judged(task.judge, maximize=task.maximize)
    setting = run.setting
    return Observation(setting.steps, setting.lr, value, run.divergence is not None, run.train_loss, run.val_loss, seed)


def _prior(task: Task, ranged: RangeTest | None) -> Prior:
    if ranged is not None and ranged.lr is not None:
        return Prior(center=math.log10(ranged.lr))
    if ranged is not None and ranged.critical.lr is not None:
        return Prior(center=math.log10(ranged.critical.lr / _TIMID), spread=1.0)
    name = task.optimizer
    default = OPTIMIZERS[name].default_lr if isinstance(name, str) else 1e-3
    return Prior(center=math.log10(default), spread=1.5)


def _interval(fit: LrCurve, lr: float) -> tuple[float, float]:
    low, high = fit.interval()
    return min(low, lr), max(high, lr)
