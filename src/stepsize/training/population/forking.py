"""The counterfactual: what would have become of a run at another rate from here on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stepsize.checks import check_lr, check_number, check_whole
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.training.border import undisturbed
from stepsize.training.forked import ForkedRuns, draw, updates
from stepsize.training.population.vectorized import begin_run
from stepsize.training.position import preserved
from stepsize.training.runs import Setting
from stepsize.training.stepping import rung_factors
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task

Array = NDArray[np.float64]

_LOWER = 0.02  # a benefit that a short cooldown at half the rate shows only if the rate is too high
_HIGHER = 0.05  # short cooldowns prefer high rates: a smaller benefit at twice the rate says little
_FURTHER = 0.7  # fraction by which twice the rate must get further than the rate itself, if that is little
_LEAST = 8


@dataclass(frozen=True)
class Branch:
    """One branch after the fork, compared with the branch at the same rate.

    Attributes:
        times: Factor of the rate.
        values: Objective on validation data after each cooldown, lower is better; infinite if it diverged.
        gain: Mean relative decrease against the same rate; NaN if the same rate diverged.
        error: Standard error of ``gain`` over the repeats, each paired on its batches; NaN of fewer than two.
    """

    times: float
    values: tuple[float, ...]
    gain: float
    error: float

    def clearly_better(self, least: float) -> bool:
        """Return whether the gain is above ``least`` and two standard errors."""
        return self.gain > self.least(least)

    def least(self, least: float) -> float:
        """Return the smallest gain that would have counted, at least ``least``."""
        return max(least, 0.0 if math.isnan(self.error) else 2 * self.error)

    def __str__(self) -> str:
        if math.isinf(self.gain):
            return "diverges"
        if math.isnan(self.gain):
            return "cannot be compared, as the rate itself diverges"
        error = "" if math.isnan(self.error) else f" ± {number_text(100 * self.error)}"
        return f"ends {number_text(100 * abs(self.gain))}{error}% {'lower' if self.gain >= 0 else 'higher'}"


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A run up to a fork, and the branches after it.

    Attributes:
        lr: Peak rate of the run.
        step: Number of steps before the fork.
        cooldown: Steps of each branch, with a linear decay of its rate to zero.
        before: Objective at the fork.
        losses: Training losses before the fork, shape ``(step,)``.
        branches: Branches, from the lowest rate to the highest.
        cost: Cost in full runs, the steps before the fork included.
    """

    lr: float
    step: int
    cooldown: int
    before: float
    losses: Array
    branches: tuple[Branch, ...]
    cost: float

    @property
    def factor(self) -> float | None:
        """The multiple of the rate that won by more than noise and bias explain; None if none did, 1 included."""
        lower = [one for one in self.branches if one.times < 1 and one.clearly_better(_LOWER)]
        higher = [
            one for one in self.branches if one.times > 1 and (one.clearly_better(_HIGHER) or self._gets_further(one))
        ]
        won = max([*lower, *higher], key=lambda one: one.gain, default=None)
        return None if won is None else won.times

    def _gets_further(self, branch: Branch) -> bool:
        """Return whether a branch gets so much further that the rate itself crawls."""
        same = float(np.mean(next(one for one in self.branches if one.times == 1).values))
        came, more = self.before - same, same - float(np.mean(branch.values))
        return came > 0 and math.isfinite(more) and more > _FURTHER * came and branch.clearly_better(0.0)

    @property
    def status(self) -> str:
        """The result, as sentences."""
        told = "; ".join(f"×{number_text(one.times)} {one}" for one in self.branches if one.times != 1)
        won = self.factor
        answer = f"×{number_text(won)} is better" if won is not None else self._undecided()
        return f"Forked at step {self.step:,}, decayed to zero over {self.cooldown:,} steps: {told}. Result: {answer}."

    def _undecided(self) -> str:
        """Return that no branch won, and how small a gain would have shown."""
        others = [one for one in self.branches if one.times != 1 and math.isfinite(one.gain)]
        shown = "; ".join(
            f"×{number_text(one.times)} below {one.least(_LOWER if one.times < 1 else _HIGHER):.1%}" for one in others
        )
        limits = f" A smaller gain would not have shown: {shown}." if shown else ""
        return f"no other learning rate is clearly better in branches this short.{limits} A whole run may still gain"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``."""
        told = {name: getattr(self, name) for name in ("status", "lr", "step", "cooldown", "factor", "cost")}
        return {**told, "branches": [asdict(one) for one in self.branches]}


@takes_parts
def counterfactual(
    task: Task | Any,
    lr: float,
    *,
    at: float = 0.25,
    times: Sequence[float] = (0.5, 1.0, 2.0),
    cooldown: float = 0.125,
    repeats: int = 2,
    seed: int | None = None,
) -> Counterfactual:
    """Train up to a fork, continue at several multiples of the rate on the same batches, compare after cooldowns.

    gain(m) = mean over repeats of (L(1) - L(m)) / |L(1)|, L(m) the validation loss after the rate decayed from m times
    the present one to zero. Each repeat takes the batches that come next, the same for all branches.

    Args:
        task: Task to train; it needs validation data.
        lr: Peak rate, absolute.
        at: Where to fork, as a fraction of the horizon.
        times: Multiples of the rate; 1 is added if it is missing.
        cooldown: Length of each branch, as a fraction of the horizon.
        repeats: Number of cooldowns of each branch, at least 1.
        seed: Random seed for weight initialization, batch order and dropout. Default: the task's.

    Returns:
        The branches; ``factor`` is the multiple that clearly won.

    Raises:
        InputError: If an argument is out of range, or the task has no validation data.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 64).reshape(-1, 1)
        >>> task = Task(model=lambda: nn.Linear(1, 1), loss=nn.functional.mse_loss, train=(x, 3 * x),
        ...             val=(x, 3 * x), optimizer="sgd", steps=200)
        >>> counterfactual(task, 1e-2).factor
        2.0

    Reference:
        Wu et al., "Understanding short-horizon bias in stochastic meta-optimization", 2018, on why a cooldown.
    """
    task = Task.of(task)
    check_lr("lr", lr)
    check_number("at", at, above=0, below=1)
    check_number("cooldown", cooldown, above=0, below=1)
    check_whole("repeats", repeats)
    if not times or not all(0 < one < math.inf for one in times):
        raise InputError("times", times, "must be positive multiples of the rate")
    if task.val is None:
        raise InputError("task", task.name, "must have validation data", "Give it val")
    setting = Setting(lr, task.seed if seed is None else seed, task.horizon)
    with undisturbed(task, setting.seed):
        return _fork(task, setting, at, sorted({*map(float, times), 1.0}), cooldown, repeats)


def _fork(task: Task, setting: Setting, at: float, times: list[float], cooldown: float, repeats: int) -> Counterfactual:
    step, length = max(1, round(at * setting.steps)), max(_LEAST, round(cooldown * setting.steps))
    runs = begin_run(task, setting)
    factors = rung_factors(task, setting.steps)
    batches = draw(task)
    losses, (before,) = _trained(task, runs, [*islice(batches, step)], factors[:step], [1.0])
    level = factors[min(step, setting.steps - 1)]
    falling = [level * (1 - (number + 0.5) / length) for number in range(length)]
    forks = runs.forked([0] * len(times))
    values = []
    for _ in range(repeats):
        drawn = [*islice(batches, length)]
        with preserved():  # what the branches draw is put back
            values.append(_trained(task, forks.forked(range(len(times))), drawn, falling, times)[1])
    work = step + repeats * length * len(times)
    branches = _compared(times, np.asarray(values))
    return Counterfactual(setting.lr, step, length, before, losses[:, 0], branches, work / setting.steps)


def _trained(
    task: Task, runs: ForkedRuns, batches: Iterable[Sequence[Any]], levels: Sequence[float], peaks: Sequence[float]
) -> tuple[Array, list[float]]:
    """Make an update per level, run k at level × peaks[k]; return losses, ``(updates, K)``, and the objectives.

    An objective on validation data is infinite if the run diverged, or if it is not finite itself.
    """
    made = updates(runs.update, enumerate(batches), lambda step: [levels[step] * peak for peak in peaks])
    losses: Array = torch.stack([update.losses for update in made]).double().cpu().numpy()
    reached = [math.inf] * runs.size
    for place in np.flatnonzero(np.isfinite(losses).all(axis=0)).tolist():
        seen = runs.evaluate(task, place, len(losses)).evaluation
        value = seen.objective(task.objective, maximize=task.maximize)
        reached[place] = value if math.isfinite(value) else math.inf
    return losses, reached


def _compared(times: Sequence[float], values: Array) -> tuple[Branch, ...]:
    """Return the branches from their objectives, shape ``(repeats, branches)``, paired with those of the same rate."""
    same = values[:, list(times).index(1.0)]
    branches = []
    for place, multiple in enumerate(times):
        with np.errstate(all="ignore"):
            gains = (same - values[:, place]) / np.abs(same)
        gains = np.where(np.isinf(values[:, place]) & np.isfinite(same), -math.inf, gains)
        finite = np.isfinite(gains).all()
        error = float(np.std(gains, ddof=1) / math.sqrt(len(gains))) if finite and len(gains) > 1 else math.nan
        branches.append(Branch(multiple, tuple(values[:, place].tolist()), float(gains.mean()), error))
    return tuple(branches)
