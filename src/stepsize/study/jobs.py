"""What a sweep is made of: trials, the jobs that train them, and what came out. Plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Job", "Outcome", "Trial", "Value"]

Value: TypeAlias = float | int | str


@dataclass(frozen=True)
class Trial:
    """One point of the space.

    Attributes:
        number: From 0, in the order of proposal.
        values: What was chosen, by name; ``"lr"`` is always there, the others are names of
            :class:`~stepsize.training.Changes`.
    """

    number: int
    values: Mapping[str, Value]

    @property
    def lr(self) -> float:
        """The peak rate, absolute."""
        return float(self.values["lr"])


@dataclass(frozen=True)
class Job:
    """One run to be made: a trial on a rung with a seed.

    Attributes:
        trial: What to train.
        share: The rung, as a share of the full horizon, in (0, 1]; it has its own complete decay.
        seed: Of initial weights, batch order and dropout.
    """

    trial: Trial
    share: float
    seed: int

    @property
    def key(self) -> tuple[int, float, int]:
        """What tells it from all others of its sweep: trial number, rung, seed."""
        return (self.trial.number, self.share, self.seed)


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        job: The job.
        value: The judged figure, lower is better; infinite if it diverged, NaN where it could not be judged.
        diverged_at: The share of its updates after which it was given up as diverged; None where it was not.
        train_loss: The mean training loss over its last tenth.
        val_loss: The loss on unseen data; NaN where there are none.
        cost: In trainings.
        seconds: Wall time of the run, its share where several ran at once.
    """

    job: Job
    value: float
    diverged_at: float | None = None
    train_loss: float = math.nan
    val_loss: float = math.nan
    cost: float = 0.0
    seconds: float = 0.0

    @property
    def diverged(self) -> bool:
        """Whether it was given up as diverged."""
        return self.diverged_at is not None
