"""What an answer about a rate is valid for."""

from __future__ import annotations

from dataclasses import dataclass

from stepsize.training.task import Task


@dataclass(frozen=True)
class RunConditions:
    """What a recommended rate is valid for; not for another optimizer, schedule, horizon or batch size.

    Attributes:
        task: Name of the task.
        optimizer: Name of the optimizer.
        schedule: Schedule whose peak the rate is.
        horizon: Number of steps.
        batch_size: Examples per update; None if the batches do not show it.
        objective: What rates were selected by: ``"validation loss"``, ``"training loss"``, or a metric.
    """

    task: str
    optimizer: str
    schedule: str
    horizon: int
    batch_size: int | None
    objective: str

    @classmethod
    def of(cls, task: Task, batch_size: int) -> RunConditions:
        """Return those of ``task``, whose batches hold ``batch_size`` examples."""
        objective = task.objective
        if objective == "loss":
            objective = "training loss" if task.val is None else "validation loss"
        size = batch_size * task.accumulate
        return cls(task.name, task.optimizer_name, task.schedule_name, task.horizon, size, objective)

    def __str__(self) -> str:
        size = "" if self.batch_size is None else f", batch size {self.batch_size}"
        return f"{self.optimizer}, schedule {self.schedule}, {self.horizon:,} steps{size}, selected by {self.objective}"
