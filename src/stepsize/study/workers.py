"""Workers: what a study hands its jobs to. Here: this process, one after the other or as a population."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from stepsize.training import InOrder, Run, Setting, StreamingExecutor, Task
from stepsize.training.runs import Watcher

__all__ = ["Local", "Workers"]


@runtime_checkable
class Workers(Protocol):
    """Trains settings of one task and gives the runs back in any order; made for one study, closed after it.

    Attributes:
        capacity: How many settings are best handed in at once; the study keeps as many submitted.
    """

    @property
    def capacity(self) -> int: ...

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a setting in; ``ticket`` names it."""

    def collect(self) -> Iterator[tuple[int, Run]]:
        """Yield (ticket, run) of at least one setting as it ends; everything that is done, without waiting further.

        The consumer stores each run before it asks for the next. Raises what the task raised: a TaskError is no
        fault of a worker and is not tried again.
        """

    def close(self) -> None:
        """Give everything back; what is still running is given up."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Local:
    """Workers within this process.

    Args:
        task: What to train.
        executor: What trains lists of settings; default one after the other.
        capacity: How many settings are handed to the executor at once, >= 1.
        watcher: Called with the progress of each run.
    """

    def __init__(
        self,
        task: Task,
        executor: StreamingExecutor | None = None,
        *,
        capacity: int = 1,
        watcher: Watcher | None = None,
    ) -> None:
        self._task = task
        self._executor = executor or InOrder()
        self._capacity = capacity
        self._watcher = watcher
        self._waiting: list[tuple[int, Setting]] = []

    @property
    def capacity(self) -> int:
        """How many settings are best handed in at once."""
        return self._capacity

    def submit(self, ticket: int, setting: Setting) -> None:
        """Take a setting in; it is trained when the runs are collected."""
        self._waiting.append((ticket, setting))

    def collect(self) -> Iterator[tuple[int, Run]]:
        """Train everything that was submitted and yield each run."""
        batch, self._waiting = self._waiting, []
        settings = [setting for _, setting in batch]
        for place, run in self._executor.stream(self._task, settings, on_progress=self._watcher):
            yield batch[place][0], run

    def close(self) -> None:
        """Forget what was submitted."""
        self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
