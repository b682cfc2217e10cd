"""A training whose rate the validation loss corrects: short runs, one or two full ones, and the best is returned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stepsize.checks import check_lr, check_whole
from stepsize.curves.lr_model import LrModel
from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.optimizers.usual import usual_rate
from stepsize.study.strategy import Job
from stepsize.study.study import run_study
from stepsize.study.until_sure import Question, Recipe, UntilSure
from stepsize.study.workers import Local
from stepsize.training.loop import train_setting
from stepsize.training.runs import Run, Setting, Trial, Watcher
from stepsize.training.start import look_at_start
from stepsize.training.taking import takes_parts
from stepsize.training.task import Task

_BUDGET = 2.5  # full runs
_RECIPE = Recipe(short=(0.1, 0.06), short_spend=0.5)
_SAME = 0.08  # decades from the start within which the recommended rate is no move
_CLEAR = 0.9  # probability that another rate ends lower, from which the start is not trained in full


@dataclass(frozen=True, eq=False)
class Followed:
    """A run whose rate was corrected by the validation loss.

    Attributes:
        run: The run that was chosen, with its model.
        runs: All runs, in order, without their models; those with a ``share`` below 1 are short.
        start: Rate that was given.
        reason: Why the run was chosen, as a sentence.
        cost: Cost in full runs.
    """

    run: Run
    runs: tuple[Run, ...]
    start: float
    reason: str
    cost: float

    @property
    def lr(self) -> float:
        """Peak rate of the run that was chosen."""
        return self.run.lr

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values for ``json.dumps``; a figure that is not finite becomes None."""
        tried = [
            {"lr": run.lr, "share": run.share, "value": run.value if math.isfinite(run.value) else None}
            for run in self.runs
        ]
        return {
            **self.run.to_json(),
            "start": self.start,
            "tried": tried,
            "reason": self.reason,
            "full_runs": self.cost,
        }


@takes_parts
def follow(task: Task | Any, lr: float, *, seed: int | None = None, on_progress: Watcher | None = None) -> Followed:
    """Train ``task`` at a rate near ``lr`` that its validation loss selects, for at most 2.5 times the cost of one run.

    Four runs over a tenth of the steps, each with the whole schedule, locate the rate: at ``lr``, on both sides, and
    outward. They are read with the model of ``find``, which knows the usual rate of the optimizer, and from
    recorded curves how the best rate moves with the length of a run, and how noisy runs are. Then the recommended
    rate is trained in full. Unless it is ``lr``, a second full run follows: at ``lr``, or if that is worse with a
    probability of 90%, at the rate that is recommended now. The one with the lower validation loss is returned. All
    runs have the same seed: the same initial weights and batches.

    The rate is not changed within a run. Continuing copies of a run at other rates for some steps, and going on with
    the best, prefers rates that are good for those steps; it ended worse (``docs/benchmarks.md``).

    Args:
        task: Task to train. It needs ``val``, on which the rate is selected: report results on a test set.
        lr: Peak rate to begin at, absolute; about right or too low, as short runs prefer high rates.
        seed: Random seed for weight initialization, batch order and dropout. Default: the task's.
        on_progress: Called with a :class:`~stepsize.training.Progress` after each update.

    Returns:
        The chosen run, all runs and the reason.

    Raises:
        InputError: If the task has no validation data, or an argument is out of range.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = follow(build_task("cancer-mlp", steps=200), 1e-5)  # a hundredth of what is customary
        >>> found.lr > 1e-4, len(found.run.losses), found.cost <= 2.5
        (True, 200, True)

    Reference:
        Wu et al., "Understanding short-horizon bias in stochastic meta-optimization", 2018, for why short runs are
        complete ones.
    """
    task = Task.of(task)
    check_lr("lr", lr)
    if seed is not None:
        check_whole("seed", seed, 0)
    if task.val is None:
        raise InputError("task", task.name, "must have validation data, which select the rate", "Give the Task its val")
    lr, seed = float(lr), task.seed if seed is None else seed
    start, usual = look_at_start(task, seed), usual_rate(task.optimizer)
    question = Question(
        usual.lr if usual.family else lr,
        start.untrained,
        start.costs,
        usual.family,
        start.parameters,
        budget=_BUDGET,
        first=lr,
    )
    workers = Local(task, _KeepingModels(), on_progress=on_progress)
    runs = run_study(task, _Following(question, seed), start=start, workers=workers, budget=_BUDGET).runs
    full = [run for run in runs if run.share == 1.0]  # the budget allows one
    kept = min(full, key=lambda run: run.value)
    bare = tuple(replace(run, model=None) for run in runs)
    return Followed(kept, bare, lr, _reason(kept, full), math.fsum(run.cost for run in runs))


class _Following:
    """Asks for short runs, the recommended rate in full, then the start, or what is recommended now."""

    notes: Sequence[str] = ()

    def __init__(self, question: Question, seed: int) -> None:
        self._search = UntilSure(question, seed=seed, recipe=_RECIPE)
        self._start, self._seed = question.first or question.usual, seed
        self._runs: list[Run] = []

    def ask(self) -> Job | None:
        """Return the next run; each is awaited."""
        full = [run for run in self._runs if run.share == 1.0]
        if not full:
            job = self._search.ask()
            return self._from_start() if job is not None and job.share == 1.0 and self._is_start(job.trial.lr) else job
        if len(full) == 2:
            return None
        if self._is_start(full[0].lr):
            return None if len(self._runs) > 1 else self._search.ask()
        lost = chance_of_less(self._search.model(), full[0].lr, self._start) >= _CLEAR
        return self._search.ask() if lost else self._from_start()

    def tell(self, run: Run) -> None:
        """Take the result of a run that was asked for."""
        self._runs.append(run)
        self._search.tell(run)

    def restore(self, trials: Sequence[Trial], runs: Sequence[Run]) -> None:
        """Continue from ``runs``."""
        self._runs.extend(runs)
        self._search.restore(trials, runs)

    def remaining(self) -> int:
        """Return the runs under way."""
        return self._search.remaining()

    @property
    def done(self) -> bool:
        """Whether the answer is sure."""
        return self._search.done

    def _from_start(self) -> Job:
        return Job(Trial(len(self._runs), {"lr": self._start}), 1.0, self._seed)

    def _is_start(self, lr: float) -> bool:
        return abs(math.log10(lr / self._start)) <= _SAME


class _KeepingModels:
    """Trains sequentially, and keeps the models of full runs."""

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        """Yield the place of each run, and the run, as it ends."""
        for place, setting in enumerate(settings):
            whole = setting.steps == task.horizon
            yield place, train_setting(task, setting, on_progress=on_progress, keep_model=whole)


def chance_of_less(model: LrModel, lr: float, other: float) -> float:
    """Return the probability that the loss at ``lr`` is lower than at ``other``."""
    places = [int(np.abs(model.x - math.log10(one)).argmin()) for one in (lr, other)]
    return float((model.draws[:, places[0]] < model.draws[:, places[1]]).mean())


def _reason(kept: Run, full: Sequence[Run]) -> str:
    """Say why ``kept`` was chosen among the full runs."""
    if kept.diverged:
        return "All full runs diverged."
    reached = f"lr {number_text(kept.lr)} reached {number_text(kept.value)}"
    others = [
        f"lr {number_text(run.lr)} " + ("diverged" if run.diverged else f"reached {number_text(run.value)}")
        for run in full
        if run.trial != kept.trial
    ]
    return f"{reached}, the lowest of {len(full)} full runs; {'; '.join(others)}." if others else f"{reached}."
