"""The engine: a strategy asks, workers train, the journal keeps, the strategy is told. `find`, `sweep`, `compare`."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stepsize.errors import InputError
from stepsize.study.crew import LEARNS, WAITS, Hire, workers_entry
from stepsize.study.jobs import Job
from stepsize.study.strategy import Strategy
from stepsize.study.workers import Local, Workers
from stepsize.training.executor import StreamingExecutor
from stepsize.training.runs import Changes, Progress, Run, Setting
from stepsize.training.start import Start, look_at_start
from stepsize.training.task import Task
from stepsize.training.threads import threads_for, training_threads
from stepsize.training.variation import varied

if TYPE_CHECKING:
    from stepsize.study.journal import Journal

__all__ = [
    "Stopped",
    "Study",
    "StudyOutcome",
    "StudyProgress",
    "StudyWatcher",
    "default_name",
    "run_study",
    "seeds_of",
]

_SHOWN = 5  # of the best runs, to whoever watches
_ROUNDING = 1e-9  # of a budget

Stopped: TypeAlias = Literal["", "budget", "seconds", "interrupted"]
"""Why a study ended before its strategy did; empty where it did not."""


@dataclass(frozen=True)
class StudyProgress:
    """Where a study is: told to whoever watches, after each run and each update of a run.

    Attributes:
        name: Of the study.
        done: Jobs with a run.
        remaining: Jobs without one, as far as can be foreseen.
        spent: In full runs.
        to_spend: In full runs, as far as can be foreseen.
        seconds: Wall time since the study, or this part of it, began.
        resumed: How many of the runs were taken over from before.
        diverged: Runs that diverged.
        top: The best runs on the longest horizon so far, best first, at most five.
        notes: What the study did by itself, as sentences.
        run: The run that just ended; None between runs.
        running: The update just made; None at the end of a run.
    """

    name: str
    done: int
    remaining: int
    spent: float
    to_spend: float
    seconds: float
    resumed: int
    diverged: int
    top: tuple[Run, ...]
    notes: tuple[str, ...]
    run: Run | None = None
    running: Progress | None = None


StudyWatcher: TypeAlias = Callable[[StudyProgress], None]


@dataclass(frozen=True, eq=False)
class StudyOutcome:
    """What a study came to.

    Attributes:
        name: Of the study; what it is called in the store.
        where: The store, without its password; None without one.
        runs: Every run, in the order in which they ended, those of earlier parts of the study included.
        notes: What the study did by itself, as sentences.
        seconds: Wall time of this call.
        complete: Whether all that the strategy wanted was trained.
        stopped: Why it ended early: ``"budget"``, ``"seconds"`` or ``"interrupted"``; empty where it did not.
        resumed: How many of the runs were taken over from before.
    """

    name: str
    where: str | None
    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    seconds: float
    complete: bool
    stopped: Stopped = ""
    resumed: int = 0

    @property
    def cost(self) -> float:
        """What all runs cost, in full runs."""
        return math.fsum(run.cost for run in self.runs)


def run_study(
    task: Task,
    strategy: Strategy,
    *,
    start: Start | None = None,
    workers: str | StreamingExecutor | Workers = "population",
    source: Any = None,
    learns: bool = True,
    store: Any = None,
    name: str | None = None,
    kind: str = "study",
    spec: Mapping[str, Any] | None = None,
    watcher: StudyWatcher | None = None,
    budget: float | None = None,
    seconds: float | None = None,
    at_least: float = 0.0,
    overrun: Literal["finish", "cut"] = "finish",
    on_interrupt: Literal["raise", "answer"] = "raise",
) -> StudyOutcome:
    """Train what ``strategy`` asks for, until it is done or something ends it, and return what came out.

    Each run is stored before the strategy is told of it. Killed at any moment, the same call goes on where it was.

    Args:
        task: What to train.
        strategy: What to ask, made anew: with a store it is first restored to where the study was.
        start: What is known of the task; None looks.
        workers: A name of :data:`~stepsize.study.WORKERS`, an executor, or workers that were hired for this task;
            they are closed at the end.
        source: How workers in other processes get the task: an import path or a built-in name; None sends the task.
        learns: Whether what is asked for depends on what was told: fewer jobs are then handed out at once.
        store: A :class:`~stepsize.store.Store`, a path or a URL; None keeps nothing.
        name: Of the study in the store; None makes one from the task and ``spec``.
        kind: What makes it, for the store.
        spec: What was asked for, as plain values: a study is only taken up again with the same.
        watcher: Called with a :class:`StudyProgress`.
        budget: In full runs, over all parts of the study: no job is begun whose cost does not fit; None for no limit.
        seconds: Wall time of this call, after which no job is begun, nor one that is expected to take longer than
            what is left; None for no limit.
        at_least: Full runs that may be spent however long they take.
        overrun: What becomes of runs in progress then: they are finished, or cut off and forgotten, where the
            workers tell of their updates (all but Ray's).
        on_interrupt: What Ctrl-C does: ``"raise"`` passes it on, ``"answer"`` returns what is known.

    Returns:
        The runs, and how it ended.

    Raises:
        InputError: If a limit is not positive, or the store has a study of that name for something else.
        UnknownNameError: If there are no workers of that name.
        TaskError: If the parts of the task do not fit together.
        StoreError: If the store cannot be read or written.

    Example:
        >>> from stepsize.study.strategy import Listed
        >>> from stepsize.tasks import build_task
        >>> from stepsize.training.runs import Trial
        >>> jobs = [Job(Trial(number, {"lr": lr}), 0.5, seed=0) for number, lr in enumerate((1e-3, 1e-2, 1e-1))]
        >>> found = run_study(build_task("cancer-mlp", steps=40), Listed(jobs), budget=1.2)
        >>> [run.lr for run in found.runs], found.stopped
        ([0.001, 0.01], 'budget')
    """
    for argument, limit in (("budget", budget), ("seconds", seconds)):
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int | float) or not limit > 0):
            raise InputError(argument, limit, "must be a positive number, or None for no limit")
    crew = workers_entry(workers).hire if isinstance(workers, str) else partial(_own, workers)
    asked = dict(spec or {})
    study = Study(
        task,
        strategy,
        look_at_start(task, task.seed) if start is None else start,
        name=name or default_name(task, asked),
        watcher=watcher,
        budget=budget,
        seconds=seconds,
        at_least=at_least,
        overrun=overrun,
        on_interrupt=on_interrupt,
    )
    with ExitStack() as open_things:
        open_things.enter_context(training_threads(study.start.operations))
        study.journal = _journal(store, study.name, kind, asked, open_things)
        watched = study.update if watcher is not None or seconds is not None else None
        threads = threads_for(study.start.operations)
        wanted = Hire(task, source or task, learns, watched, study.tell, threads=threads)
        return study.run(open_things.enter_context(crew(wanted)))


class Study:
    """One study while it goes on; made by :func:`run_study`."""

    def __init__(
        self,
        task: Task,
        strategy: Strategy,
        start: Start,
        *,
        name: str,
        watcher: StudyWatcher | None,
        budget: float | None,
        seconds: float | None,
        at_least: float,
        overrun: Literal["finish", "cut"],
        on_interrupt: Literal["raise", "answer"],
    ) -> None:
        self._began = time.perf_counter()
        self.start = start
        self.name = name
        self.journal: Journal | None = None
        self._task = task
        self._strategy = strategy
        self._watcher = watcher
        self._budget = math.inf if budget is None else budget
        self._deadline = math.inf if seconds is None else self._began + seconds
        self._at_least = at_least
        self._cuts = overrun == "cut"
        self._local = False
        self._answers = on_interrupt == "answer"
        self._runs: list[Run] = []
        self._told: list[str] = []
        self._top: list[Run] = []
        self._flying: dict[int, Job] = {}
        self._held: Job | None = None  # asked for, but does not fit the budget
        self._tickets = 0
        self._resumed = 0
        self._diverged = 0
        self._spent = 0.0
        self._stopped: Stopped = ""

    def run(self, workers: Workers) -> StudyOutcome:
        """Train what the strategy asks for and return what came out."""
        self._local = isinstance(workers, Local)
        self._restore()
        try:
            self._drive(workers)
        except _OutOfTime:
            self._stopped = "seconds"
        except KeyboardInterrupt:
            self._stopped = "interrupted"
            if not self._answers:
                self._close()
                raise
        except BaseException:
            self._stopped = "interrupted"
            self._close()
            raise
        self._close()
        return StudyOutcome(
            name=self.name,
            where=None if self.journal is None else self.journal.where,
            runs=tuple(self._runs),
            notes=self._notes(),
            seconds=time.perf_counter() - self._began,
            complete=not self._stopped and self._strategy.done,
            stopped=self._stopped,
            resumed=self._resumed,
        )

    def tell(self, sentence: str) -> None:
        """Take note of what the workers did by themselves."""
        self._told.append(f"{sentence[:1].upper()}{sentence[1:]}.")

    def update(self, progress: Progress) -> None:
        """Pass on the progress of a run; ends what overruns."""
        if self._late():
            # Of what was handed in at once, some may not have begun in time: that is not "in progress".
            begins = self._local and progress.step <= 1
            if self._cuts or begins:
                raise _OutOfTime
        if self._watcher is not None:
            self._watcher(self._progress(running=progress))

    def _restore(self) -> None:
        if self.journal is None:
            return
        trials, runs = self.journal.history()
        self._strategy.restore(trials, runs)
        for run in runs:
            self._take(run)
        self._resumed = len(runs)

    def _drive(self, workers: Workers) -> None:
        while self._submit(workers):
            for ticket, run in workers.collect():
                self._end(ticket, run)
                self._submit(workers)  # whoever is free goes on at once

    def _submit(self, workers: Workers) -> bool:
        """Keep the workers busy; return whether anything is under way."""
        while len(self._flying) < workers.capacity and (job := self._next()) is not None:
            if self.journal is not None and workers.capacity > 1:
                self.journal.add_trial(job.trial)  # several are under way: what they are is not to be guessed anew
            self._tickets += 1
            self._flying[self._tickets] = job
            workers.submit(self._tickets, self._setting(job))
        return bool(self._flying)

    def _next(self) -> Job | None:
        """Return the next job that may begin; None where nothing may until a run ends, or at all."""
        if self._late():
            if not self._strategy.done:
                self._stopped = "seconds"
            return None
        job = self._strategy.ask() if self._held is None else self._held
        self._held = None
        if job is None:
            return job
        promised = math.fsum(self._price(other) for other in self._flying.values())
        if self._late(self._price(job)) and self._spent + promised + self._price(job) > self._at_least + _ROUNDING:
            self._held = job
            self._stopped = self._stopped if self._flying else "seconds"
            return None
        if not math.isfinite(self._budget):
            return job
        if self._spent + promised + self._price(job) <= self._budget * (1 + _ROUNDING):
            return job
        self._held = job
        if not self._flying:  # else one that diverges may cost less than was promised
            self._stopped = "budget"
        return None

    def _late(self, price: float = 0.0) -> bool:
        """Return whether the time is up, or would be before a job of ``price`` full runs ends, by the runs so far."""
        if not math.isfinite(self._deadline) or (price == 0.0 and self._spent < self._at_least - _ROUNDING):
            return False
        if price == 0.0:
            return time.perf_counter() > self._deadline
        longest = max(self._runs, key=lambda run: (run.share, run.cost), default=None)
        needed = 0.0 if longest is None or not longest.cost else longest.seconds / longest.cost * price
        return time.perf_counter() + needed > self._deadline

    def _setting(self, job: Job) -> Setting:
        changes = Changes(**{key: value for key, value in job.trial.values.items() if key != "lr"})  # type: ignore[arg-type]
        horizon = self._task.horizon if changes == _UNCHANGED else varied(self._task, changes).horizon
        costs = self.start.costs
        steps = max(1, round(job.share * horizon))
        limit = None if steps >= horizon else costs.val_limit(max(1, round(job.share * costs.horizon)))
        return Setting(job.trial.lr, job.seed, steps, limit, changes)

    def _price(self, job: Job) -> float:
        """Return what a job will cost, in full runs; as many examples are seen with batches of any size."""
        return self.start.costs.run(max(1, round(job.share * self.start.costs.horizon)))

    def _end(self, ticket: int, run: Run) -> None:
        job = self._flying[ticket]
        cost = self.start.costs.full_runs(run.passes, run.setting.changes.batch_size)
        run = replace(run, trial=job.trial, share=job.share, cost=cost)
        if self.journal is not None:
            run = self.journal.add(run)
        del self._flying[ticket]
        self._strategy.tell(run)
        self._take(run)
        if self._watcher is not None:
            self._watcher(self._progress(run=run))

    def _take(self, run: Run) -> None:
        self._runs.append(run)
        self._spent += run.cost
        self._diverged += run.diverged
        if math.isfinite(run.value):
            longest = max(run.share, self._top[0].share if self._top else 0.0)
            ranked = [seen for seen in (*self._top, run) if seen.share == longest]
            self._top = sorted(ranked, key=lambda seen: seen.value)[:_SHOWN]

    def _progress(self, run: Run | None = None, running: Progress | None = None) -> StudyProgress:
        jobs, cost = self._strategy.remaining()
        return StudyProgress(
            name=self.name,
            done=len(self._runs),
            remaining=jobs,
            spent=self._spent,
            to_spend=cost,
            seconds=time.perf_counter() - self._began,
            resumed=self._resumed,
            diverged=self._diverged,
            top=tuple(self._top),
            notes=self._notes(),
            run=run,
            running=running,
        )

    def _notes(self) -> tuple[str, ...]:
        return (*self._told, *self._strategy.notes)

    def _close(self) -> None:
        """Write down how the study stands."""
        if self.journal is not None:
            self.journal.finish("interrupted" if self._stopped else "done")


_UNCHANGED = Changes()


class _OutOfTime(Exception):  # noqa: N818  it is no error: a study ends by it
    """A run is cut off, because the study has no time left."""


def default_name(task: Task, spec: Mapping[str, Any], more: str = "") -> str:
    """Return the name of a study that was given none: the task's, and a digest of what was asked for.

    Args:
        task: What is trained.
        spec: What was asked for, as plain values.
        more: What stands between them.
    """
    short = hashlib.sha256(json.dumps(spec, sort_keys=True, default=list).encode()).hexdigest()[:6]
    return f"{task.name}-{more}{short}"


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


def _own(workers: StreamingExecutor | Workers, wanted: Hire) -> Workers:
    if isinstance(workers, Workers):
        return workers
    return Local(wanted.task, workers, capacity=LEARNS if wanted.learns else WAITS, watcher=wanted.watcher)


def _journal(store: Any, name: str, kind: str, spec: dict[str, Any], open_things: ExitStack) -> Journal | None:
    if store is None:
        return None
    from stepsize.store import Store
    from stepsize.study.journal import Journal

    opened = store if isinstance(store, Store) else open_things.enter_context(Store.open(store))
    return open_things.enter_context(Journal(opened, name, kind, spec))
