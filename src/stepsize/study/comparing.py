"""The comparison: every contender tuned by the same budget, then trained at its own rate on the same fresh seeds."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch

from stepsize.errors import InputError
from stepsize.optimizers import OPTIMIZERS
from stepsize.study.comparison import Comparison, Contender, Round, Standing, judge_round, steps_to
from stepsize.study.result import SweepResult
from stepsize.study.study import StudyProgress, seeds_of
from stepsize.study.summary import summarise
from stepsize.study.sweeping import sweep
from stepsize.training import Changes, StreamingExecutor, Task, varied
from stepsize.training.runs import Run

__all__ = ["CLASSICS", "CompareProgress", "CompareWatcher", "coarse_rates", "compare", "fine_rates"]

CLASSICS = ("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw")
_FEWEST = 3  # trials: fewer rates have no inside


@dataclass(frozen=True)
class CompareProgress:
    """Where a comparison is: told to whoever watches.

    Attributes:
        contender: What is being trained.
        phase: ``"tuning"`` or ``"final"``.
        done: Trainings with an run.
        total: How many there will be.
        best: The contender that reached the least value so far, with it; None at first.
        sweep: Where its sweep is.
    """

    contender: Contender
    phase: str
    done: int
    total: int
    best: tuple[str, float] | None
    sweep: StudyProgress


CompareWatcher: TypeAlias = Callable[[CompareProgress], None]


def compare(
    task: Task,
    optimizers: Sequence[str] = CLASSICS,
    *,
    schedules: Sequence[str] | None = None,
    batch_sizes: Sequence[int] | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    trials: int = 9,
    seeds: int | Sequence[int] = 3,
    target: float | None = None,
    workers: str | StreamingExecutor = "population",
    store: Any = None,
    name: str | None = None,
    watcher: CompareWatcher | None = None,
    source: Any = None,
    asked: Mapping[str, Any] | None = None,
) -> Comparison:
    """Compare optimizers and schedules, each at its own tuned rate, found with an equal budget.

    Each contender is trained at ``trials`` rates on one seed: the first half of them a grid over its range, the rest
    around the best of that grid, or beyond it where it lies at the edge. The best rate is then trained on ``seeds``
    that tuning has not seen, the same for everyone, and the best contender is compared with each other one in pairs.
    An optimizer that estimates the rate by itself takes part twice: tuned as all others, and at its default without
    any tuning.

    Args:
        task: What to train; without ``val`` the training loss judges. Its own optimizer does not matter.
        optimizers: Names of :data:`~stepsize.optimizers.OPTIMIZERS`.
        schedules: As text; each optimizer is tuned with each. None takes the task's own.
        batch_sizes: Examples a batch; all is compared anew at each, with as many examples seen. None takes the task's.
        ranges: Absolute rates to search, by optimizer; default that of its catalog entry.
        trials: Trainings that find the rate of a contender, at least 3.
        seeds: Those of the final trainings, or how many, counted from the one after the task's.
        target: A training loss; how many updates each took to it is told. None takes the median of what the
            contenders of a round end with.
        workers: A name of :data:`~stepsize.study.WORKERS`, or an executor.
        store: Where each run is kept as it ends (see :func:`stepsize.sweep`): a comparison that was stopped goes on
            from there when it is called again. None keeps nothing.
        name: Of the comparison in the store; None makes one from the task and what is asked for.
        watcher: Called with a :class:`CompareProgress`.
        source: How workers in other processes get the task (see :func:`stepsize.sweep`).
        asked: Plain values that the store keeps with each sweep.

    Returns:
        The answer: ``.verdict``, ``.status``, ``.next``, ``.cost`` and ``.rounds``, in which each optimizer and
        schedule has the answer about its rate; ``.plot()``, ``.to_json()``.

    Raises:
        InputError: If an argument is out of range: before any training, like all that follows.
        MissingExtraError: If the package of an optimizer is not installed.
        UnknownNameError: If an optimizer is in no catalog.
        ScheduleSyntaxError: If a schedule cannot be read.
        StoreError: If the store cannot be read or written.

    Example:
        >>> from stepsize.tasks import build_task
        >>> told = compare(build_task("cancer-mlp", steps=40), ["sgd", "adam"], trials=4, seeds=2)
        >>> [standing.contender.name for standing in told.rounds[0].standings]  # doctest: +SKIP
        ['adam', 'sgd']
        >>> len(told.rounds[0].standings), told.seeds
        (2, (1, 2))

    Reference:
        Sivaprasad et al., "Optimizer benchmarking needs to account for hyperparameter tuning", 2020, for equal budgets;
        Choi et al., "On empirical comparisons of optimizers for deep learning", 2019, for why each needs its own rate.
    """
    began = time.perf_counter()
    contenders = _contenders(optimizers, schedules)
    sizes = _sizes(batch_sizes)
    spans = _spans(ranges, optimizers)
    if isinstance(trials, bool) or not isinstance(trials, int) or trials < _FEWEST:
        raise InputError(
            "trials", trials, f"must be a whole number of at least {_FEWEST}", "Fewer rates have no inside"
        )
    if target is not None and not math.isfinite(target):
        raise InputError("target", target, "must be finite")
    final = seeds_of(task, seeds, first=task.seed + 1)
    for contender in contenders:
        _check(task, contender, sizes)
    tuning = task.seed if task.seed not in final else max(final) + 1
    spec = [task.name, optimizers, schedules, batch_sizes, spans, trials, final]
    short = hashlib.sha256(json.dumps(spec, default=list, sort_keys=True).encode()).hexdigest()[:8]
    runner = _Runner(
        task=task,
        name=name or f"{task.name}-compare-{short}",
        spans=spans,
        trials=trials,
        tuning=tuning,
        final=final,
        options={"workers": workers, "store": store, "source": source, "asked": asked},
        watcher=watcher,
        total=len(sizes) * sum(trials * one.tuned + len(final) for one in contenders),
    )
    rounds = tuple(runner.round(size, contenders, target) for size in sizes)
    assert runner.conditions is not None  # there is a contender, and it was trained
    return Comparison(runner.name, runner.conditions, rounds, trials, final, time.perf_counter() - began)


def coarse_rates(span: tuple[float, float], trials: int) -> list[float]:
    """Return the first half of the rates to try: evenly spaced in log, both ends of ``span`` included.

    Example:
        >>> [round(lr, 6) for lr in coarse_rates((1e-4, 1.0), 9)]
        [0.0001, 0.001, 0.01, 0.1, 1.0]
    """
    return [float(lr) for lr in np.geomspace(*span, max(2, (trials + 1) // 2))]


def fine_rates(coarse: Sequence[float], best: float | None, count: int) -> list[float]:
    """Return the other half: inside the two gaps beside the best, or one inside and the rest beyond an edge.

    Args:
        coarse: The rates tried, ascending.
        best: The best of them; None where every one diverged, which asks for lower ones.
        count: How many to return.

    Example:
        >>> [round(lr, 4) for lr in fine_rates([0.001, 0.01, 0.1], 0.01, 4)]
        [0.0022, 0.0046, 0.0215, 0.0464]
        >>> [round(lr, 4) for lr in fine_rates([0.001, 0.01, 0.1], 0.1, 3)]
        [0.0316, 0.3162, 1.0]
        >>> fine_rates([0.001, 0.01, 0.1], None, 2)
        [0.0001, 1e-05]
    """
    ratio = coarse[1] / coarse[0]
    if best is None:
        powers = [-float(step) for step in range(1, count + 1)]
        centre = coarse[0]
    elif best in (coarse[0], coarse[-1]):
        outwards = 1 if best == coarse[-1] else -1
        powers = [outwards * step / 2 for step in (-1, *range(1, count))][:count]
        centre = best
    else:
        half = (count + 1) // 2
        inside = [step / (half + 1) for step in range(1, half + 1)]
        powers = sorted([*inside, *(-step for step in inside)], key=abs)[:count]
        centre = best
    rates = [float(f"{centre * ratio**power:.6g}") for power in powers]
    return rates if best is None else sorted(rates)


@dataclass
class _Runner:
    """One comparison while it goes on."""

    task: Task
    name: str
    spans: dict[str, tuple[float, float]]
    trials: int
    tuning: int
    final: tuple[int, ...]
    options: dict[str, Any]
    watcher: CompareWatcher | None
    total: int
    done: int = 0
    best: tuple[str, float] | None = None
    conditions: Any = None
    untrained: float = math.nan

    @property
    def validated(self) -> bool:
        """Whether validation data select; known once something was trained."""
        return self.conditions is None or self.conditions.judge != "training loss"

    def round(self, size: int | None, contenders: Sequence[Contender], target: float | None) -> Round:
        """Tune and train every contender at one batch size."""
        found = [self._standing(contender, size) for contender in contenders]
        ends = [one.train_loss for one in found if math.isfinite(one.train_loss)]
        level = target if target is not None else (float(np.median(ends)) if ends else math.nan)
        timed = [_timed(one, level) for one in found]
        return judge_round(timed, batch_size=size, target=level, untrained=self.untrained)

    def _standing(self, contender: Contender, size: int | None) -> Standing:
        runs: list[Run] = []
        lr: float | None = OPTIMIZERS[contender.optimizer].default_lr
        if contender.tuned:
            coarse = coarse_rates(self.spans[contender.optimizer], self.trials)
            runs += self._run(contender, size, "coarse", coarse, [self.tuning]).runs
            fine = fine_rates(coarse, _best(runs), self.trials - len(coarse))
            if fine:
                runs += self._run(contender, size, "fine", fine, [self.tuning]).runs
            lr = _best(runs)
        finals: tuple[Run, ...] = ()
        if lr is not None:
            finals = self._run(contender, size, "final", [lr], self.final).runs
        if finals:
            value = float(np.mean([run.value for run in finals]))
            if math.isfinite(value) and (self.best is None or value < self.best[1]):
                self.best = (contender.name, value)
        untrained = self.untrained if math.isfinite(self.untrained) else None
        return Standing(
            contender=contender,
            lr=lr,
            tuning=summarise(runs, untrained=untrained, validated=self.validated) if runs else None,
            tuning_cost=math.fsum(seen.cost for seen in runs),
            finals=finals,
            tuned_by=tuple(runs),
            steps_to_target={},
        )

    def _run(
        self, contender: Contender, size: int | None, phase: str, lrs: list[float], seeds: Sequence[int]
    ) -> SweepResult:
        before = self.done

        def told(progress: StudyProgress) -> None:
            self.done = before + progress.done
            if self.watcher is not None:
                kind = "final" if phase == "final" else "tuning"
                self.watcher(CompareProgress(contender, kind, self.done, self.total, self.best, progress))

        result = sweep(
            self.task,
            lr=sorted(lrs),
            sampler="grid",
            trials=len(lrs),
            seeds=list(seeds),
            repeats=len(lrs) if phase == "final" else 0,
            name=f"{self.name}/{contender.name}{'' if size is None else f' at {size}'}/{phase}",
            watcher=told,
            **_fixed(contender, size),
            **self.options,
        )
        self.done = before + len(lrs) * len(seeds)
        self.conditions, self.untrained = result.conditions, result.untrained
        return result


def _fixed(contender: Contender, size: int | None) -> dict[str, Any]:
    given = {"optimizer": contender.optimizer, "schedule": contender.schedule, "batch_size": size}
    return {name: [value] for name, value in given.items() if value is not None}


def _best(runs: Sequence[Run]) -> float | None:
    alive = [seen for seen in runs if math.isfinite(seen.value)]
    return min(alive, key=lambda seen: seen.value).lr if alive else None


def _timed(one: Standing, target: float) -> Standing:
    return replace(one, steps_to_target={run.seed: steps_to(run, target) for run in one.finals})


def _contenders(optimizers: Sequence[str], schedules: Sequence[str] | None) -> list[Contender]:
    names = _listed("optimizers", optimizers, "for example ['sgd', 'adam']")
    texts: Sequence[str | None] = [None] if schedules is None else _listed("schedules", schedules, "or None")
    return list(_each(names, texts))


def _each(names: Sequence[str], texts: Sequence[str | None]) -> Iterator[Contender]:
    for name in names:
        entry = OPTIMIZERS[name]
        for text in texts:
            yield Contender(name, text)
            if entry.lr_free:
                yield Contender(name, text, tuned=False)


def _listed(argument: str, values: Sequence[str], hint: str) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise InputError(argument, values, "must be a list of at least one name", hint)
    if len(set(values)) < len(values):
        raise InputError(argument, values, "must not name one twice", "Leave the repeated one out")
    return list(values)


def _sizes(sizes: Sequence[int] | None) -> list[int | None]:
    if sizes is None:
        return [None]
    if not isinstance(sizes, list | tuple) or not sizes or len(set(sizes)) < len(sizes):
        raise InputError("batch_sizes", sizes, "must be a list of different sizes, at least one", "or None")
    return list(sizes)


def _spans(
    ranges: Mapping[str, tuple[float, float]] | None, optimizers: Sequence[str]
) -> dict[str, tuple[float, float]]:
    given = dict(ranges or {})
    for name, span in given.items():
        if name not in optimizers:
            raise InputError("ranges", name, "must be by the names of optimizers that are compared")
        if not (len(span) == 2 and 0 < span[0] < span[1] < math.inf):
            raise InputError(
                f"ranges['{name}']", span, "must be two rates with 0 < low < high", "For example (1e-4, 1.0)"
            )
    return {name: given.get(name, OPTIMIZERS[name].lr_range) for name in optimizers}


def _check(task: Task, contender: Contender, sizes: Sequence[int | None]) -> None:
    """Raise what is wrong with a contender: before the first one has been trained for hours."""
    entry = OPTIMIZERS[contender.optimizer]
    entry.make([torch.nn.Parameter(torch.zeros(2, 2))], entry.default_lr)
    for size in sizes:
        varied(task, Changes(optimizer=contender.optimizer, schedule=contender.schedule, batch_size=size))
