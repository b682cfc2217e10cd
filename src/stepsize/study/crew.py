"""The table of workers: who trains the jobs of a study, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stepsize.errors import UnknownNameError
from stepsize.study.workers import Local, Workers
from stepsize.training.executor import InOrder
from stepsize.training.runs import Watcher
from stepsize.training.task import Task

__all__ = ["WORKERS", "Hire", "WorkersEntry", "workers_entry"]

WAITS = 64  # jobs handed to a population at once where no proposal waits for an run
LEARNS = 8  # … where proposals learn from runs: fewer at once are better informed, more are cheaper


@dataclass(frozen=True)
class Hire:
    """What workers are wanted for.

    Attributes:
        task: What to train.
        source: How the task travels to other processes: a Task, an import path or a built-in name.
        learns: Whether proposals learn from runs.
        watcher: Called with the progress of runs.
        told: Called with sentences on what the workers do by themselves.
        count: How many processes; None is as many as there are cores.
        address: Of a Ray cluster.
        threads: Of torch in each process; None shares the cores out.
    """

    task: Task
    source: Any
    learns: bool = False
    watcher: Watcher | None = None
    told: Callable[[str], None] | None = None
    count: int | None = None
    address: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class WorkersEntry:
    """What is known of a kind of workers: its name, what it does in a line, and how it is hired."""

    name: str
    title: str
    hire: Callable[[Hire], Workers]


def _population(wanted: Hire) -> Workers:
    from stepsize.training.population import Population

    capacity = LEARNS if wanted.learns else WAITS
    return Local(wanted.task, Population(on_message=wanted.told), capacity=capacity, watcher=wanted.watcher)


def _in_order(wanted: Hire) -> Workers:
    return Local(wanted.task, InOrder(), watcher=wanted.watcher)


def _processes(wanted: Hire) -> Workers:
    from stepsize.study.processes import Processes, usable_cores

    return Processes(wanted.source, wanted.count or usable_cores(), wanted.threads, watcher=wanted.watcher)


def _ray(wanted: Hire) -> Workers:
    from stepsize.study.ray_workers import RayWorkers

    return RayWorkers(wanted.source, wanted.address)


_ENTRIES = (
    WorkersEntry("population", "many at once in this process, where the model can be stacked", _population),
    WorkersEntry("in-order", "one after the other in this process", _in_order),
    WorkersEntry("processes", "side by side in processes of this machine", _processes),
    WorkersEntry("ray", "on the machines of a Ray cluster", _ray),
)

WORKERS: dict[str, WorkersEntry] = {entry.name: entry for entry in _ENTRIES}


def workers_entry(name: str) -> WorkersEntry:
    """Return the catalog entry of ``name``.

    Args:
        name: A key of :data:`WORKERS`, for example ``"population"``.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest.

    Example:
        >>> workers_entry("in-order").title
        'one after the other in this process'
    """
    if name not in WORKERS:
        raise UnknownNameError("workers", name, WORKERS)
    return WORKERS[name]
