"""One run of a sweep, as its result keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from stepsize.study.jobs import Outcome
from stepsize.training import Run

__all__ = ["SweptRun"]


@dataclass(frozen=True, eq=False)
class SweptRun:
    """One run of a sweep.

    Attributes:
        outcome: What came of it.
        steps: Numbers of updates at which ``losses`` were taken, shape (n,).
        losses: Training losses there, shape (n,); one that comes from a store may be thinned.
        status: How it ended, as a sentence.
    """

    outcome: Outcome
    steps: NDArray[np.int64]
    losses: NDArray[np.float64]
    status: str

    @classmethod
    def of(cls, outcome: Outcome, run: Run) -> Self:
        """Return that of a run that just ended."""
        return cls(outcome, np.arange(len(run.losses)), run.losses, run.status)
