"""Runs that nobody trained: what strategies and summaries are tried on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stepsize.study.strategy import Job
from stepsize.training.runs import Changes, Divergence, Run, Setting

HORIZON = 1000


@dataclass(frozen=True, eq=False)
class MadeUp(Run):
    """A run that equals another one of the same job that came to the same."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and _told(self) == _told(other)

    def __hash__(self) -> int:
        return hash(self.key)


def _told(run: Run) -> tuple[object, ...]:
    return (run.setting, run.trial, run.share, repr(run.value), run.divergence, run.cost)


def ran(
    job: Job,
    value: float,
    diverged_at: float | None = None,
    train_loss: float = math.nan,
    val_loss: float = math.nan,
    *,
    cost: float = 0.0,
    seconds: float = 0.0,
    losses: NDArray[np.float64] | None = None,
) -> Run:
    """Return a run of ``job`` that came to ``value``, or diverged after that share of its updates."""
    rest: dict[str, Any] = {name: chosen for name, chosen in job.trial.values.items() if name != "lr"}
    steps = max(1, round(job.share * HORIZON))
    lost = None if diverged_at is None else Divergence(round(diverged_at * steps), "the loss became nan")
    return MadeUp(
        Setting(job.trial.lr, job.seed, steps, changes=Changes(**rest)),
        np.empty(0) if losses is None else losses,
        divergence=lost,
        value=value,
        train_loss=train_loss,
        val_loss=val_loss,
        cost=cost,
        seconds=seconds,
        trial=job.trial,
        share=job.share,
    )
