"""The counterfactual: what would have come of a training had its rate been another one from here on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.training.batches import Stream
from stepsize.training.border import undisturbed
from stepsize.training.evaluate import evaluate
from stepsize.training.loop import check_lr
from stepsize.training.population.crowd import Crowd, begin_crowd
from stepsize.training.rng import RngState
from stepsize.training.runs import Setting
from stepsize.training.stepping import rung_factors
from stepsize.training.task import Task

__all__ = ["Counterfactual", "Way", "counterfactual"]

Array = NDArray[np.float64]

_LOWER = 0.02  # a gain that a short cooldown at half the rate shows only where the rate is too high
_HIGHER = 0.05  # short cooldowns like high rates: a smaller gain at twice the rate says little
_FURTHER = 0.7  # how much further twice the rate must come, of the way that the rate itself came, where that was little
_LEAST = 8


@dataclass(frozen=True)
class Way:
    """One way on from the fork, against going on at the same rate.

    Attributes:
        times: By what the rate was multiplied.
        values: The judged figure on unseen data behind each cooldown, lower is better; infinite where it did not
            survive.
        gain: By how much lower than at the same rate, relative, on average; NaN where the same rate did not survive.
        error: The standard error of ``gain`` over the repeats, each paired on its batches; NaN of fewer than two.
    """

    times: float
    values: tuple[float, ...]
    gain: float
    error: float


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A training up to a fork, and the ways on.

    Attributes:
        lr: Its peak rate.
        step: How many updates came before the fork.
        cooldown: How many each way had, its rate falling to zero in a straight line.
        before: The judged figure at the fork.
        losses: The training losses before the fork, shape ``(step,)``.
        ways: From the lowest rate to the highest.
        cost: In trainings, the updates before the fork included.
    """

    lr: float
    step: int
    cooldown: int
    before: float
    losses: Array
    ways: tuple[Way, ...]
    cost: float

    @property
    def factor(self) -> float | None:
        """The multiple of the rate that won by more than noise and bias explain; None where none did, 1 included."""
        lower = [one for one in self.ways if one.times < 1 and _clearly(one, _LOWER)]
        higher = [one for one in self.ways if one.times > 1 and (_clearly(one, _HIGHER) or self._further(one))]
        won = max([*lower, *higher], key=lambda one: one.gain, default=None)
        return None if won is None else won.times

    def _further(self, way: Way) -> bool:
        """Return whether a way came so much further that the rate itself crawls."""
        same = float(np.mean(next(one for one in self.ways if one.times == 1).values))
        came, more = self.before - same, same - float(np.mean(way.values))
        return came > 0 and math.isfinite(more) and more > _FURTHER * came and _clearly(way, 0.0)

    @property
    def status(self) -> str:
        """What came of it, as a sentence."""
        told = "; ".join(f"×{number_text(one.times)} {_told(one)}" for one in self.ways if one.times != 1)
        won = self.factor
        answer = "no other rate is better by more than chance" if won is None else f"×{number_text(won)} is better"
        return f"Forked at step {self.step:,} and cooled down over {self.cooldown:,} steps: {told}. So {answer}."

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        ways = [
            {"times": one.times, "values": list(one.values), "gain": one.gain, "error": one.error} for one in self.ways
        ]
        told = {"lr": self.lr, "step": self.step, "cooldown": self.cooldown, "factor": self.factor}
        return {"status": self.status, **told, "ways": ways, "cost": self.cost}


def counterfactual(
    task: Task,
    lr: float,
    *,
    at: float = 0.25,
    times: Sequence[float] = (0.5, 1.0, 2.0),
    cooldown: float = 0.125,
    repeats: int = 2,
    seed: int | None = None,
) -> Counterfactual:
    """Train up to a fork, go on at several multiples of the rate on the same batches, and compare after cooldowns.

    gain(m) = mean over repeats of (L(1) - L(m)) / |L(1)|, L(m) the loss on unseen data after the rate fell from m times
    the present one to zero. Each repeat takes the batches that come next, the same for all ways.

    Args:
        task: What is trained; it needs unseen data.
        lr: Its peak rate, absolute.
        at: Where to fork, as a share of the horizon.
        times: The multipliers of the rate; 1 is added where it is missing.
        cooldown: How long each way is, as a share of the horizon.
        repeats: How many cooldowns each way has, at least 1.
        seed: Of initial weights, batch order and dropout; default the task's.

    Returns:
        The ways on; ``factor`` is the multiple that clearly won.

    Raises:
        InputError: If an argument is out of range, or the task has no unseen data.

    Example:
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: nn.Linear(1, 1), loss=nn.functional.mse_loss, train=(x, 3 * x),
        ...             val=(x, 3 * x), optimizer="sgd", steps=200)
        >>> counterfactual(task, 1e-2).factor
        2.0

    Reference:
        Wu et al., "Understanding short-horizon bias in stochastic meta-optimization", 2018, on why a cooldown.
    """
    check_lr("lr", lr)
    for name, share in (("at", at), ("cooldown", cooldown)):
        if not 0 < share < 1:
            raise InputError(name, share, "must be a share of the horizon, between 0 and 1")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise InputError("repeats", repeats, "must be a whole number, at least 1")
    if not times or not all(0 < one < math.inf for one in times):
        raise InputError("times", times, "must be positive multiples of the rate")
    if task.val is None:
        raise InputError("task", task.name, "must have unseen data to be judged by", "Give it val")
    setting = Setting(lr, task.seed if seed is None else seed, task.horizon)
    with undisturbed(task, setting.seed):
        return _fork(task, setting, at, sorted({*map(float, times), 1.0}), cooldown, repeats)


def _fork(task: Task, setting: Setting, at: float, times: list[float], cooldown: float, repeats: int) -> Counterfactual:
    step, length = max(1, round(at * setting.steps)), max(_LEAST, round(cooldown * setting.steps))
    crowd, _ = begin_crowd(task, setting)
    factors = rung_factors(task, setting.steps)
    stream = Stream(task.train)

    def draw(count: int) -> list[list[Any]]:
        return [[next(stream) for _ in range(task.accumulate)] for _ in range(count)]

    losses = _updated(crowd, draw(step), factors[:step])[:, 0]
    before = _judged(task, crowd, 0, step) if np.isfinite(losses).all() else math.inf
    level = factors[min(step, setting.steps - 1)]
    values: list[list[float]] = []
    for _ in range(repeats):
        ahead = draw(length)
        random = RngState.take()
        forks = crowd.forked([0] * len(times), times)
        course = _updated(forks, ahead, [level * (1 - (number + 0.5) / length) for number in range(length)])
        alive = [bool(np.isfinite(losses_of).all()) for losses_of in course.T]
        values.append([_judged(task, forks, k, step + length) if alive[k] else math.inf for k in range(len(times))])
        random.restore()
    work = step + repeats * length * len(times)
    ways = _compared(times, np.asarray(values))
    return Counterfactual(setting.lr, step, length, before, losses, ways, work / setting.steps)


def _compared(times: Sequence[float], values: Array) -> tuple[Way, ...]:
    """Return the ways from their figures, shape ``(repeats, ways)``, paired with those of the same rate."""
    same = values[:, list(times).index(1.0)]
    ways = []
    for place, multiple in enumerate(times):
        with np.errstate(all="ignore"):
            gains = (same - values[:, place]) / np.abs(same)
        gains = np.where(np.isinf(values[:, place]) & np.isfinite(same), -math.inf, gains)
        finite = np.isfinite(gains).all()
        error = float(np.std(gains, ddof=1) / math.sqrt(len(gains))) if finite and len(gains) > 1 else math.nan
        ways.append(Way(multiple, tuple(values[:, place].tolist()), float(gains.mean()), error))
    return tuple(ways)


def _clearly(way: Way, least: float) -> bool:
    error = 0.0 if math.isnan(way.error) else way.error
    return way.gain > max(least, 2 * error)


def _told(way: Way) -> str:
    if math.isinf(way.gain):
        return "does not survive"
    if math.isnan(way.gain):
        return "cannot be compared, as the rate itself does not survive"
    error = "" if math.isnan(way.error) else f" ± {number_text(100 * way.error)}"
    return f"ends {number_text(100 * abs(way.gain))}{error} % {'lower' if way.gain >= 0 else 'higher'}"


def _updated(crowd: Crowd, batches: Sequence[Sequence[Any]], factors: Sequence[float]) -> Array:
    losses = [crowd.update(now, factor) for now, factor in zip(batches, factors, strict=True)]
    values: Array = torch.stack(losses).double().cpu().numpy()
    return values


def _judged(task: Task, crowd: Crowd, member: int, step: int) -> float:
    with crowd.judged(member):
        seen = evaluate(task, crowd.put_on(member), step=step).evaluation
    value = seen.judged(task.judge, maximize=task.maximize)
    return value if math.isfinite(value) else math.inf
