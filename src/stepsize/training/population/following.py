"""Rates that follow unseen data: a training forks into higher and lower rates, and goes on with what judges best."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.training.batches import Stream, count_examples
from stepsize.training.border import undisturbed
from stepsize.training.cost import update_passes
from stepsize.training.evaluate import evaluate
from stepsize.training.population.crowd import Crowd, begin_crowd
from stepsize.training.rng import RngState
from stepsize.training.runs import Divergence, Progress, Run, Setting, Watcher
from stepsize.training.stepping import rung_factors
from stepsize.training.task import Task

__all__ = ["Decision", "Followed", "follow"]

_FEWEST = 40  # updates of a training that can be followed
_WIDE = tuple(4.0**power for power in range(-3, 4))  # times the rate given: what the first fork tries
_BEGINNING = 0.03  # of the horizon: how long it tries
_LEAST = 8  # updates of a fork
_COOLDOWN = 0.5  # of a fork: how long its rates fall to 0 before they are judged
_FORKED = 0.5  # of the way between two decisions
_NARROW, _FAR = 2.0, 16.0  # forks go by the first; each edge that wins squares it, up to the second
_RETREAT = 4.0  # times lower, where the training was lost
_AS_GOOD = 0.03  # share of the gain since the last decision that is not worth moving for
_FORGOTTEN = 0.5  # share of all that was learned whose loss makes it go back


@dataclass(frozen=True)
class Decision:
    """One decision.

    Attributes:
        step: The update after which it was made.
        tried: Peak rates, ascending, and what each was judged after its cooldown; infinite where it diverged.
        lr: The peak rate that the training goes on with.
        reason: Why, as a sentence.
    """

    step: int
    tried: tuple[tuple[float, float], ...]
    lr: float
    reason: str


@dataclass(frozen=True, eq=False)
class Followed:
    """A training whose rate followed unseen data.

    Attributes:
        run: The training that remained; its passes are those of all forks.
        lrs: The rate of each update, shape (steps,): the peak of the moment times the schedule.
        decisions: The decisions.
        cost: In trainings.
    """

    run: Run
    lrs: NDArray[np.float64]
    decisions: tuple[Decision, ...]
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
                "tried": [{"lr": lr, "value": value if math.isfinite(value) else None} for lr, value in one.tried],
            }
            for one in self.decisions
        ]
        return {**self.run.to_json(), "lrs": self.lrs.tolist(), "decisions": decisions, "trainings": self.cost}


def follow(
    task: Task, lr: float, *, decisions: int = 8, seed: int | None = None, watcher: Watcher | None = None
) -> Followed:
    """Train ``task`` once, and let the rate follow unseen data on the way.

    The training forks into several rates, which go on from the same weights on the same batches. Each fork is then
    cooled down, its rate falling to 0, on a copy that is thrown away: what counts is how good the weights are once the
    noise of the rate is out of them, since one-step greed chooses rates that are too small. The training goes on from
    the fork that is judged best, as it was before the cooldown. The first fork is wide (from 1/64 to 64 times ``lr``),
    the others try ½, 1 and 2 times; when an edge wins, the next fork reaches further. Where what was learned is lost,
    it goes back to the last good weights, at a quarter of the rate. The task's schedule multiplies all of this.

    Args:
        task: What to train; it needs ``val``, which chooses: judge the result by data that it has not seen.
        lr: The peak rate to begin at, absolute; within a factor of 100 or so of a good one.
        decisions: How many forks there are after the first one.
        seed: Of weights, batch order and dropout; default the task's.
        watcher: Called with the progress of the training.

    Returns:
        The training, its rates and the decisions.

    Raises:
        InputError: If the task has no unseen data, is shorter than 40 updates, or an argument is out of range.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = follow(build_task("cancer-mlp", steps=200), 1e-5)  # a hundredth of what is customary
        >>> found.decisions[0].lr > 1e-4, len(found.lrs), 1.5 < found.cost < 4
        (True, 200, True)

    Reference:
        Jaderberg et al., "Population based training of neural networks", 2017, for forks that are judged; Wu et al.,
        "Understanding short-horizon bias in stochastic meta-optimization", 2018, for why they are cooled down first.
    """
    if isinstance(lr, bool) or not isinstance(lr, int | float) or not 0 < lr < math.inf:
        raise InputError("lr", lr, "must be a positive, finite learning rate")
    if isinstance(decisions, bool) or not isinstance(decisions, int) or decisions < 1:
        raise InputError("decisions", decisions, "must be a whole number of at least 1")
    if task.val is None:
        raise InputError("task", task.name, "must have unseen data, which the rate follows", "Give the Task its val")
    if task.horizon < _FEWEST:
        raise InputError("task", task.horizon, f"must have at least {_FEWEST} steps to be followed", "Raise its steps")
    setting = Setting(float(lr), task.seed if seed is None else seed, task.horizon)
    with undisturbed(task, setting.seed):
        return _Following(task, setting, watcher).run(decisions)


@dataclass
class _Kept:
    """What a retreat goes back to: the crowd of one at the last good decision, and what it was judged."""

    crowd: Crowd
    value: float


@final
class _Following:
    """One training while it is followed."""

    def __init__(self, task: Task, setting: Setting, watcher: Watcher | None) -> None:
        self._began = time.perf_counter()
        self._task = task
        self._setting = setting
        self._watcher = watcher
        self._crowd, self._initial = begin_crowd(task, setting)
        self._factors = rung_factors(task, setting.steps)
        self._stream = Stream(task.train)
        self._ahead: deque[Any] = deque()  # batches that a cooldown has seen and the training has not
        self._step = 0
        self._losses: list[float] = []
        self._lrs: list[float] = []
        self._decisions: list[Decision] = []
        self._passes = 0.0  # of training
        self._examples = [0, 0]  # and batches
        self._looked = 0  # examples of unseen data
        self._untrained = self._value(self._crowd, 0)
        self._kept = _Kept(self._crowd.forked([0]), self._untrained)

    def run(self, decisions: int) -> Followed:
        """Train to the end."""
        ratio, before = _NARROW, 0
        for number, (forked, alone) in enumerate(_stages(self._setting.steps, decisions)):
            wide = number == 0
            side = self._decide(_WIDE if wide else (1 / ratio, 1.0, ratio), forked, wide=wide)
            # A second win in the same direction: the good rate is far, and doubling would take all the training.
            ratio = min(ratio**2, _FAR) if side and side == before else _NARROW
            before = side
            if alone and not self._train(alone):
                self._retreat("The training diverged", ())
        return self._followed()

    def _decide(self, tried: Sequence[float], steps: int, *, wide: bool) -> int:
        """Fork, judge, and go on with the best; return whether that is higher (1), lower (-1) or neither (0)."""
        start, peak = self._crowd, self._crowd.times[0]
        crowd = start.forked([0] * len(tried), [peak * times for times in tried])
        losses = self._updates(crowd, [self._step + more for more in range(steps)], self._next)
        values = self._judged(crowd, losses)
        rates = [self._setting.lr * peak * times for times in tried]
        self._step += steps
        place = _lower(values, self._kept.value) if wide else _chosen(values, self._kept.value)
        self._write(losses[:, place].tolist(), rates[place], steps)
        if not values[place] < self._untrained - _FORGOTTEN * (self._untrained - self._kept.value):
            what = "No fork survived" if math.isinf(values[place]) else "What was learned is mostly lost"
            self._retreat(what, _paired(rates, values))
            return 0
        self._crowd = crowd.forked([place])
        self._kept = _Kept(self._crowd.forked([0]), values[place])
        self._decisions.append(
            Decision(self._step, _paired(rates, values), rates[place], _reason(rates, values, place))
        )
        return 0 if wide else place - len(tried) // 2

    def _retreat(self, what: str, tried: tuple[tuple[float, float], ...]) -> None:
        """Go back to the weights of the last good decision, at a lower rate."""
        lower = self._kept.crowd.times[0] / _RETREAT
        self._kept = _Kept(self._kept.crowd.forked([0], [lower]), self._kept.value)
        self._crowd = self._kept.crowd.forked([0])
        lr = self._setting.lr * lower
        reason = f"{what}: back to the weights of the last good decision, at lr {number_text(lr)}."
        self._decisions.append(Decision(self._step, tried, lr, reason))

    def _judged(self, crowd: Crowd, losses: NDArray[np.float64]) -> list[float]:
        """Return what each member is judged after a cooldown, on a copy and on the batches that come next."""
        cooled = crowd.forked(range(len(crowd.times)))
        length = max(_LEAST // 2, round(_COOLDOWN * len(losses)))
        held = [self._next() for _ in range(length * self._task.accumulate)]
        random = RngState.take()  # after them: a new epoch is shuffled by it
        batches = iter(held)
        last = min(self._step + len(losses), self._setting.steps) - 1
        self._updates(cooled, [last] * length, lambda: next(batches), falling=True)
        self._ahead.extendleft(reversed(held))
        values = [
            self._value(cooled, member) if np.isfinite(course).all() else math.inf
            for member, course in enumerate(losses.T)
        ]
        random.restore()
        return values

    def _value(self, crowd: Crowd, member: int) -> float:
        """Return what a member is judged on unseen data, lower is better; infinite where that is not finite."""
        with crowd.judged(member):
            done = evaluate(self._task, crowd.put_on(member), step=self._step)
        self._looked += done.examples
        value = done.evaluation.judged(self._task.judge, maximize=self._task.maximize)
        return value if math.isfinite(value) else math.inf

    def _train(self, steps: int) -> bool:
        """Go on alone; return whether it survived."""
        lr = self._setting.lr * self._crowd.times[0]
        losses = self._updates(self._crowd, [self._step + more for more in range(steps)], self._next)[:, 0]
        self._step += steps
        self._write(losses.tolist(), lr, steps)
        return bool(np.isfinite(losses).all())

    def _updates(
        self, crowd: Crowd, at: Sequence[int], batches: Callable[[], Any], *, falling: bool = False
    ) -> NDArray[np.float64]:
        """Update all members, at the schedule's factors of the updates ``at``; return their losses, (steps, K)."""
        losses = []
        for number, step in enumerate(at):
            now = [batches() for _ in range(self._task.accumulate)]
            self._examples[0] += sum(count_examples(batch) for batch in now)
            self._examples[1] += len(now)
            left = 1 - (number + 1) / (len(at) + 1) if falling else 1.0
            losses.append(crowd.update(now, self._factors[step] * left))
            if self._watcher is not None and not falling:
                self._watcher(Progress(self._setting, step + 1, None))
        self._passes += update_passes(len(at) * self._task.accumulate * len(crowd.times))
        values: NDArray[np.float64] = torch.stack(losses).double().cpu().numpy()
        return values

    def _next(self) -> Any:
        return self._ahead.popleft() if self._ahead else next(self._stream)

    def _write(self, losses: Sequence[float], lr: float, steps: int) -> None:
        self._losses += losses
        self._lrs += [lr * factor for factor in self._factors[len(self._lrs) : len(self._lrs) + steps]]

    def _followed(self) -> Followed:
        model = self._crowd.put_on(0)
        with self._crowd.judged(0):
            done = evaluate(self._task, model, step=self._setting.steps)
        loss = done.evaluation.loss
        lost = None if math.isfinite(loss) else Divergence(self._step, f"the loss on unseen data is {loss}")
        batch = max(1.0, self._examples[0] / self._examples[1])
        once = update_passes(self._setting.steps * self._task.accumulate) + done.examples / batch
        run = Run(
            setting=self._setting,
            losses=np.asarray(self._losses),
            evaluations=(done.evaluation,) if lost is None else (),
            divergence=lost,
            seconds=time.perf_counter() - self._began,
            passes=self._passes + (self._looked + done.examples) / batch,
            initial=self._initial,
            model=model,
        )
        run = run.judged_by(self._task.judge, maximize=self._task.maximize)
        return Followed(run, np.asarray(self._lrs), tuple(self._decisions), run.passes / once)


def _lower(values: Sequence[float], before: float) -> int:
    """Return the place below the lowest one that is as good as the best.

    A training so short likes rates that are too high for the whole one. Where only the highest is as good as itself,
    its place: the good rate may lie beyond.
    """
    limit = min(values) + _AS_GOOD * max(0.0, before - min(values))
    lowest = next(place for place, value in enumerate(values) if value <= limit)
    return lowest if lowest == len(values) - 1 else max(0, lowest - 1)


def _chosen(values: Sequence[float], before: float) -> int:
    """Return the place of the best one, or the middle where that is as good, so that noise does not move the rate.

    As good is what gained almost as much as the best one since the last decision.
    """
    best, middle = min(values), len(values) // 2
    as_good = values[middle] <= best + _AS_GOOD * max(0.0, before - best)
    return middle if as_good else values.index(best)


def _stages(steps: int, decisions: int) -> Iterator[tuple[int, int]]:
    """Yield for each stage how many updates are forked and how many follow alone; together they are ``steps``."""
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
    others = [value for index, value in enumerate(values) if index != place]
    rival = min(others)
    how = "the others diverged" if math.isinf(rival) else f"the next best reached {number_text(rival)}"
    return f"lr {number_text(rates[place])} was judged best after a cooldown, {number_text(values[place])}; {how}."
