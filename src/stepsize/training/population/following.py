"""A learning rate adapted to the validation loss: a run forks into higher and lower rates, and the best continues."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from stepsize.checks import check_lr, check_whole
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.plain import plain
from stepsize.training.batches import Stream, count_examples
from stepsize.training.border import undisturbed
from stepsize.training.cost import CostModel, update_passes
from stepsize.training.digest import digest
from stepsize.training.forked import ForkedRuns, cooled_down, objective, updated
from stepsize.training.population.vectorized import begin_run
from stepsize.training.runs import Divergence, Progress, Run, Setting, Watcher
from stepsize.training.stepping import rung_factors
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task

_FEWEST = 40  # steps of a run that can be followed
_WIDE = tuple(4.0**power for power in range(-3, 4))  # × the rate given: what the first fork tries
_BEGINNING = 0.03  # of the horizon: length of the first fork
_LEAST = 8  # steps of a fork
_COOLDOWN = 0.5  # of a fork: length of its decay to 0 before it is evaluated
_FORKED = 0.5  # of the way between two decisions
_NARROW, _FAR = 2.0, 16.0  # forks use the first; each win at an end squares it, up to the second
_ROLLBACK = 4.0  # × lower, after a rollback
_AS_GOOD = 0.03  # fraction of the decrease since the last decision that is not worth a move
_FORGOTTEN = 0.5  # fraction of all that was learned; losing it causes a rollback


@dataclass(frozen=True)
class ForkDecision:
    """One decision.

    Attributes:
        step: Step after which it was made.
        tried: Peak rates, ascending, each with its objective after the cooldown (infinite if it diverged).
        lr: Peak rate that the run continues with.
        reason: Reason, as a sentence.
    """

    step: int
    tried: tuple[tuple[float, float], ...]
    lr: float
    reason: str


@dataclass(frozen=True, eq=False)
class Followed:
    """A run whose rate was adapted to the validation loss.

    Attributes:
        run: The run that remained; its passes are those of all forks.
        lrs: Rate of each update, shape (steps,): the peak at that time × the schedule.
        decisions: Decisions, in order.
        cost: Cost in full runs.
    """

    run: Run
    lrs: NDArray[np.float64]
    decisions: tuple[ForkDecision, ...]
    cost: float

    @property
    def lr(self) -> float:
        """The peak rate that it ended with."""
        return self.decisions[-1].lr

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        decisions = [
            {
                "step": one.step,
                "lr": one.lr,
                "reason": one.reason,
                "tried": [{"lr": lr, "value": plain(value)} for lr, value in one.tried],
            }
            for one in self.decisions
        ]
        return {**self.run.to_json(), "lrs": self.lrs.tolist(), "decisions": decisions, "full_runs": self.cost}


@takes_parts
def follow(
    task: Task | Any, lr: float, *, decisions: int = 8, seed: int | None = None, on_progress: Watcher | None = None
) -> Followed:
    """Train ``task`` once, and adapt the rate to the validation loss on the way.

    The run forks into several rates, which continue from the same weights on the same batches. The rate of a copy of
    each fork then decays to 0, since a comparison at full rate prefers rates that are too small. The run continues
    from the fork with the best objective, as it was before the decay. The first fork is wide (1/64 to 64 times
    ``lr``), the others try ½, 1 and 2 times; after two wins in the same direction the next fork is wider. If most of
    what was learned is undone, the run rolls back to the last good weights, at a quarter of the rate. The task's
    schedule multiplies all of this.

    Args:
        task: Task to train. It needs ``val``, on which the rates are selected: report results on a test set.
        lr: Peak rate to begin at, absolute, within a factor of about 100 of a good one.
        decisions: Number of forks after the first.
        seed: Random seed for weight initialization, batch order and dropout. Default: the task's.
        on_progress: Called with a :class:`~stepsize.training.Progress` after each update.

    Returns:
        The run, its rates and the decisions.

    Raises:
        InputError: If the task has no validation data or fewer than 40 steps, or an argument is out of range.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = follow(build_task("cancer-mlp", steps=200), 1e-5)  # a hundredth of what is customary
        >>> found.decisions[0].lr > 1e-4, len(found.lrs), 1.5 < found.cost < 4
        (True, 200, True)

    Reference:
        Jaderberg et al., "Population based training of neural networks", 2017, for the selection of forks; Wu et al.,
        "Understanding short-horizon bias in stochastic meta-optimization", 2018, for the decay before it.
    """
    task = Task.of(task)
    check_lr("lr", lr)
    check_whole("decisions", decisions)
    if task.val is None:
        raise InputError("task", task.name, "must have validation data, which select the rate", "Give the Task its val")
    if task.horizon < _FEWEST:
        raise InputError("task", task.horizon, f"must have at least {_FEWEST} steps to be followed", "Raise its steps")
    setting = Setting(float(lr), task.seed if seed is None else seed, task.horizon)
    with undisturbed(task, setting.seed):
        return _Following(task, setting, on_progress).run(decisions)


@dataclass
class _Good:
    """What a rollback goes back to: the run at the last good decision, its multiple of the rate, its objective."""

    runs: ForkedRuns
    peak: float
    value: float


@final
class _Following:
    """One run while it is followed."""

    def __init__(self, task: Task, setting: Setting, on_progress: Watcher | None) -> None:
        self._began = time.perf_counter()
        self._task = task
        self._setting = setting
        self._on_progress = on_progress
        self._runs, self._peak = begin_run(task, setting), 1.0
        self._initial = digest(dict(self._runs.model(0).state_dict()))
        self._factors = rung_factors(task, setting.steps)
        self._stream = Stream(task.train)
        self._ahead: deque[list[Any]] = deque()  # batches that a cooldown has seen and the run has not
        self._step = 0
        self._losses: list[float] = []
        self._lrs: list[float] = []
        self._decisions: list[ForkDecision] = []
        self._worked = 0  # updates, of all forks
        self._evaluated = 0  # times
        self._examples = 0  # of the last batch
        self._untrained = self._objective(self._runs)
        self._good = _Good(self._runs.forked([0]), 1.0, self._untrained)

    def run(self, decisions: int) -> Followed:
        """Train to the end."""
        ratio, before = _NARROW, 0
        for number, (forked, alone) in enumerate(_stages(self._setting.steps, decisions)):
            wide = number == 0
            side = self._decide(_WIDE if wide else (1 / ratio, 1.0, ratio), forked, wide=wide)
            # A second win in the same direction: the good rate is far, and doubling would take all the run.
            ratio = min(ratio**2, _FAR) if side and side == before else _NARROW
            before = side
            if alone and not np.isfinite(self._train(self._runs, [self._peak], alone)).all():
                self._roll_back("The run diverged", ())
        return self._followed()

    def _decide(self, tried: Sequence[float], steps: int, *, wide: bool) -> int:
        """Fork, evaluate, continue with the best; return whether that is higher (1), lower (-1) or neither (0)."""
        peaks = [self._peak * times for times in tried]
        forks = self._runs.forked([0] * len(tried))
        losses = self._train(forks, peaks, steps)
        values = self._cooled_down(forks, peaks, losses)
        rates = [self._setting.lr * peak for peak in peaks]
        place = _lower(values, self._good.value) if wide else _chosen(values, self._good.value)
        self._write(losses[:, place], rates[place])
        if not values[place] < self._untrained - _FORGOTTEN * (self._untrained - self._good.value):
            what = "All forks diverged" if math.isinf(values[place]) else "What was learned is mostly undone"
            self._roll_back(what, _paired(rates, values))
            return 0
        self._runs, self._peak = forks.forked([place]), peaks[place]
        self._good = _Good(self._runs.forked([0]), self._peak, values[place])
        reason = _reason(rates, values, place)
        self._decisions.append(ForkDecision(self._step, _paired(rates, values), rates[place], reason))
        return 0 if wide else place - len(tried) // 2

    def _roll_back(self, what: str, tried: tuple[tuple[float, float], ...]) -> None:
        """Go back to the weights of the last good decision, at a lower rate."""
        self._peak = self._good.peak = self._good.peak / _ROLLBACK
        self._runs = self._good.runs.forked([0])
        lr = self._setting.lr * self._peak
        reason = f"{what}: rolled back to the last good decision, at lr {number_text(lr)}."
        self._decisions.append(ForkDecision(self._step, tried, lr, reason))

    def _train(self, runs: ForkedRuns, peaks: Sequence[float], steps: int) -> NDArray[np.float64]:
        """Continue along the schedule; write down what a single run does."""
        losses = updated(runs, self._reported(steps), self._factors[self._step : self._step + steps], peaks)
        self._worked += steps * runs.size
        self._step += steps
        if runs.size == 1:
            self._write(losses[:, 0], self._setting.lr * peaks[0])
        return losses

    def _cooled_down(self, forks: ForkedRuns, peaks: Sequence[float], losses: NDArray[np.float64]) -> list[float]:
        """Return the objective of each fork after a decay to 0, on a copy and on the batches that come next."""
        length = max(_LEAST // 2, round(_COOLDOWN * len(losses)))
        held = [self._next() for _ in range(length)]
        level = self._factors[min(self._step, self._setting.steps) - 1]
        values = cooled_down(
            self._task, forks, held, [level * (1 - (number + 1) / (length + 1)) for number in range(length)], peaks
        )
        self._ahead.extendleft(reversed(held))
        self._worked += length * forks.size
        self._evaluated += sum(math.isfinite(value) for value in values)
        return values

    def _objective(self, runs: ForkedRuns) -> float:
        self._evaluated += 1
        return objective(self._task, runs, 0, self._step)

    def _next(self) -> list[Any]:
        if self._ahead:
            return self._ahead.popleft()
        batches = self._stream.take(self._task.accumulate)
        self._examples = self._examples or count_examples(batches[0])
        return batches

    def _reported(self, steps: int) -> Iterator[list[Any]]:
        """Yield the batches of the next updates, and report each update when the next is asked for."""
        for step in range(self._step + 1, self._step + steps + 1):
            yield self._next()
            if self._on_progress is not None:
                self._on_progress(Progress(self._setting, step, None))

    def _write(self, losses: NDArray[np.float64], lr: float) -> None:
        self._losses += losses.tolist()
        begin = len(self._lrs)
        self._lrs += [lr * factor for factor in self._factors[begin : begin + len(losses)]]

    def _followed(self) -> Followed:
        done = self._runs.evaluate(self._task, 0, self._setting.steps)
        loss = done.evaluation.loss
        diverged = None if math.isfinite(loss) else Divergence(self._step, f"the validation loss is {loss}")
        costs = CostModel(self._setting.steps, self._task.accumulate, max(1, self._examples), done.examples)
        run = Run(
            setting=self._setting,
            losses=np.asarray(self._losses),
            evaluations=(done.evaluation,) if diverged is None else (),
            divergence=diverged,
            seconds=time.perf_counter() - self._began,
            passes=update_passes(self._worked * self._task.accumulate)
            + (self._evaluated + 1) * done.examples / max(1, self._examples),
            initial=self._initial,
            model=self._runs.model(0),
        )
        run = run.with_objective(self._task.objective, maximize=self._task.maximize)
        return Followed(run, np.asarray(self._lrs), tuple(self._decisions), costs.full_runs(run.passes))


def _lower(values: Sequence[float], before: float) -> int:
    """Return the place below the lowest one that is as good as the best: short runs prefer rates that are too high.

    If only the highest is as good as itself, its place: the good rate may be higher still.
    """
    limit = min(values) + _AS_GOOD * max(0.0, before - min(values))
    lowest = next(place for place, value in enumerate(values) if value <= limit)
    return lowest if lowest == len(values) - 1 else max(0, lowest - 1)


def _chosen(values: Sequence[float], before: float) -> int:
    """Return the place of the best one, or the middle if that is as good, so that noise does not move the rate.

    As good is what decreased almost as much as the best one since the last decision.
    """
    best, middle = min(values), len(values) // 2
    as_good = values[middle] <= best + _AS_GOOD * max(0.0, before - best)
    return middle if as_good else values.index(best)


def _stages(steps: int, decisions: int) -> Iterator[tuple[int, int]]:
    """Yield for each stage the number of steps that are forked and that are not; together they are ``steps``."""
    first = max(_LEAST, round(_BEGINNING * steps))
    yield first, 0
    left = steps - first
    count = max(1, min(decisions, left // (2 * _LEAST)))
    for number in range(count):
        length = left * (number + 1) // count - left * number // count
        forked = max(1, round(_FORKED * length))
        yield forked, length - forked


def _paired(rates: Sequence[float], values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    return tuple(sorted(zip(rates, values, strict=True)))


def _reason(rates: Sequence[float], values: Sequence[float], place: int) -> str:
    """Say why ``place`` was chosen: it is the best, or a lower or unchanged rate was preferred to the best."""
    chosen = f"lr {number_text(rates[place])}"
    reached, best = number_text(values[place]), values.index(min(values))
    if values[place] > values[best]:
        rival = f"lr {number_text(rates[best])} reached {number_text(values[best])}"
        wide = len(values) == len(_WIDE)
        why = "but so short a fork prefers rates that are too high" if wide else "too little to move for"
        return f"{chosen} was chosen, {reached} after a cooldown; {rival}, {why}."
    second = min(value for index, value in enumerate(values) if index != place)
    how = "the others diverged" if math.isinf(second) else f"the second best reached {number_text(second)}"
    return f"{chosen} was best after a cooldown, {reached}; {how}."
