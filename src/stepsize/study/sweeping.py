"""The sweep: a plan asks, workers train, the journal keeps, and the answer is read off what came out."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeAlias

from stepsize.errors import InputError, StoreError
from stepsize.optimizers import OPTIMIZERS
from stepsize.study.crew import LEARNS, WAITS, Hire, workers_entry
from stepsize.study.jobs import Job, Outcome
from stepsize.study.plan import Plan
from stepsize.study.result import SweepResult
from stepsize.study.rungs import Rungs, rungs_entry
from stepsize.study.samplers.catalog import sampler_entry
from stepsize.study.space import Range, Space, as_space
from stepsize.study.summary import summarise
from stepsize.study.swept import SweptRun
from stepsize.study.workers import Local, Workers
from stepsize.training import Changes, Progress, Run, Setting, StreamingExecutor, Task, varied
from stepsize.training.conditions import Conditions
from stepsize.training.start import Start, look_at_start

__all__ = ["SweepProgress", "SweepWatcher", "seeds_of", "sweep"]

_UNKNOWN_RANGE = (1e-5, 0.1)  # of lr, for an optimizer that the catalog does not know
_PER_DECADE = 4  # trials, where only the rate is searched
_PER_DIMENSION = 16  # … where more is
_MOST = 64  # trials, unless more are asked for
_START, _ETA = 1 / 16, 4  # of rungs that are named
_FORMAT = 1  # of the specification that a store keeps


@dataclass(frozen=True)
class SweepProgress:
    """Where a sweep is: told to whoever watches, after each outcome and each update of a run.

    Attributes:
        name: Of the sweep.
        done: Jobs with an outcome.
        remaining: Jobs without one, as far as can be foreseen.
        spent: In trainings.
        to_spend: In trainings, as far as can be foreseen.
        seconds: Wall time since the sweep, or this part of it, began.
        resumed: How many of the jobs done were taken over from before.
        diverged: Jobs that diverged.
        top: The best outcomes on the longest rung so far, best first, at most five.
        notes: What the sweep did by itself, as sentences.
        outcome: What just came out; None between outcomes.
        running: The update just made; None at an outcome.
    """

    name: str
    done: int
    remaining: int
    spent: float
    to_spend: float
    seconds: float
    resumed: int
    diverged: int
    top: tuple[Outcome, ...]
    notes: tuple[str, ...]
    outcome: Outcome | None = None
    running: Progress | None = None


SweepWatcher: TypeAlias = Callable[[SweepProgress], None]


def sweep(
    task: Task,
    lr: Any = None,
    *,
    seeds: int | Sequence[int] = 3,
    sampler: str | None = None,
    trials: int | None = None,
    rungs: str | Rungs = "full",
    repeats: int = 2,
    workers: str | StreamingExecutor | Workers = "population",
    store: Any = None,
    name: str | None = None,
    seed: int = 0,
    watcher: SweepWatcher | None = None,
    source: Any = None,
    asked: Mapping[str, Any] | None = None,
    **others: Any,
) -> SweepResult:
    """Search the peak rate of ``task``, alone or with what goes with it, and say how far the answer can be trusted.

    Every trial is trained on the first seed. A rate at which training diverges bounds the rates that are proposed
    after it; a best rate at the edge of the range widens the range by a decade, twice at most. Then the best trials are
    trained on the other seeds, the same for all of them, and compared in pairs. On a shorter rung a training has the
    task's whole schedule, compressed.

    Args:
        task: What to train; without ``val`` the training loss judges.
        lr: Absolute peak rates: a range ``(low, high)`` or a list. None takes the range of the
            optimizer's catalog entry.
        seeds: The seeds of weights, batch order and dropout, or how many, counted from the task's.
        sampler: A name of :data:`~stepsize.study.SAMPLERS`; None takes a grid for the rate alone, else ``"tpe"``.
        trials: How many settings are proposed, those of a widened range not counted; None takes four a decade for the
            rate alone, else sixteen a dimension, at most 64.
        rungs: ``"full"`` trains all trials on the whole horizon; ``"halving"``, ``"asha"`` and ``"hyperband"`` begin
            with a sixteenth and go on with the best quarter; or a :class:`~stepsize.study.Rungs`.
        repeats: How many of the best trials are trained on the other seeds.
        workers: A name of :data:`~stepsize.study.WORKERS`, an executor, or workers that were hired for this task;
            they are closed at the end.
        store: A :class:`~stepsize.store.Store`, a path or a URL in which each run is kept as it ends; a sweep that
            was stopped goes on from there when it is called again. None keeps nothing.
        name: Of the sweep in the store; None makes one from the task and what is asked for.
        seed: Of the sampler.
        watcher: Called with a :class:`SweepProgress`.
        source: How workers in other processes get the task: an import path or a built-in name; None sends the task.
        asked: Plain values that the store keeps with the sweep, such as what the task was made from.
        others: What is searched or fixed beside the rate, by the names of :class:`~stepsize.training.Changes`:
            ``momentum=(0.5, 0.99)``, ``batch_size=[32, 64]``, ``optimizer=["sgd", "adamw"]``, ...

    Returns:
        The answer; ``.best``, ``.interval``, ``.curve``, ``.sensitivity``, ``.status``.

    Raises:
        InputError: If an argument is out of range, or the store has a sweep of that name for something else.
        UnknownNameError: If a name is in no catalog.
        TaskError: If the parts of the task do not fit together.
        StoreError: If the store cannot be read or written.

    Example:
        >>> from stepsize.tasks import build_task
        >>> found = sweep(build_task("cancer-mlp", steps=40), lr=(1e-4, 1.0), trials=5, seeds=2)
        >>> found.complete, len(found.runs) >= 7, found.best.values == {"lr": found.lr}
        (True, True, True)

    Reference:
        Wortsman et al., "Small-scale proxies for large-scale transformer training instabilities", 2023, for the
        sensitivity; Li et al., "A system for massively parallel hyperparameter tuning", 2020, for asynchronous rungs.
    """
    space = as_space(lr=_range(task) if lr is None else lr, **others)
    chosen = sampler or ("grid" if len(space.free) <= 1 else "tpe")
    entry = sampler_entry(chosen)
    crew = workers_entry(workers).hire if isinstance(workers, str) else partial(_own, workers)
    count = _trials(space) if trials is None else trials
    climbed = rungs if isinstance(rungs, Rungs) else rungs_entry(rungs).make(_START, _ETA)
    own = seeds_of(task, seeds)
    plan = Plan(space, entry.make(seed, count), trials=count, rungs=climbed, seeds=own, repeats=repeats)
    start = look_at_start(task, own[0])
    spec = {
        "format": _FORMAT,
        "task": {
            "name": task.name,
            "source": source if isinstance(source, str) else None,
            "start": start.fingerprint,
            "untrained": start.judged if math.isfinite(start.judged) else None,
            "conditions": asdict(Conditions.of(task, start.batch_size)),
        },
        "space": space.to_json(),
        "sampler": {"name": chosen, "seed": seed, "trials": count},
        "rungs": {
            "kind": rungs if isinstance(rungs, str) else "own",
            "shares": list(climbed.shares),
            "eta": climbed.eta,
        },
        "seeds": list(own),
        "repeats": repeats,
        "asked": dict(asked or {}),
    }
    name = name or f"{task.name}-{_short_digest(spec)}"
    with ExitStack() as open_things:
        journal = _journal(store, name, spec, open_things)
        running = _Running(task, name, plan, start, journal, watcher)
        wanted = Hire(task, source or task, entry.learns, running.update if watcher else None, running.tell)
        hired = open_things.enter_context(crew(wanted))
        return running.run(hired)


class _Running:
    """One sweep while it goes on."""

    def __init__(
        self,
        task: Task,
        name: str,
        plan: Plan,
        start: Start,
        journal: Any | None,
        watcher: SweepWatcher | None,
    ) -> None:
        self._began = time.perf_counter()
        self._task = task
        self._name = name
        self._plan = plan
        self._start = start
        self._journal = journal
        self._watcher = watcher
        self._runs: list[SweptRun] = []
        self._told: list[str] = []
        self._top: list[Outcome] = []
        self._flying: dict[int, Job] = {}
        self._tickets = 0
        self._resumed = 0
        self._spent = 0.0

    def run(self, workers: Workers) -> SweepResult:
        """Train what the plan asks for and return the answer."""
        if self._journal is not None:
            trials, runs = self._journal.history()
            self._plan.restore(trials, [run.outcome for run in runs])
            for run in runs:
                self._take(run)
            self._resumed = len(runs)
        try:
            while self._submit(workers):
                for ticket, run in workers.collect():
                    self._end(self._flying.pop(ticket), run)
                    self._submit(workers)  # whoever is free goes on at once
        except BaseException:
            if self._journal is not None:
                self._journal.finish("interrupted")
                with suppress(StoreError):  # what stopped the sweep is the news
                    self._journal.mirror(self._plan.space)
            raise
        if self._journal is not None:
            self._journal.finish("done")
            self._journal.mirror(self._plan.space)
        return self._result()

    def tell(self, sentence: str) -> None:
        """Take note of what the workers did by themselves."""
        self._told.append(f"{sentence[:1].upper()}{sentence[1:]}.")

    def update(self, progress: Progress) -> None:
        """Pass on the progress of a run."""
        if self._watcher is not None:
            self._watcher(self._progress(running=progress))

    def _submit(self, workers: Workers) -> bool:
        """Keep the workers busy; return whether anything is under way."""
        while len(self._flying) < workers.capacity and (job := self._plan.ask()) is not None:
            if self._journal is not None and workers.capacity > 1:
                self._journal.add_trial(job.trial)  # several are under way: what they are is not to be guessed anew
            self._tickets += 1
            self._flying[self._tickets] = job
            workers.submit(self._tickets, self._setting(job))
        return bool(self._flying)

    def _setting(self, job: Job) -> Setting:
        changes = Changes(**{key: value for key, value in job.trial.values.items() if key != "lr"})  # type: ignore[arg-type]
        horizon = varied(self._task, changes).horizon
        steps = max(1, round(job.share * horizon))
        limit = None if steps >= horizon else self._start.val_limit(max(1, round(job.share * self._start.horizon)))
        return Setting(job.trial.lr, job.seed, steps, limit, changes)

    def _end(self, job: Job, run: Run) -> None:
        outcome = self._outcome(job, run)
        if self._journal is not None:
            self._journal.add(outcome, run)
        self._plan.tell(outcome)
        self._take(SweptRun.of(outcome, run))
        if self._watcher is not None:
            self._watcher(self._progress(outcome=outcome))

    def _outcome(self, job: Job, run: Run) -> Outcome:
        batch_size = run.setting.changes.batch_size or self._start.batch_size
        size = batch_size / self._start.batch_size  # a pass over larger batches is dearer
        diverged = None if run.divergence is None else min(1.0, run.divergence.step / run.setting.steps)
        return Outcome(
            job,
            run.judged(self._task.judge, maximize=self._task.maximize),
            diverged,
            run.train_loss,
            run.val_loss,
            run.passes * size / self._start.full_passes,
            run.seconds,
        )

    def _take(self, run: SweptRun) -> None:
        self._runs.append(run)
        self._spent += run.outcome.cost
        if math.isfinite(run.outcome.value):
            longest = max(run.outcome.job.share, *(seen.job.share for seen in self._top), 0.0)
            ranked = [seen for seen in (*self._top, run.outcome) if seen.job.share == longest]
            self._top = sorted(ranked, key=lambda seen: seen.value)[:5]

    def _progress(self, outcome: Outcome | None = None, running: Progress | None = None) -> SweepProgress:
        jobs, cost = self._plan.remaining()
        return SweepProgress(
            name=self._name,
            done=len(self._runs),
            remaining=jobs,
            spent=self._spent,
            to_spend=cost,
            seconds=time.perf_counter() - self._began,
            resumed=self._resumed,
            diverged=sum(run.outcome.diverged for run in self._runs),
            top=tuple(self._top),
            notes=self._notes(),
            outcome=outcome,
            running=running,
        )

    def _notes(self) -> tuple[str, ...]:
        return (*self._told, *self._plan.notes)

    def _result(self) -> SweepResult:
        return SweepResult(
            name=self._name,
            where=None if self._journal is None else self._journal.where,
            conditions=Conditions.of(self._task, self._start.batch_size),
            space=self._plan.space,
            summary=summarise([run.outcome for run in self._runs], untrained=self._start.judged),
            notes=self._notes(),
            runs=tuple(self._runs),
            untrained=self._start.judged,
            seconds=time.perf_counter() - self._began,
            complete=self._plan.done,
        )


def _own(workers: StreamingExecutor | Workers, wanted: Hire) -> Workers:
    if isinstance(workers, Workers):
        return workers
    return Local(wanted.task, workers, capacity=LEARNS if wanted.learns else WAITS, watcher=wanted.watcher)


def _journal(store: Any, name: str, spec: dict[str, Any], open_things: ExitStack) -> Any | None:
    if store is None:
        return None
    from stepsize.store import Store
    from stepsize.study.journal import Journal

    opened = store if isinstance(store, Store) else open_things.enter_context(Store.open(store))
    return open_things.enter_context(Journal(opened, name, spec))


def _range(task: Task) -> tuple[float, float]:
    return OPTIMIZERS[task.optimizer].lr_range if isinstance(task.optimizer, str) else _UNKNOWN_RANGE


def _trials(space: Space) -> int:
    if len(space.free) > 1:
        return min(_MOST, _PER_DIMENSION * len(space.free))
    rates = space.lr
    if not isinstance(rates, Range):
        return len(rates.values)
    return min(_MOST, max(3, round(_PER_DECADE * math.log10(rates.high / rates.low)) + 1))


def seeds_of(task: Task, seeds: int | Sequence[int], *, first: int | None = None) -> tuple[int, ...]:
    """Return the seeds that ``seeds`` asks for; a number of them counts from ``first``, default the task's own.

    Raises:
        InputError: If there is none, or they are neither a number nor a list.
    """
    begin = task.seed if first is None else first
    if isinstance(seeds, int) and not isinstance(seeds, bool):
        if seeds < 1:
            raise InputError("seeds", seeds, "must be at least 1")
        return tuple(range(begin, begin + seeds))
    if isinstance(seeds, str | bool) or not isinstance(seeds, Sequence):
        raise InputError("seeds", seeds, "must be a whole number or a list of seeds")
    return tuple(seeds)


def _short_digest(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:6]
