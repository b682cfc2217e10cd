"""What an answer about a rate is for."""

from __future__ import annotations

from dataclasses import dataclass

from stepsize.training.task import Task

__all__ = ["Conditions"]


@dataclass(frozen=True)
class Conditions:
    """What a recommended rate is for: it holds for no other optimizer, schedule, horizon or batch size.

    Attributes:
        task: The name of the task.
        optimizer: Of the training.
        schedule: Whose peak the rate is.
        horizon: The number of updates.
        batch_size: Examples an update; None where the batches do not tell.
        judge: What was compared: ``"validation loss"``, ``"training loss"``, or a metric.
    """

    task: str
    optimizer: str
    schedule: str
    horizon: int
    batch_size: int | None
    judge: str

    @classmethod
    def of(cls, task: Task, batch_size: int) -> Conditions:
        """Return those of ``task``, whose batches hold ``batch_size`` examples."""
        judge = task.judge if task.judge != "loss" else "validation loss" if task.val is not None else "training loss"
        size = batch_size * task.accumulate
        return cls(task.name, task.optimizer_name, task.schedule_name, task.horizon, size, judge)

    def __str__(self) -> str:
        size = "" if self.batch_size is None else f", batch size {self.batch_size}"
        return f"{self.optimizer}, schedule {self.schedule}, {self.horizon:,} steps{size}, judged by {self.judge}"
