"""Workers that are processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType

from stepsize.checks import check_whole
from stepsize.errors import TaskError
from stepsize.study.remote import (
    Failure,
    RemoteWorkers,
    Submitted,
    TaskSource,
    WorkerPayload,
    WorkerRuntime,
    as_task_source,
    attempt,
)
from stepsize.training import Progress, Run, Setting, Task
from stepsize.training.runs import Watcher

_PATIENCE_SECONDS = 2.0  # from asking a worker to end to killing it
_TELL_SECONDS = 0.1  # between two messages of one worker on its progress
_MEMORY = "Most often memory runs out: use fewer processes, or a smaller batch"


@dataclass(frozen=True)
class _Ready:
    """The first message of a worker: it listens."""


@dataclass(frozen=True)
class _Ended:
    ticket: int
    answer: Run | Failure


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Submitted | None
    listens: bool = False

    def send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it just died, which reading from it shows
            self.connection.send(message)

    def end(self) -> None:
        self.process.join(_PATIENCE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


class Processes(RemoteWorkers):
    """Trains configurations in processes of this machine: each builds the task once and trains one at a time.

    The processes are new interpreters (spawned, as torch and CUDA need) and start when there is something to do. They
    do not run the program's main module again, so a script needs no ``if __name__ == "__main__":``; what they print
    goes to stderr. A worker that dies is replaced and its configuration trained again, at most ``retries`` times.
    However this process ends, its workers end with it.

    Runs equal those of one process exactly if it uses as many threads as each of these; None shares the cores.
    Progress comes at most ten times a second.
    """

    def __init__(
        self,
        task: Task | TaskSource | str,
        count: int,
        threads_each: int | None = None,
        *,
        retries: int = 2,
        on_progress: Watcher | None = None,
    ) -> None:
        self.capacity = check_whole("count", count)
        check_whole("retries", retries, 0)
        threads = max(1, usable_cores() // count) if threads_each is None else check_whole("threads_each", threads_each)
        super().__init__(WorkerPayload(as_task_source(task), threads), retries, _MEMORY)
        self._on_progress = on_progress
        self._workers: list[_Worker] = []
        self._queue: deque[Submitted] = deque()
        self._starts: dict[int, str] = {}

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a configuration; a free worker begins it immediately."""
        self._queue.append(Submitted(ticket, setting))
        self._assign()

    def close(self) -> None:
        """End all workers; what they are training is given up."""
        workers, self._workers = self._workers, []
        self._queue.clear()
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()

    @property
    def _busy(self) -> bool:
        return bool(self._queue) or any(worker.job is not None for worker in self._workers)

    def _assign(self) -> None:
        """Give queued jobs to free workers, and to new ones while there are fewer than asked for."""
        free = [worker for worker in self._workers if worker.job is None]
        while self._queue and free:
            worker = free.pop()
            worker.job = self._queue.popleft()
            if worker.listens:
                worker.send(worker.job)
        while self._queue and len(self._workers) < self.capacity:
            self._workers.append(_started(self._queue.popleft(), watched=self._on_progress is not None))

    def _listen(self, seconds: float) -> None:
        """Read the messages of workers, for which it waits at most ``seconds``."""
        speakers = {worker.connection: worker for worker in self._workers}
        heard = wait(list(speakers), seconds)
        for connection in heard:
            self._hear(speakers[connection])  # type: ignore[index]  # wait gives back what it was given
        if not heard and seconds:  # children of a dead worker may hold its pipe open
            for worker in list(self._workers):
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
                worker.send(self._payload)
                worker.send(worker.job)
            case Progress():
                if self._on_progress is not None:
                    self._on_progress(message)
            case _Ended(ticket, answer):
                worker.job = None
                self._take(ticket, answer)

    def _take(self, ticket: int, answer: Run | Failure) -> None:
        if isinstance(answer, Failure):
            self._fail(answer.error)
        elif self._starts.setdefault(answer.setting.seed, answer.initial) != answer.initial:
            rule = "must return the same new model wherever it is called under the same seed"
            remedy = "Draw with torch's generator only, and in an order that does not depend on sets or the clock"
            received = f"other initial weights for seed {answer.setting.seed} in another process"
            self._fail(TaskError("model", received, rule, remedy))
        else:
            self._done.append((ticket, answer))

    def _lose(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.end()
        if worker.job is not None and self._tries_again(worker.job, _ending(worker.process.exitcode)):
            self._queue.appendleft(worker.job)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _started(job: Submitted, *, watched: bool) -> _Worker:
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
    """Let a new process inherit that Ctrl-C is held back, until it ignores it."""
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
        payload: WorkerPayload = connection.recv()
        runtime: WorkerRuntime | None = None

        def train(setting: Setting) -> Run:
            nonlocal runtime
            runtime = runtime or WorkerRuntime(payload)
            return runtime.train(setting, _Teller(connection) if watched else None)

        while True:
            job: Submitted = connection.recv()
            answer = attempt(lambda setting=job.setting: train(setting))  # type: ignore[misc]
            connection.send(_Ended(job.ticket, answer))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class _Teller:
    """Sends progress on, at most ten times a second."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TELL_SECONDS
            self._connection.send(progress)
