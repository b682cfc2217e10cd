"""The engine of `find`, `sweep` and `compare`: a strategy asks, workers train, the store saves."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stepsize.checks import check_positive, check_whole
from stepsize.errors import InputError
from stepsize.study.outcome import Stopped, StudyOutcome
from stepsize.study.strategy import Job, Strategy
from stepsize.study.workers import WORKERS, Local, Workers, WorkerSpec, workers_for
from stepsize.training.conditions import RunConditions
from stepsize.training.loop import StreamingExecutor
from stepsize.training.runs import Changes, Progress, Run, Setting
from stepsize.training.start import Start, look_at_start
from stepsize.training.task import Task
from stepsize.training.threads import threads_for, training_threads
from stepsize.training.variation import varied

if TYPE_CHECKING:
    from stepsize.store import Writer

_ROUNDING = 1e-9  # of a budget
_BRIEF = 0.5  # seconds: not before each run that takes less is progress saved
_UNCHANGED = Changes()


@dataclass(frozen=True)
class StudyProgress:
    """Progress of a study, after each run and each step of a run.

    Attributes:
        name: Name of the study.
        objective: What the values are: ``"validation loss"``, ``"training loss"``, or a metric.
        done: Number of runs that ended.
        remaining: Number of runs to come, as far as known.
        spent: Cost so far in full runs.
        seconds: Wall time of this call.
        resumed: How many of the runs are from earlier calls.
        diverged: Number of runs that diverged.
        best: The best run on the longest horizon so far; None at first.
        notes: What the study did automatically, as sentences.
        run: The run that just ended; None between runs.
        running: The step just made; None at the end of a run.
    """

    name: str
    objective: str
    done: int
    remaining: int
    spent: float
    seconds: float
    resumed: int
    diverged: int
    best: Run | None
    notes: tuple[str, ...]
    run: Run | None = None
    running: Progress | None = None

    @property
    def fraction(self) -> float:
        """The fraction of the runs that ended, in [0, 1]."""
        return self.done / max(1, self.done + self.remaining)


StudyWatcher: TypeAlias = Callable[[StudyProgress], None]


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
    on_progress: StudyWatcher | None = None,
    budget: float | None = None,
    seconds: float | None = None,
    at_least: float = 0.0,
    on_interrupt: Literal["raise", "answer"] = "raise",
) -> StudyOutcome:
    """Train what ``strategy`` asks for, until it is done or a limit ends it, and return the runs.

    Each run is stored before the strategy is told of it. If the process is killed, the same call continues: a study is
    only continued with an equal ``spec``. ``workers``, ``source`` and ``store`` are those of :func:`stepsize.sweep`;
    ``kind`` and ``spec`` are what the store keeps. A strategy that ``learns`` from runs gets fewer jobs at a time.

    ``budget`` is in full runs over all calls: no job begins whose cost does not fit. ``seconds`` is wall time of this
    call: no job begins after it, nor one that is expected to exceed it; ``at_least`` full runs may be spent however
    long they take. Ctrl-C raises, or returns what is known if ``on_interrupt`` is ``"answer"``.
    """
    for argument, limit in (("budget", budget), ("seconds", seconds)):
        if limit is not None:
            check_positive(argument, limit, remedy="None is no limit")
    if isinstance(workers, str):
        WORKERS[workers]  # an unknown name is refused before anything runs
    asked, start = dict(spec or {}), look_at_start(task, task.seed) if start is None else start
    study = Study(
        task,
        strategy,
        start,
        RunConditions.of(task, start.batch_size).objective,
        name=name or default_name(task, asked),
        on_progress=on_progress,
        budget=budget or math.inf,
        deadline=time.perf_counter() + (seconds or math.inf),
        at_least=at_least,
        answers=on_interrupt == "answer",
    )
    with ExitStack() as open_things:
        open_things.enter_context(training_threads(study.start.operations))
        if store is not None:
            study.begin_writing(store, kind, asked, open_things)
        watched = study.update if on_progress is not None or seconds is not None else None
        threads = threads_for(study.start.operations)
        needed = WorkerSpec(task, source or task, learns, watched, study.note, threads=threads)
        return study.run(open_things.enter_context(closing(workers_for(workers, needed))))


@dataclass(eq=False)
class Study:
    """One study while it goes on; made by :func:`run_study`."""

    task: Task
    strategy: Strategy
    start: Start
    objective: str
    name: str
    on_progress: StudyWatcher | None
    budget: float  # of all calls, in full runs
    deadline: float  # of this one, by the clock
    at_least: float  # full runs that the clock does not limit
    answers: bool  # whether Ctrl-C ends it with an answer
    _began: float = field(default_factory=time.perf_counter)
    _where: str | None = None
    _writer: Writer | None = None
    _local: bool = False
    _runs: list[Run] = field(default_factory=list)
    _messages: list[str] = field(default_factory=list)
    _best: Run | None = None
    _flying: dict[int, Job] = field(default_factory=dict)
    _held: Job | None = None  # asked for, but does not fit the budget
    _tickets: int = 0
    _resumed: int = 0
    _diverged: int = 0
    _spent: float = 0.0
    _inherited: float = 0.0  # of that, in earlier calls
    _saved: float = -math.inf  # when progress was saved last
    _stopped: Stopped = ""

    def begin_writing(self, store: Any, kind: str, spec: dict[str, Any], open_things: ExitStack) -> None:
        """Become the writer of the study, and restore the strategy to where it was."""
        from stepsize.store import Store

        opened = store if isinstance(store, Store) else open_things.enter_context(Store.open(store))
        self._where = opened.where
        self._writer = open_things.enter_context(opened.begin(self.name, kind, spec))
        runs = opened.runs(self.name)
        self.strategy.restore(opened.trials(self.name), runs)
        for run in runs:
            self._take(run)
        self._resumed, self._inherited = len(runs), self._spent

    def run(self, workers: Workers) -> StudyOutcome:
        """Train what the strategy asks for and return what came out."""
        self._local = isinstance(workers, Local)
        try:
            self._drive(workers)
        except _OutOfTime:
            self._stopped = "seconds"
        except BaseException as error:
            self._stopped = "interrupted"
            if not (self.answers and isinstance(error, KeyboardInterrupt)):
                raise
        finally:
            if self._writer is not None:
                self._writer.finish("interrupted" if self._stopped else "done")
        return StudyOutcome(
            name=self.name,
            where=self._where,
            runs=tuple(self._runs),
            notes=self._notes(),
            seconds=time.perf_counter() - self._began,
            complete=not self._stopped and self.strategy.done,
            stopped=self._stopped,
            resumed=self._resumed,
        )

    def note(self, sentence: str) -> None:
        """Take note of what the workers did automatically."""
        self._messages.append(f"{sentence[:1].upper()}{sentence[1:]}.")

    def update(self, progress: Progress) -> None:
        """Pass on the progress of a run; drops one that begins after the time limit."""
        if self._local and progress.step <= 1 and self._late():  # of runs that were submitted together, some begin late
            raise _OutOfTime
        if self.on_progress is not None:
            self.on_progress(self._progress(running=progress))

    def _drive(self, workers: Workers) -> None:
        while self._submit(workers):
            for ticket, run in workers.collect():
                self._end(ticket, run)
                self._submit(workers)  # whoever is free goes on at once

    def _submit(self, workers: Workers) -> bool:
        """Keep the workers busy; return whether anything is under way."""
        before = self._tickets
        while len(self._flying) < workers.capacity and (job := self._next()) is not None:
            if self._writer is not None and workers.capacity > 1:
                self._writer.add_trial(job.trial)  # several are under way: they are not to be proposed anew
            self._tickets += 1
            self._flying[self._tickets] = job
            workers.submit(self._tickets, self._setting(job))
        if self._tickets > before:
            self._save_progress()
        return bool(self._flying)

    def _save_progress(self) -> None:
        """Save what is trained now and the time left, for those who read the store."""
        if self._writer is None:
            return
        now, pace = time.perf_counter(), self._pace()
        longest = max(map(self._price, self._flying.values()), default=0.0)
        if pace is not None and pace * longest < _BRIEF and now < self._saved + _BRIEF:
            return
        from stepsize.store import ProgressRecord

        self._saved = now
        running = [
            {**job.trial.values, "steps": self._setting(job).steps, "share": job.share, "seed": job.seed}
            for job in self._flying.values()
        ]
        left, at_most = self._left(pace)
        self._writer.set_progress(ProgressRecord(datetime.now(UTC), running, left, at_most))

    def _pace(self) -> float | None:
        """Return the seconds per full run in this call, several at a time counted as such; None before the first."""
        spent = self._spent - self._inherited
        return (time.perf_counter() - self._began) / spent if spent > 0 else None

    def _left(self, pace: float | None) -> tuple[float | None, bool]:
        """Return the seconds to the end, and whether that is the rest of a budget, of which not all may be needed."""
        if pace is None:
            return None, False
        clock = self.deadline - time.perf_counter()
        limit = min((self.budget - self._spent) * pace, max(clock, (self.at_least - self._spent) * pace))
        if math.isfinite(limit):
            return max(0.0, limit), True
        return self.strategy.remaining() * self._spent / len(self._runs) * pace, False

    def _next(self) -> Job | None:
        """Return the next job that can begin; None if nothing can until a run ends, or at all."""
        if self._late():
            if not self.strategy.done:
                self._stopped = "seconds"
            return None
        job = self.strategy.ask() if self._held is None else self._held
        self._held = None
        if job is None:
            return job
        price = self._price(job)
        total = self._spent + math.fsum(self._price(other) for other in self._flying.values()) + price
        if self._late(price) and total > self.at_least + _ROUNDING:
            self._held = job
            self._stopped = self._stopped if self._flying else "seconds"
            return None
        if total <= self.budget * (1 + _ROUNDING):
            return job
        self._held = job
        if not self._flying:  # else one that diverges may cost less than was promised
            self._stopped = "budget"
        return None

    def _late(self, price: float = 0.0) -> bool:
        """Return whether the time is up, or would be before a job of ``price`` full runs ends, by the runs so far."""
        if not math.isfinite(self.deadline) or (price == 0.0 and self._spent < self.at_least - _ROUNDING):
            return False
        if price == 0.0:
            return time.perf_counter() > self.deadline
        longest = max(self._runs, key=lambda run: (run.share, run.cost), default=None)
        needed = 0.0 if longest is None or not longest.cost else longest.seconds / longest.cost * price
        return time.perf_counter() + needed > self.deadline

    def _setting(self, job: Job) -> Setting:
        others: dict[str, Any] = {key: value for key, value in job.trial.values.items() if key != "lr"}
        changes = Changes(**others) if others else _UNCHANGED
        horizon = varied(self.task, changes).horizon if others else self.task.horizon
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
        if self._writer is not None:
            self._writer.add_run(run)
        del self._flying[ticket]
        self.strategy.tell(run)
        self._take(run)
        if self.on_progress is not None:
            self.on_progress(self._progress(run=run))

    def _take(self, run: Run) -> None:
        self._runs.append(run)
        self._spent += run.cost
        self._diverged += run.diverged
        if math.isfinite(run.value) and (self._best is None or _place(run) < _place(self._best)):
            self._best = run

    def _progress(self, run: Run | None = None, running: Progress | None = None) -> StudyProgress:
        return StudyProgress(
            name=self.name,
            objective=self.objective,
            done=len(self._runs),
            remaining=self.strategy.remaining(),
            spent=self._spent,
            seconds=time.perf_counter() - self._began,
            resumed=self._resumed,
            diverged=self._diverged,
            best=self._best,
            notes=self._notes(),
            run=run,
            running=running,
        )

    def _notes(self) -> tuple[str, ...]:
        return (*self._messages, *self.strategy.notes)


def _place(run: Run) -> tuple[float, float]:
    return -run.share, run.value


class _OutOfTime(Exception):  # noqa: N818  it is no error: a study ends by it
    """A run is dropped, because the study has no time left."""


def default_name(task: Task, spec: Mapping[str, Any], kind: str = "") -> str:
    """Return the name of a study without one: the task, ``kind``, and a digest of what was asked for."""
    short = hashlib.sha256(json.dumps(spec, sort_keys=True, default=list).encode()).hexdigest()[:6]
    return f"{task.name}-{kind}{short}"


def described(task: Task, start: Start) -> dict[str, Any]:
    """Return what the specification of a study says of its task, as plain values."""
    return {
        "name": task.name,
        "start": start.fingerprint,
        "untrained": start.untrained if math.isfinite(start.untrained) else None,
        "conditions": asdict(RunConditions.of(task, start.batch_size)),
    }


def seeds_of(task: Task, seeds: int | Sequence[int], *, first: int | None = None) -> tuple[int, ...]:
    """Return the seeds of a list, or so many from ``first``, default the task's own, on."""
    begin = task.seed if first is None else first
    if isinstance(seeds, int):
        return tuple(range(begin, begin + check_whole("seeds", seeds)))
    if isinstance(seeds, str | bytes) or not isinstance(seeds, Sequence):
        raise InputError("seeds", seeds, "must be a whole number or a list of seeds")
    return tuple(seeds)
