"""What a strategy asks for; what came of it is a :class:`~stepsize.training.Run`. Plain data."""

from __future__ import annotations

from dataclasses import dataclass

from stepsize.curves.lr_model import Point
from stepsize.training.runs import Run, Trial

__all__ = ["SWEEP", "Job", "point_of"]

SWEEP = "sweep"
"""The kind of the studies of a store that are sweeps."""


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
        """What tells it from all others of its study: trial number, rung, seed."""
        return (self.trial.number, self.share, self.seed)


def point_of(run: Run) -> Point:
    """Return a run as the model of loss against rate sees it."""
    return Point(run.lr, run.value, run.share, run.seed, run.diverged)
