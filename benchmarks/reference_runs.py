"""The reference runs that verdicts compare with: watched for a quarter, with the outcome of their learning rate.

They are the six design tasks, and seven tiny ones in several variants: other optimizers, longer, with a fifth of the
labels drawn at random, with four times the batch. None of them is a task on which verdicts are judged.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.combos import all_combos, build, rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.small import small_tasks
from benchmarks.verdicts import Label, label_of, labels, spread_out, watched_quarter
from benchmarks.workers import each_done
from stepsize import Task
from stepsize.monitor.reference_runs import FEATURES, REFERENCE_FILE, SIDES, VALIDATION, features_of, vote
from stepsize.training import train

__all__ = ["TRUTH_FILE", "compute_reference_runs", "compute_small_truth", "variants"]

TRUTH_FILE = RECORDS_FOLDER / "reference_runs_truth.json"
_RATES = [rounded(10 ** (-5 + k / 3)) for k in range(19)]
_SEEDS = (0, 1)
_WATCHED_SEED = 100
_SCHEDULE = "warmup 5%, cosine"


def variants() -> Iterator[Task]:
    """Yield the tiny tasks and their variants."""
    yield from small_tasks(("momentum", "adamw", "sgd", "rmsprop"))
    for task in small_tasks():
        if task.name.startswith("small-cnn-norm"):
            continue  # much like the other one, and the slowest
        steps = task.horizon
        yield _varied(task, "long", steps=4 * steps)
        yield _varied(task, "large batch", steps=steps // 2, batch_size=4 * _batch_size(task))
        if not task.name.startswith("small-diabetes"):
            yield _varied(task, "noisy", steps=2 * steps, train=_noisy(task.train.tensors))


def _varied(task: Task, how: str, **changes: Any) -> Task:
    name, optimizer = task.name.split(", ")
    given = {"train": task.train.tensors, "batch_size": _batch_size(task), "schedule": _SCHEDULE, **changes}
    return dataclasses.replace(task, name=f"{name} {how}, {optimizer}", **given)


def _batch_size(task: Task) -> int:
    return int(task.train.batch_size)


def _noisy(train: Any) -> Any:
    """Return training data of which a fifth of the labels is drawn at random."""
    x, y = train
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(len(y), generator=generator) < 0.2
    return x, torch.where(drawn, torch.randint(int(y.max()) + 1, y.shape, generator=generator), y)


def compute_small_truth(workers: int = 2, path: Path = TRUTH_FILE) -> None:
    """Train every variant at every rate, and keep the final losses; goes on where it was stopped."""
    rows = read_rows(path) if path.exists() else []
    known = {row["task"] for row in rows}
    names = [task.name for task in variants() if task.name not in known]
    for name, done in each_done(_truth, names, workers):
        if isinstance(done, Exception):
            raise done
        rows.append({"task": name, "runs": done})
        write_record(path, header("reference-runs"), rows)
        print(f"{name}: {len(rows)} done", flush=True)


def _truth(name: str) -> list[tuple[float, int, float | None]]:
    task = next(task for task in variants() if task.name == name)
    runs = [(lr, seed, train(task, lr, seed=seed)) for lr in _RATES for seed in _SEEDS]
    return [
        (lr, seed, rounded(run.val_loss) if run.divergence is None and math.isfinite(run.val_loss) else None)
        for lr, seed, run in runs
    ]


def compute_reference_runs(workers: int = 2, path: Path = REFERENCE_FILE) -> None:
    """Watch all of them at rates from far too low to far too high, and write what verdicts compare with."""
    design = [combo for combo in all_combos() if not combo.held_out]
    small = [row["task"] for row in read_rows(TRUTH_FILE)]
    rows: list[dict[str, Any]] = []
    for job, done in each_done(_watched, [*design, *small], workers):
        if isinstance(done, Exception):
            raise done
        rows += done
        print(job, len(done), flush=True)
    rows.sort(key=lambda row: (row["task"], row["optimizer"], row["times"]))
    told = {
        "made by": "python -m benchmarks reference-runs",
        "columns": ["task", "optimizer", "times", "ended", *FEATURES, VALIDATION],
        "rows": [[row["task"], row["optimizer"], row["times"], row["ended"], *row["signals"]] for row in rows],
    }
    lines = ",\n ".join(json.dumps(row) for row in told.pop("rows"))  # type: ignore[attr-defined]
    path.write_text(json.dumps(told)[:-1] + ', "rows": [\n ' + lines + "\n]}\n", encoding="utf-8")


def _watched(job: Any) -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    if isinstance(job, str):
        task = next(task for task in variants() if task.name == job)
        runs = next(row["runs"] for row in read_rows(TRUTH_FILE) if row["task"] == job)
        name, optimizer, truth = *job.split(", "), _labels(runs)
    else:
        task, (name, optimizer), truth = build(job, seed=_WATCHED_SEED), (job.task, job.optimizer), labels(job)
    rows = []
    for lr, (times, label, _) in truth.items():
        watching, _ = watched_quarter(task, lr, _WATCHED_SEED)
        if watching.record.diverged is not None:
            continue  # what diverges needs no comparison
        seen = features_of(watching.record)
        if seen is None or VALIDATION not in seen:
            continue
        signals = [round(seen[signal], 4) for signal in (*FEATURES, VALIDATION)]
        found = {"task": name, "optimizer": optimizer, "times": round(times, 4), "ended": label, "signals": signals}
        rows.append(found)
    return rows


def _labels(runs: Sequence[tuple[float, int, float | None]]) -> Mapping[float, tuple[float, Label, bool]]:
    values: dict[float, list[float]] = {}
    for lr, _, value in runs:
        values.setdefault(lr, []).append(math.inf if value is None else value)
    medians = {lr: float(np.mean(seen)) for lr, seen in values.items()}
    best = min(medians, key=medians.__getitem__)
    if medians[best] == 0:
        return {}
    return {lr: (lr / best, label_of(lr, best, medians), math.isinf(medians[lr])) for lr in spread_out(medians, best)}


def by_itself(path: Path = REFERENCE_FILE) -> str:
    """Return how the record judges its own trainings, each task left out in turn: what the thresholds rest on."""
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    lines = [
        "| threshold of the vote | verdicts given | right, of these | false alarms on healthy runs |",
        "|---|---|---|---|",
    ]
    answers = [_answer(row) for row in rows]
    for least in (0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95):
        told = [(row[3], side) for row, (side, share) in zip(rows, answers, strict=True) if share >= least]
        good = sum(row[3] == "fine" for row in rows)
        right = sum(ended == side for ended, side in told)
        accused = sum(ended == "fine" != side for ended, side in told)
        lines.append(
            f"| {least:.2f} | {len(told)} of {len(rows)} | {right / max(1, len(told)):.1%} | {accused} of {good} |"
        )
    return "\n".join(lines)


def _answer(row: Sequence[Any]) -> tuple[str, float]:
    found = vote(dict(zip((*FEATURES, VALIDATION), row[4:], strict=True)), without=row[0].split()[0])
    if found is None:
        return "", -1.0
    return SIDES[int(np.argmax(found.shares))], max(found.shares)
