"""A small task, and an executor that counts and can be stopped: what tests of whole searches share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from stepsize.training import InOrder, Run, Setting, Task
from stepsize.training.runs import Watcher


def make(steps: int = 24, **others: Any) -> Task:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(96, 6, generator=generator)
    y = x @ torch.randn(6, 1, generator=generator)
    given: dict[str, Any] = {
        "model": lambda: nn.Linear(6, 1),
        "loss": nn.functional.mse_loss,
        "train": (x[:64], y[:64]),
        "val": (x[64:], y[64:]),
        "optimizer": "sgd",
        "steps": steps,
        "batch_size": 16,
        "name": "plane",
    }
    return Task(**(given | others))


class Counting(InOrder):
    """Counts the trainings; stops the sweep after some."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        self.trained: list[Setting] = []
        self._stop = stop

    def stream(
        self, task: Task, settings: Sequence[Setting], *, on_progress: Watcher | None = None
    ) -> Iterator[tuple[int, Run]]:
        for place, run in super().stream(task, settings, on_progress=on_progress):
            if self._stop is not None and len(self.trained) >= self._stop:
                raise KeyboardInterrupt
            self.trained.append(settings[place])
            yield place, run
