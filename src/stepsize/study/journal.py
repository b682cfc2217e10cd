"""The journal of a sweep: its jobs and outcomes in the store, written before the next job is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import numpy as np

from stepsize.store import EvaluationRecord, RunRecord, Store, TrialRecord
from stepsize.study.jobs import Job, Outcome, Trial
from stepsize.study.space import Range, Space
from stepsize.study.swept import SweptRun
from stepsize.training import Run

__all__ = ["KIND", "Journal", "mirror_sweep", "read_runs"]

KIND = "sweep"


class Journal:
    """Writes one sweep down; the only writer of it until it is closed.

    Args:
        store: Where.
        name: Of the sweep.
        spec: What was asked for; a sweep is only taken up again with the same.

    Raises:
        InputError: If there is a sweep of that name with another specification.
        StoreError: If the store cannot be written, or somebody else writes this sweep.
    """

    def __init__(self, store: Store, name: str, spec: Mapping[str, Any]) -> None:
        self._store = store
        self.name = name
        self._writer = store.begin(name, KIND, spec)

    @property
    def where(self) -> str:
        """The store, without its password."""
        return self._store.where

    def history(self) -> tuple[list[Trial], list[SweptRun]]:
        """Return the trials and runs that are written down already, in the order of their telling."""
        trials = [Trial(record.number, record.values) for record in self._store.trials(self.name)]
        return trials, read_runs(self._store, self.name)

    def add_trial(self, trial: Trial) -> None:
        """Write down what is about to be trained."""
        self._writer.add_trial(TrialRecord(trial.number, trial.values))

    def add(self, outcome: Outcome, run: Run) -> None:
        """Write down what came of a job; it is kept, whatever happens next, when this returns."""
        job = outcome.job
        record = RunRecord(
            trial=TrialRecord(job.trial.number, job.trial.values),
            share=job.share,
            seed=job.seed,
            status=run.status,
            value=outcome.value,
            diverged_at=outcome.diverged_at,
            train_loss=outcome.train_loss,
            val_loss=outcome.val_loss,
            seconds=outcome.seconds,
            passes=run.passes,
            cost=outcome.cost,
            initial=run.initial,
            setting={**asdict(run.setting), "changes": run.setting.changes.given()},
        )
        seen = [EvaluationRecord(found.step, found.loss, found.metrics) for found in run.evaluations]
        self._writer.add_run(record, run.losses, seen)

    def mirror(self, space: Space) -> None:
        """Write the trials into optuna's own tables too, so that its dashboard opens the sweep."""
        mirror_sweep(self._store, self.name, space)

    def finish(self, status: str) -> None:
        """Write down how the sweep stands: ``"done"`` or ``"interrupted"``."""
        self._writer.finish(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()


def mirror_sweep(store: Store, name: str, space: Space) -> int:
    """Write the trials of the sweep ``name`` into optuna's tables of the same database; returns how many.

    Raises:
        StoreError: If they cannot be written, or hold a study of that name that is not of stepsize.
    """
    from stepsize.store.mirror import mirror

    axes: dict[str, Any] = {}
    for dimension in space.dimensions:
        if isinstance(dimension, Range):
            axes[dimension.name] = (dimension.low, dimension.high)
        else:
            axes[dimension.name] = list(dimension.values)
    log = [one.name for one in space.dimensions if isinstance(one, Range) and one.scale == "log"]
    return mirror(store, name, axes, log)


def read_runs(store: Store, name: str) -> list[SweptRun]:
    """Return the runs of the sweep ``name`` in the order of their telling."""
    runs = []
    for record in store.runs(name):
        job = Job(Trial(record.trial.number, record.trial.values), record.share, record.seed)
        outcome = Outcome(
            job,
            record.value,
            record.diverged_at,
            record.train_loss,
            record.val_loss,
            record.cost,
            record.seconds,
        )
        curve = store.curve(record)
        steps = np.empty(0, np.int64) if curve is None else curve.steps
        losses = np.empty(0) if curve is None else curve.values
        runs.append(SweptRun(outcome, steps, losses, record.status))
    return runs
