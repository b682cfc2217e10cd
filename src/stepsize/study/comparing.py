"""`compare`: every contender tuned with the same budget, then trained at its own rate on the same fresh seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from stepsize.checks import check_whole
from stepsize.errors import InputError
from stepsize.optimizers import OPTIMIZERS
from stepsize.study.comparison import Comparison, Contender, ContenderResult, rank_contenders, steps_to
from stepsize.study.result import SweepResult, summarize
from stepsize.study.study import StudyProgress, default_name, seeds_of
from stepsize.study.sweeping import sweep
from stepsize.training import Changes, StreamingExecutor, Task, varied
from stepsize.training.runs import Run
from stepsize.training.taking import takes_parts

CLASSICS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
_FEWEST = 3  # trials: fewer rates have no inside


@dataclass(frozen=True)
class CompareProgress:
    """Progress of a comparison.

    Attributes:
        contender: What is being trained.
        phase: ``"tuning"`` or ``"final"``.
        done: Number of runs that ended.
        total: Number of all runs.
        best: Name of the contender of least loss so far, and that loss; None at first.
        sweep: Progress of its sweep.
    """

    contender: Contender
    phase: str
    done: int
    total: int
    best: tuple[str, float] | None
    sweep: StudyProgress

    @property
    def fraction(self) -> float:
        """The fraction of the runs that ended, in [0, 1]."""
        return self.done / self.total


CompareWatcher: TypeAlias = Callable[[CompareProgress], None]


@takes_parts
def compare(
    task: Task | Any,
    optimizers: Sequence[str] = CLASSICS,
    *,
    schedules: Sequence[str] | None = None,
    trials: int = 9,
    seeds: int | Sequence[int] = 3,
    workers: str | StreamingExecutor = "population",
    store: Any = None,
    name: str | None = None,
    on_progress: CompareWatcher | None = None,
    source: Any = None,
    asked: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare optimizers and schedules, each at its own tuned rate, found with an equal budget.

    Each is trained at ``trials`` rates on one seed: the first half of them a grid over the range of its catalog entry,
    the rest around the best of that grid, or beyond it at the end of the range. The best rate is then trained on
    ``seeds`` that tuning has not used, the same for all, and the best configuration is compared with each other one in
    pairs. An optimizer that estimates its rate takes part twice: tuned as all others, and at its default without any
    tuning.

    Args:
        task: What to train, as for :func:`stepsize.find`; without ``val`` the training loss selects. Its own optimizer
            does not matter.
        optimizers: Names of :data:`~stepsize.optimizers.OPTIMIZERS`.
        schedules: Schedules as text; each optimizer is tuned with each. Default: the task's own.
        trials: Number of runs that find the rate of a configuration, at least 3.
        seeds: Seeds of the final runs, or how many, counted from the one after the task's.
        workers: A name of :data:`~stepsize.study.workers.WORKERS`, or an executor.
        store: Where each run is saved as it ends (see :func:`stepsize.sweep`): the same call then continues a
            comparison that was stopped. None saves nothing.
        name: Name of the comparison in the store. Defaults to the task and a digest of what is asked for.
        on_progress: Called with a :class:`CompareProgress`.
        source: How workers in other processes get the task (see :func:`stepsize.sweep`).
        asked: Plain values that the store keeps with each sweep.

    Returns:
        The answer: ``.verdict``, ``.status``, ``.next``, ``.cost`` and ``.contenders``, in which each optimizer and
        schedule has the answer about its rate; ``.plot()``, ``.to_json()``.

    Raises:
        InputError: If an argument is out of range: before any training, like all that follows.
        MissingExtraError: If the package of an optimizer is not installed.
        UnknownNameError: If an optimizer is in no catalog.
        ScheduleSyntaxError: If a schedule cannot be read.
        StoreError: If the store cannot be read or written.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = compare(build_task("cancer-mlp", steps=40), ["sgd", "adam"], trials=4, seeds=2)
        >>> sorted(one.name for one in found.contenders), found.seeds
        (['adam', 'sgd'], (1, 2))

    Reference:
        Sivaprasad et al., "Optimizer benchmarking needs to account for hyperparameter tuning", 2020, for equal budgets;
        Choi et al., "On empirical comparisons of optimizers for deep learning", 2019, for why each needs its own rate.
    """
    began, task = time.perf_counter(), Task.of(task)
    contenders = _contenders(optimizers, schedules)
    check_whole("trials", trials, _FEWEST, remedy="Fewer rates have no inside")
    final = seeds_of(task, seeds, first=task.seed + 1)
    for contender in contenders:
        _check(task, contender)
    asked_for = {"optimizers": list(optimizers), "schedules": schedules, "trials": trials, "final": final}
    comparing = _Comparing(
        task=task,
        name=name or default_name(task, asked_for, "compare-"),
        trials=trials,
        tuning=task.seed if task.seed not in final else max(final) + 1,
        final=final,
        options={"workers": workers, "store": store, "source": source, "asked": asked},
        on_progress=on_progress,
        total=sum(trials * one.tuned + len(final) for one in contenders),
    )
    found = [comparing.result(contender) for contender in contenders]
    assert comparing.last is not None  # there is a contender, and it was trained
    ends = [one.train_loss for one in found if math.isfinite(one.train_loss)]
    target = float(np.median(ends)) if ends else math.nan
    timed = [replace(one, steps_to_target={r.seed: steps_to(r, target) for r in one.final_runs}) for one in found]
    return Comparison(
        **vars(rank_contenders(timed, untrained=comparing.last.untrained)),
        name=comparing.name,
        conditions=comparing.last.conditions,
        target=target,
        trials=trials,
        seeds=final,
        seconds=time.perf_counter() - began,
    )


def coarse_rates(span: tuple[float, float], trials: int) -> list[float]:
    """Return the first half of the rates to try: evenly spaced in log, with both ends of ``span``."""
    return [float(lr) for lr in np.geomspace(*span, max(2, (trials + 1) // 2))]


def fine_rates(coarse: Sequence[float], best: float | None, count: int) -> list[float]:
    """Return the other half: inside the two gaps beside the best, or one inside and the rest beyond the end.

    ``best`` is None if every rate diverged, which asks for lower ones.
    """
    ratio = coarse[1] / coarse[0]
    if best is None:
        powers = [-float(step) for step in range(1, count + 1)]
        center = coarse[0]
    elif best in (coarse[0], coarse[-1]):
        outwards = 1 if best == coarse[-1] else -1
        powers = [outwards * step / 2 for step in (-1, *range(1, count))][:count]
        center = best
    else:
        half = (count + 1) // 2
        inside = [step / (half + 1) for step in range(1, half + 1)]
        powers = sorted([*inside, *(-step for step in inside)], key=abs)[:count]
        center = best
    rates = [float(f"{center * ratio**power:.6g}") for power in powers]
    return rates if best is None else sorted(rates)


@dataclass
class _Comparing:
    """One comparison while it goes on."""

    task: Task
    name: str
    trials: int
    tuning: int
    final: tuple[int, ...]
    options: dict[str, Any]
    on_progress: CompareWatcher | None
    total: int
    done: int = 0
    best: tuple[str, float] | None = None
    last: SweepResult | None = None

    def result(self, contender: Contender) -> ContenderResult:
        """Tune and train one contender."""
        runs: list[Run] = []
        lr: float | None = OPTIMIZERS[contender.optimizer].default_lr
        if contender.tuned:
            coarse = coarse_rates(OPTIMIZERS[contender.optimizer].lr_range, self.trials)
            runs += self._run(contender, "coarse", coarse, [self.tuning]).runs
            fine = fine_rates(coarse, _best(runs), self.trials - len(coarse))
            if fine:
                runs += self._run(contender, "fine", fine, [self.tuning]).runs
            lr = _best(runs)
        final = () if lr is None else self._run(contender, "final", [lr], self.final).runs
        if final:
            value = float(np.mean([run.value for run in final]))
            if math.isfinite(value) and (self.best is None or value < self.best[1]):
                self.best = (contender.name, value)
        tuning = None
        if runs:
            assert self.last is not None  # it gave these runs
            validated = self.last.conditions.objective != "training loss"
            tuning = summarize(runs, untrained=self.last.untrained, validated=validated)
        return ContenderResult(contender, lr, tuning, tuple(runs), final, {})

    def _run(self, contender: Contender, phase: str, lrs: list[float], seeds: Sequence[int]) -> SweepResult:
        before = self.done

        def watch(progress: StudyProgress) -> None:
            self.done = before + progress.done
            if self.on_progress is not None:
                kind = "final" if phase == "final" else "tuning"
                self.on_progress(CompareProgress(contender, kind, self.done, self.total, self.best, progress))

        given = {"optimizer": contender.optimizer, "schedule": contender.schedule}
        fixed: dict[str, Any] = {name: [value] for name, value in given.items() if value is not None}
        self.last = sweep(
            self.task,
            lr=sorted(lrs),
            sampler="grid",
            trials=len(lrs),
            seeds=list(seeds),
            repeats=len(lrs) if phase == "final" else 0,
            name=f"{self.name}/{contender.name}/{phase}",
            on_progress=watch,
            **fixed,
            **self.options,
        )
        self.done = before + len(lrs) * len(seeds)
        return self.last


def _best(runs: Sequence[Run]) -> float | None:
    alive = [seen for seen in runs if math.isfinite(seen.value)]
    return min(alive, key=lambda seen: seen.value).lr if alive else None


def _contenders(optimizers: Sequence[str], schedules: Sequence[str] | None) -> list[Contender]:
    names = _listed("optimizers", optimizers, "for example ['sgd', 'adam']")
    texts: Sequence[str | None] = [None] if schedules is None else _listed("schedules", schedules, "or None")
    found = []
    for name in names:
        for text in texts:
            found.append(Contender(name, text))
            if OPTIMIZERS[name].lr_free:
                found.append(Contender(name, text, tuned=False))
    return found


def _listed(argument: str, values: Sequence[str], hint: str) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError(argument, values, "must be a list of at least one name", hint)
    if len(set(values)) < len(values):
        raise InputError(argument, values, "must not name one twice", "Leave the repeated one out")
    return list(values)


def _check(task: Task, contender: Contender) -> None:
    """Raise what is wrong with a contender: before the first one has been trained for hours."""
    entry = OPTIMIZERS[contender.optimizer]
    entry.make([torch.nn.Parameter(torch.zeros(2, 2))], entry.default_lr)
    varied(task, Changes(optimizer=contender.optimizer, schedule=contender.schedule))
