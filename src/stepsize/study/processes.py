"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType, TracebackType
from typing import Self

from stepsize.errors import InputError, TaskError
from stepsize.study.remote import Bench, Failure, Kit, TaskSource, as_task_source, attempt
from stepsize.training import Progress, Run, Setting, Task
from stepsize.training.runs import Watcher

__all__ = ["Processes", "usable_cores"]

_LOOK_SECONDS = 1.0  # between two looks at whether silent workers still live
_PATIENCE_SECONDS = 2.0  # from asking a worker to end to ending it
_TELL_SECONDS = 0.1  # between two messages of one worker on its progress


@dataclass(frozen=True)
class _Job:
    ticket: int
    setting: Setting


@dataclass(frozen=True)
class _Ready:
    """A worker's first word: it listens."""


@dataclass(frozen=True)
class _Ended:
    ticket: int
    answer: Run | Failure


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: _Job | None
    listens: bool = False

    def send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it just died: reading from it will tell, and the job is tried again
            self.connection.send(message)

    def end(self) -> None:
        self.process.join(_PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class Processes:
    """Trains settings in processes of this machine: each builds the task once and trains one setting at a time.

    The processes are new interpreters (spawned, which torch and CUDA bear) and start when there is something to do.
    They do not run the program's main module again, so a script needs no ``if __name__ == "__main__":``; what they
    print goes to stderr. A worker that dies is replaced and its setting trained again. However this process ends,
    its workers end with it.

    Args:
        task: What to train: a Task, an import path, a built-in name, or a
            :class:`~stepsize.study.remote.TaskSource`.
        count: How many processes, >= 1.
        threads_each: Threads of torch in each; None shares the cores out, at least one each. Runs equal those of one
            process bit for bit where it uses as many threads.
        retries: How often a setting is tried again after its worker died, >= 0.
        watcher: Called in this process with the progress of the runs, at most ten times a second for each worker.

    Raises:
        InputError: If a number is out of range, or the task cannot be found.
        TaskError: If the task cannot be sent to another process.
        MissingExtraError: If a Task is given and cloudpickle is not installed.

    Example:
        >>> with Processes("digits-mlp", count=2) as workers:
        ...     workers.capacity
        2
    """

    def __init__(
        self,
        task: Task | TaskSource | str,
        count: int,
        threads_each: int | None = None,
        *,
        retries: int = 2,
        watcher: Watcher | None = None,
    ) -> None:
        for argument, number, least in (
            ("count", count, 1),
            ("threads_each", threads_each, 1),
            ("retries", retries, 0),
        ):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < least):
                raise InputError(argument, number, f"must be a whole number, at least {least}")
        threads = max(1, usable_cores() // count) if threads_each is None else threads_each
        self._kit = Kit(as_task_source(task), threads)
        self._count = count
        self._retries = retries
        self._watcher = watcher
        self._crew: list[_Worker] = []
        self._queue: deque[_Job] = deque()
        self._done: deque[tuple[int, Run]] = deque()
        self._error: Exception | None = None
        self._deaths: Counter[int] = Counter()
        self._starts: dict[int, str] = {}

    @property
    def capacity(self) -> int:
        """How many settings are best handed in at once."""
        return self._count

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a setting in; a free worker begins it at once."""
        self._queue.append(_Job(ticket, setting))
        self._assign()

    def collect(self) -> Iterator[tuple[int, Run]]:
        """Yield each run as it ends, at least one; then raise what a task raised, if one did.

        Raises:
            TaskError: If the task cannot be built in a worker, breaks a rule, or ends its workers again and again.
        """
        while not self._done and self._error is None and (self._queue or self._busy):
            self._listen(_LOOK_SECONDS)
        while True:
            while self._done:
                yield self._done.popleft()
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            self._listen(0)
            if not self._done and self._error is None:
                return

    def close(self) -> None:
        """End all workers; what they are training is given up."""
        crew, self._crew = self._crew, []
        self._queue.clear()
        for worker in crew:
            worker.process.terminate()
        for worker in crew:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _busy(self) -> bool:
        return any(worker.job is not None for worker in self._crew)

    def _assign(self) -> None:
        """Give queued jobs to free workers, and to new ones as long as there are fewer than wanted."""
        free = [worker for worker in self._crew if worker.job is None]
        while self._queue and free:
            worker = free.pop()
            worker.job = self._queue.popleft()
            if worker.listens:
                worker.send(worker.job)
        while self._queue and len(self._crew) < self._count:
            self._crew.append(_started(self._queue.popleft(), watched=self._watcher is not None))

    def _listen(self, seconds: float) -> None:
        """Take in what workers have to say, for which it waits at most ``seconds``."""
        speakers = {worker.connection: worker for worker in self._crew}
        heard = wait(list(speakers), seconds)
        for connection in heard:
            self._hear(speakers[connection])  # type: ignore[index]  # wait gives back what it was given
        if not heard and seconds:  # children of a dead worker may hold its line open, so silence is looked into
            for worker in list(self._crew):
                if not worker.process.is_alive() and not worker.connection.poll():
                    self._lose(worker)
        self._assign()

    def _hear(self, worker: _Worker) -> None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            self._lose(worker)
            return
        match message:
            case _Ready():
                worker.listens = True
                worker.send(self._kit)
                worker.send(worker.job)
            case Progress():
                if self._watcher is not None:
                    self._watcher(message)
            case _Ended(ticket, answer):
                worker.job = None
                self._take(ticket, answer)

    def _take(self, ticket: int, answer: Run | Failure) -> None:
        if isinstance(answer, Failure):
            self._error = self._error or answer.error
        elif self._starts.setdefault(answer.setting.seed, answer.initial) != answer.initial:
            self._error = TaskError(
                "model",
                f"other initial weights for seed {answer.setting.seed} in another process",
                "must return the same new model wherever it is called under the same seed",
                "Draw with torch's generator only, and in an order that does not depend on sets or the clock",
            )
        else:
            self._done.append((ticket, answer))

    def _lose(self, worker: _Worker) -> None:
        self._crew.remove(worker)
        worker.end()
        if worker.job is None:
            return
        self._deaths[worker.job.ticket] += 1
        if self._deaths[worker.job.ticket] <= self._retries:
            self._queue.appendleft(worker.job)
            return
        setting = worker.job.setting
        self._error = self._error or TaskError(
            "task",
            self._kit.source.label,
            f"must not end its worker process: {self._deaths[worker.job.ticket]} died in turn while training lr "
            f"{setting.lr:g}, seed {setting.seed}, {setting.steps} steps (the last {_ending(worker.process.exitcode)})",
            "Most often memory runs out: take fewer processes, or a smaller batch",
        )


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _started(job: _Job, *, watched: bool) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs, watched), name="stepsize worker", daemon=True)
    with _without_main(), _interrupts_held():
        process.start()
    theirs.close()
    return _Worker(process, ours, job)


@contextmanager
def _without_main() -> Iterator[None]:
    """Show no main module: a spawned interpreter would run it again, guard or not, and the task comes without it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let a new process inherit that Ctrl-C is held back, until it can ignore it by itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # starting it would lift the hold
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection, watched: bool) -> None:
    """Be a worker until the other end of ``connection`` is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    multiprocessing.current_process().daemon = False  # loaders may start processes of their own
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):
        os.dup2(2, 1)  # stdout belongs to the answer
    with contextlib.suppress(EOFError, OSError):
        connection.send(_Ready())
        kit: Kit = connection.recv()
        bench: Bench | None = None

        def train(setting: Setting) -> Run:
            nonlocal bench
            bench = bench or Bench(kit)
            return bench.train(setting, _Teller(connection) if watched else None)

        while True:
            job: _Job = connection.recv()
            answer = attempt(lambda setting=job.setting: train(setting))  # type: ignore[misc]
            connection.send(_Ended(job.ticket, answer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Teller:
    """Sends progress on, but not more often than anyone could read it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TELL_SECONDS
            self._connection.send(progress)
