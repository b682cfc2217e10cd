"""Schedules against each other on real tasks, each at its own tuned peak rate, judged by other seeds."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.combos import Combo, build, rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table
from benchmarks.workers import Progress, each_done
from stepsize import schedules
from stepsize.schedules import Schedule

__all__ = [
    "BY_SCHEDULE_FILE",
    "COMPARED",
    "Trial",
    "best_rate",
    "compute_by_schedule",
    "next_rates",
    "schedules_report",
]

BY_SCHEDULE_FILE = RECORDS_FOLDER / "by_schedule.json"
COMBOS = (Combo("digits-mlp", "momentum"), Combo("docs-chars-gpt", "adamw"), Combo("photos-mlp", "adamw"))
TUNING_SEEDS = (200, 201)
JUDGING_SEEDS = (300, 301, 302, 303, 304)
_STEP = 0.25  # decades between two rates tried
_FIRST = {"momentum": 0.1, "adamw": 3e-3}  # where the search begins, before anything was looked at
_REACH = 2  # rates on either side of the best that must have been tried
_WARMUP = "5%"

# Written down before any was run. All warm up alike; the decays are those that people use.
COMPARED: dict[str, Schedule] = {
    "linear": schedules.linear(warmup=_WARMUP),
    "cosine": schedules.cosine(warmup=_WARMUP),
    "step": schedules.warmup(_WARMUP).then(schedules.multi_step(("45%", "70%"), gamma=0.1)),
    "exponential": schedules.decay(shape="exponential", end=0.01, warmup=_WARMUP),
    "wsd": schedules.wsd(warmup=_WARMUP, cooldown="20%"),
    "constant": schedules.warmup(_WARMUP).then(schedules.constant()),
}


@dataclass(frozen=True)
class Trial:
    """One full training."""

    combo: Combo
    schedule: str
    lr: float
    seed: int

    @property
    def key(self) -> tuple[str, str, str, float, int]:
        """What it is a run of."""
        return self.combo.task, self.combo.optimizer, self.schedule, self.lr, self.seed


def compute_by_schedule(*, path: Path, workers: int, status: Path | None, combos: Sequence[Combo] = COMBOS) -> None:
    """Tune every schedule on every task, then judge each at its best rate; the record is written after each round."""
    rows = {_key(row): row for row in read_rows(path)}
    head = header("by-schedule")
    progress = Progress("by-schedule", float(len(combos) * len(COMPARED) * (2 * 6 + 5)), workers, status)
    while True:
        jobs = [trial for combo in combos for name in COMPARED for trial in _missing(combo, name, rows)]
        if not jobs:
            break
        for trial, result in each_done(_train, jobs, workers):
            if isinstance(result, Exception):
                raise result
            rows[trial.key] = result
            write_record(path, head, [rows[key] for key in sorted(rows)])
            progress.advance(1.0, trial.key)
    progress.say(f"done; in {path}")


def next_rates(tried: Mapping[float, float], first: float, *, step: float = _STEP, reach: int = _REACH) -> list[float]:
    """Return the rates to try next: neighbours until the best of those tried has enough on both sides."""
    best = round(math.log10(best_rate(tried) / first) / step) if tried else 0
    wanted = [rounded(first * 10 ** (step * (best + k))) for k in range(-reach, reach + 1)]
    return [lr for lr in wanted if lr not in tried]


def best_rate(losses: Mapping[float, float]) -> float:
    """Return the rate of the lowest mean loss; the lowest such rate."""
    return min(losses, key=lambda lr: (losses[lr], lr))


def schedules_report(path: Path) -> str:
    """Return the table of the record, with the sentence that says how to read it."""
    rows = list(read_rows(path))
    if not rows:
        return "Nothing measured yet."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    lines = [
        [task, optimizer, name, _number(lr), *_summary(losses, base)]
        for task, optimizer, base, of in _judged(rows)
        for name, (lr, losses) in of.items()
    ]
    columns = ["task", "optimizer", "schedule", "tuned peak", "final loss ± s.e.", "against cosine"]
    return "\n\n".join(
        [
            f"Final validation loss, each schedule at its own peak: tuned on a grid {_STEP} decades apart with "
            f"{len(TUNING_SEEDS)} seeds until the best rate has {_REACH} tried on either side, scored on "
            f"{len(JUDGING_SEEDS)} other seeds; the last column pairs the seeds and gives the mean difference ± its "
            f"standard error. Commit {head['commit']}, {head['date'][:10]}.",
            markdown_table(columns, lines),
        ]
    )


def draw(path: Path, picture: Path) -> None:
    """Save the picture of the record."""
    from stepsize.views import OutcomeGroup, outcomes_chart, outcomes_info, save_chart

    groups = [OutcomeGroup(task, of, "final validation loss") for task, of in judged(path)]
    lines = f"Each at its own tuned peak rate; {len(JUDGING_SEEDS)} seeds that the tuning had not seen."
    save_chart(outcomes_chart(outcomes_info(groups, title="Schedules on real tasks", subtitle=lines)), picture)


def judged(path: Path) -> list[tuple[str, dict[str, list[float]]]]:
    """Return, for each task, the final losses of the judging seeds by schedule."""
    return [
        (f"{task}, {optimizer}", {name: losses for name, (_, losses) in of.items()})
        for task, optimizer, _, of in _judged(list(read_rows(path)))
    ]


def _judged(
    rows: Sequence[Mapping[str, Any]],
) -> Iterable[tuple[str, str, list[float], dict[str, tuple[float, list[float]]]]]:
    for combo in COMBOS:
        own = [row for row in rows if (row["task"], row["optimizer"]) == (combo.task, combo.optimizer)]
        of: dict[str, tuple[float, list[float]]] = {}
        for name in COMPARED:
            finals = [row for row in own if row["schedule"] == name and row["seed"] in JUDGING_SEEDS]
            if len(finals) == len(JUDGING_SEEDS):
                of[name] = finals[0]["lr"], [_loss(row) for row in sorted(finals, key=lambda row: row["seed"])]
        if "cosine" in of:
            yield combo.task, combo.optimizer, of["cosine"][1], of


def _summary(losses: Sequence[float], base: Sequence[float]) -> tuple[str, str]:
    values, paired = np.asarray(losses), np.asarray(losses) / np.asarray(base) - 1
    root = math.sqrt(len(values))
    own = f"{values.mean():.4f} ± {values.std(ddof=1) / root:.4f}"
    if np.array_equal(paired, np.zeros_like(paired)):
        return own, "–"
    return own, f"{100 * paired.mean():+.1f} ± {100 * paired.std(ddof=1) / root:.1f}%"


def _missing(combo: Combo, name: str, rows: Mapping[Any, Mapping[str, Any]]) -> list[Trial]:
    first = _FIRST[combo.optimizer]
    tuned: dict[float, list[float]] = {}
    for row in rows.values():
        ours = (row["task"], row["optimizer"], row["schedule"]) == (combo.task, combo.optimizer, name)
        if ours and row["seed"] in TUNING_SEEDS:
            tuned.setdefault(row["lr"], []).append(_loss(row))
    means = {lr: float(np.mean(losses)) for lr, losses in tuned.items() if len(losses) == len(TUNING_SEEDS)}
    half = [lr for lr in tuned if lr not in means]
    lrs = half or next_rates(means, first)
    seeds: tuple[int, ...] = TUNING_SEEDS
    if not lrs:
        lrs, seeds = [best_rate(means)], JUDGING_SEEDS
    trials = [Trial(combo, name, lr, seed) for lr in lrs for seed in seeds]
    return [trial for trial in trials if trial.key not in rows]


def _train(trial: Trial) -> dict[str, Any]:
    from stepsize.training import train

    task = build(trial.combo)
    task = dataclasses.replace(task, schedule=COMPARED[trial.schedule], epochs=None)
    run = train(task, trial.lr, seed=trial.seed)
    return {
        "task": trial.combo.task,
        "optimizer": trial.combo.optimizer,
        "schedule": trial.schedule,
        "lr": trial.lr,
        "seed": trial.seed,
        "val": None if run.divergence is not None else rounded(run.val_loss),
        "seconds": round(run.seconds, 2),
    }


def _loss(row: Mapping[str, Any]) -> float:
    return math.inf if row["val"] is None else float(row["val"])


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, float, int]:
    return row["task"], row["optimizer"], row["schedule"], row["lr"], row["seed"]


def _number(value: float) -> str:
    return f"{value:.3g}"
