"""Workers: what a study gives its jobs to. Here: this process, and the catalog of all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

from stepsize.catalog import Catalog
from stepsize.training import InOrder, Run, Setting, StreamingExecutor, Task
from stepsize.training.runs import Watcher

WAITS = 64  # jobs given to vectorized runs together if no proposal waits for a run
LEARNS = 8  # … if proposals learn from runs: fewer together are better informed, more are cheaper


@runtime_checkable
class Workers(Protocol):
    """Trains configurations of one task and returns the runs in any order; made for one study, closed after it.

    The study keeps ``capacity`` configurations submitted.
    """

    @property
    def capacity(self) -> int: ...

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a configuration; ``ticket`` names it."""

    def collect(self) -> Iterator[tuple[int, Run]]:
        """Yield (ticket, run) of at least one configuration as it ends; everything that is done, without waiting more.

        The consumer stores each run before it asks for the next. Raises what the task raised: a TaskError is not the
        fault of a worker and is not tried again.
        """

    def close(self) -> None:
        """Free everything; what is still running is given up."""


class Closing:
    """A context manager that closes itself at its end."""

    def close(self) -> None:
        """Free everything; what is still running is given up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Local(Closing):
    """Workers within this process: an executor, which gets ``capacity`` configurations at a time."""

    def __init__(
        self,
        task: Task,
        executor: StreamingExecutor | None = None,
        *,
        capacity: int = 1,
        on_progress: Watcher | None = None,
    ) -> None:
        self.capacity = capacity
        self._task = task
        self._executor = executor or InOrder()
        self._on_progress = on_progress
        self._waiting: list[tuple[int, Setting]] = []

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a configuration; it is trained when the runs are collected."""
        self._waiting.append((ticket, setting))

    def collect(self) -> Iterator[tuple[int, Run]]:
        """Train everything that was submitted and yield each run."""
        batch, self._waiting = self._waiting, []
        settings = [setting for _, setting in batch]
        for place, run in self._executor.stream(self._task, settings, on_progress=self._on_progress):
            yield batch[place][0], run


@dataclass(frozen=True)
class WorkerSpec:
    """What workers are needed for.

    Other processes get the task from ``source``. ``learns`` says whether proposals learn from runs; ``threads`` is
    those of torch in each process, None shares the cores.
    """

    task: Task
    source: Any
    learns: bool = False
    on_progress: Watcher | None = None
    on_message: Callable[[str], None] | None = None
    threads: int | None = None

    @property
    def capacity(self) -> int:
        """How many configurations an executor in this process gets at a time."""
        return LEARNS if self.learns else WAITS


@dataclass(frozen=True)
class WorkersEntry:
    """A kind of workers: its name, a one-line description, and the function that creates them."""

    name: str
    title: str
    create: Callable[[WorkerSpec], Workers]


def _population(spec: WorkerSpec) -> Workers:
    from stepsize.training.population import Population

    return Local(
        spec.task, Population(on_message=spec.on_message), capacity=spec.capacity, on_progress=spec.on_progress
    )


def _in_order(spec: WorkerSpec) -> Workers:
    return Local(spec.task, on_progress=spec.on_progress)


def _processes(spec: WorkerSpec) -> Workers:
    from stepsize.study.processes import Processes, usable_cores

    return Processes(spec.source, usable_cores(), spec.threads, on_progress=spec.on_progress)


def _ray(spec: WorkerSpec) -> Workers:
    from stepsize.study.ray_workers import RayWorkers

    return RayWorkers(spec.source)


WORKERS: Catalog[WorkersEntry] = Catalog(
    "workers",
    (
        WorkersEntry("population", "vectorized in this process, if the model can be stacked", _population),
        WorkersEntry("in-order", "sequentially in this process", _in_order),
        WorkersEntry("processes", "in parallel in processes of this machine", _processes),
        WorkersEntry("ray", "on the machines of a Ray cluster", _ray),
    ),
)


def workers_for(given: str | StreamingExecutor | Workers, spec: WorkerSpec) -> Workers:
    """Return workers by their name, around an executor, or as they are."""
    if isinstance(given, str):
        return WORKERS[given].create(spec)
    if isinstance(given, Workers):
        return given
    return Local(spec.task, given, capacity=spec.capacity, on_progress=spec.on_progress)
