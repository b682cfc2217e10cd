"""Several processes with one thread each, and a line now and then that says how far they are."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["Progress", "each_done"]

J = TypeVar("J")
R = TypeVar("R")


def each_done(function: Callable[[J], R], jobs: Sequence[J], workers: int) -> Generator[tuple[J, R | Exception]]:
    """Yield each job with its result, or the exception that it ended with, in the order in which they end."""
    if not jobs:
        return
    # Fresh interpreters: forked ones would inherit the parent's thread pools.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        futures = {pool.submit(function, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                failure = future.exception()
                if failure is not None and not isinstance(failure, Exception):
                    raise failure
                yield futures.pop(future), future.result() if failure is None else failure
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


class Progress:
    """Prints, and appends to a file if one is given, the fraction of the work that is done and what is left.

    Args:
        title: Of the work.
        total: The expected seconds of all jobs together, on one core.
        workers: How many jobs go on at once.
        file: Where lines are appended; None only prints.
        every: Seconds between two lines.
    """

    def __init__(self, title: str, total: float, workers: int, file: Path | None, every: float = 30.0) -> None:
        self._title = title
        self._total = max(total, 1e-9)
        self._workers = workers
        self._file = file
        self._every = every
        self._done = 0.0
        self._jobs = 0
        self._began = self._last = time.monotonic()
        self.say(f"begins: about {total / workers / 60:.1f} min with {workers} workers")

    def advance(self, seconds: float, what: Any = "") -> None:
        """Count a job that had been expected to take ``seconds``."""
        self._done += seconds
        self._jobs += 1
        now = time.monotonic()
        if now - self._last >= self._every:
            self._last = now
            fraction = min(self._done / self._total, 1.0)
            left = (now - self._began) * (1 - fraction) / max(fraction, 1e-9)
            self.say(f"{100 * fraction:.1f}% ({self._jobs} jobs), {left / 60:.1f} min left; last: {what}")

    def say(self, text: str) -> None:
        """Print a line and append it to the file."""
        line = f"{datetime.now().astimezone():%H:%M:%S} {self._title}: {text}"
        print(line, flush=True)
        if self._file is not None:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
