"""Ground truth: the loss on unseen data after a full training, over a dense grid of rates and several seeds."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.combos import GRID, Combo, build, midpoints, rounded
from benchmarks.runlog import Row, RunLog
from benchmarks.workers import Progress, each_done
from stepsize.training import Run, Task, train
from stepsize.training.evaluate import evaluate
from stepsize.training.position import preserved
from stepsize.training.stepping import build_model, build_optimizer, rung_schedule

__all__ = [
    "SHORT",
    "SHORT_FOLDER",
    "TRUTH_FOLDER",
    "Job",
    "compute_rungs",
    "compute_truth",
    "fingerprint",
    "missing",
    "near_best",
    "open_log",
    "row_of",
    "run_job",
    "trained",
]

TRUTH_FOLDER = Path(__file__).parent / "truth"
SHORT_FOLDER = Path(__file__).parent / "truth_short"
SHORT = (16, 4)  # short runs: the horizon divided by these
_PROBE_STEPS = 30


@dataclass(frozen=True)
class Job:
    """One run that is to be made."""

    combo: Combo
    lr: float
    seed: int
    steps: int


@dataclass(frozen=True)
class Probed:
    """What is known of a combo before its runs: its fingerprint, and how long a full training takes, roughly."""

    fingerprint: dict[str, Any]
    seconds: float


def fingerprint(task: Task) -> dict[str, Any]:
    """Return what the truth of ``task`` depends on: a cache made with anything else is not its truth."""
    with preserved(seed=0):
        model = build_model(task)
        untrained = evaluate(task, model, step=0).evaluation.loss
        group = build_optimizer(task, model, 1.0).param_groups[0]
    numbers = {name: list(v) if isinstance(v, tuple) else v for name, v in sorted(group.items()) if _is_number(v)}
    del numbers["lr"]
    return {
        "task": task.name,
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": task.horizon,
        "batch_size": getattr(task.train, "batch_size", task.batch_size),
        "batches": [_length(task.train), _length(task.val)],
        "optimizer": numbers,
        "factors": [float(f"{factor:.4g}") for factor in _factors(task)],
        "clip": task.clip,
        "metric": next(iter(task.metrics), None),
        "untrained": rounded(untrained),
        "torch": torch.__version__.partition("+")[0],
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | tuple) and not isinstance(value, bool)


def _factors(task: Task) -> list[float]:
    """Return the schedule at eight places over the horizon: numbers outlive the names of schedules."""
    schedule = rung_schedule(task, task.horizon)
    return [schedule(task.horizon * k // 8) for k in range(8)]


def _length(data: Any) -> int | None:
    return len(data) if hasattr(data, "__len__") else None


def open_log(combo: Combo, folder: Path = TRUTH_FOLDER, *, known: Mapping[str, Any] | None = None) -> RunLog:
    """Return the runs of ``combo`` kept in ``folder``, checked against the task as it is now."""
    return RunLog(folder / f"{combo.name}.json", fingerprint(build(combo)) if known is None else known)


def run_job(job: Job) -> Row:
    """Train once, and return what is kept of it."""
    return trained(build(job.combo), job.lr, job.seed, job.steps)


def trained(task: Task, lr: float, seed: int, steps: int) -> Row:
    """Train ``task`` once, and return what is kept of it."""
    return row_of(train(task, lr, seed=seed, steps=steps))


def row_of(run: Run) -> Row:
    """Return what is kept of a run."""
    metric = next(iter(run.evaluations[-1].metrics.values()), None) if run.evaluations else None
    return Row(
        lr=run.setting.lr,
        seed=run.setting.seed,
        steps=run.setting.steps,
        val=_finite(run.val_loss),
        train=_finite(run.train_loss),
        metric=_finite(metric),
        diverged=None if run.divergence is None else run.divergence.step,
        seconds=float(f"{run.seconds:.3g}"),
    )


def _finite(value: float | None) -> float | None:
    return rounded(value) if value is not None and math.isfinite(value) else None


def probe(combo: Combo) -> Probed:
    """Build the task and run a few steps of it."""
    task = build(combo)
    known = fingerprint(task)
    steps = min(_PROBE_STEPS, task.horizon)
    train(task, 1e-4, steps=steps)  # the first one also pays for what torch sets up once
    began = time.perf_counter()
    train(task, 1e-4, steps=steps)
    short = time.perf_counter() - began
    with preserved(seed=0):
        model = build_model(task)
        began = time.perf_counter()
        evaluate(task, model, step=0)
    validation = min(time.perf_counter() - began, short)
    return Probed(known, validation + (short - validation) * task.horizon / steps)


def compute_truth(
    combos: Sequence[Combo], seeds: Sequence[int], folder: Path, *, grid_only: bool, workers: int, status: Path | None
) -> None:
    """Fill the truth files of ``combos``: the grid for the first seed, then midpoints, then the other seeds."""
    campaign = _Campaign("truth", combos, folder, workers, status)
    campaign.run("grid, first seed", lambda combo: itertools.product(GRID, seeds[:1]))
    if not grid_only:
        campaign.run("midpoints, first seed", lambda combo: itertools.product(campaign.near_best(combo), seeds[:1]))
    for seed in seeds[1:]:
        campaign.run(
            f"seed {seed}",
            lambda combo, seed=seed: itertools.product(  # type: ignore[misc]
                GRID if grid_only else (*GRID, *campaign.near_best(combo)), (seed,)
            ),
        )
    if not grid_only:  # the best of the mean may lie elsewhere than that of the first seed
        campaign.run("midpoints, all seeds", lambda combo: itertools.product(campaign.near_best(combo), seeds))
    campaign.finish()


def compute_rungs(
    combos: Sequence[Combo], seeds: Sequence[int], folder: Path, *, workers: int, status: Path | None
) -> None:
    """Fill files of short trainings, each with its own full decay, which replayed searches begin with."""
    campaign = _Campaign("rungs", combos, folder, workers, status)
    for seed in seeds:
        campaign.run(f"seed {seed}", lambda combo, seed=seed: itertools.product(GRID, (seed,)), SHORT)  # type: ignore[misc]
    campaign.finish()


def missing(jobs: Iterable[Job], logs: Mapping[Combo, RunLog]) -> list[Job]:
    """Return those of ``jobs`` that no log holds yet, each once."""
    return [job for job in dict.fromkeys(jobs) if (job.lr, job.seed, job.steps) not in logs[job.combo]]


def near_best(rows: Iterable[Row]) -> tuple[float, ...]:
    """Return the midpoints around the rate with the lowest mean loss; none where every run diverged."""
    losses: dict[float, list[float]] = {}
    for row in rows:
        losses.setdefault(row.lr, []).append(math.inf if row.val is None else row.val)
    mean, best = min((sum(values) / len(values), lr) for lr, values in losses.items())
    return midpoints(best) if math.isfinite(mean) else ()


class _Campaign:
    """Runs what is missing, phase by phase, cheap combos first, and keeps each run as it ends."""

    def __init__(self, title: str, combos: Sequence[Combo], folder: Path, workers: int, status: Path | None) -> None:
        self._title = title
        self._workers = workers
        self._status = status
        self._failed: list[str] = []
        probed: dict[Combo, Probed] = {}
        for combo, result in each_done(probe, combos, workers):
            if isinstance(result, Exception):
                self._fail(combo, result)
            else:
                probed[combo] = result
        self._seconds = {combo: probed[combo].seconds for combo in sorted(probed, key=lambda c: probed[c].seconds)}
        self._steps = {combo: probed[combo].fingerprint["steps"] for combo in probed}
        self._logs = {combo: open_log(combo, folder, known=probed[combo].fingerprint) for combo in self._seconds}

    def near_best(self, combo: Combo) -> tuple[float, ...]:
        """Return the midpoints around the best rate so far."""
        return near_best(self._logs[combo].rows)

    def run(
        self,
        phase: str,
        wanted: Callable[[Combo], Iterable[tuple[float, int]]],
        fractions: Sequence[int] = (1,),
    ) -> None:
        jobs = [
            Job(combo, lr, seed, max(1, self._steps[combo] // fraction))
            for combo in self._logs
            for fraction in fractions
            for lr, seed in wanted(combo)
        ]
        jobs = missing(jobs, self._logs)
        if not jobs:
            return
        title = f"{self._title}, {phase}"
        progress = Progress(title, sum(map(self._expected, jobs)), self._workers, self._status)
        for job, result in each_done(run_job, jobs, self._workers):
            if isinstance(result, Exception):
                self._fail(job, result)
            else:
                self._logs[job.combo].add([result])
            progress.advance(self._expected(job), f"{job.combo.name} lr {job.lr:.3g}")
        progress.say("done")

    def finish(self) -> None:
        """Raise SystemExit if anything failed."""
        if self._failed:
            raise SystemExit("failed: " + "; ".join(self._failed))

    def _expected(self, job: Job) -> float:
        share: float = job.steps / self._steps[job.combo]
        return self._seconds[job.combo] * share

    def _fail(self, what: Combo | Job, failure: Exception) -> None:
        self._failed.append(f"{what}: {type(failure).__name__}: {failure}")
        Progress(self._title, 0, self._workers, self._status).say(self._failed[-1])
