"""Optimizers on real tasks, each at its own tuned rate: who wins where, and what the untuned ones lose.

Every contender has the same nine trainings to find its rate in the range of its catalog entry, and three fresh seeds
at the rate found. Those that estimate the rate themselves also take part at their default, without any tuning. Two
smaller studies ask what the noise of the gradients (the batch size) and a target that drifts change.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import stepsize
from benchmarks.drifting import drifting
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table, percent
from benchmarks.workers import Progress, each_done
from stepsize.study.comparing import CLASSICS
from stepsize.training import Changes, varied

__all__ = ["OPTIMIZERS_FILE", "compute_optimizers", "optimizers_report"]

OPTIMIZERS_FILE = RECORDS_FOLDER / "optimizers.json"
TASKS = ("digits-mlp", "digits-cnn", "diabetes-regression", "docs-chars-gpt")
CONTENDERS = (*CLASSICS, "lion", "muon", "schedule-free-adamw", "prodigy", "dog")


@dataclass(frozen=True)
class Study:
    """One comparison."""

    name: str
    task: str
    contenders: tuple[str, ...] = CONTENDERS
    schedules: tuple[str, ...] | None = None
    batch_sizes: tuple[int | None, ...] = (None,)  # None is the task's own
    drift: float = 0.0


STUDIES = {
    study.name: study
    for study in (
        *(Study(task, task) for task in TASKS),
        Study("noise", "digits-mlp", ("sgd", "momentum", "adagrad", "rmsprop", "adam"), batch_sizes=(16, 128, 512)),
        Study(
            "drift",
            "digits-mlp",
            ("sgd", "momentum", "adagrad", "rmsprop", "adam"),
            schedules=("constant", "cosine"),
            drift=0.25,
        ),
    )
}
_KEPT = (
    "name", "optimizer", "tuned", "lr", "value", "train_loss", "val_loss", "diverged", "seconds",
    "tuning_cost", "sensitivity", "lowest_diverged",
)  # fmt: skip


def compute_optimizers(
    names: Iterable[str] = tuple(STUDIES),
    workers: int = 2,
    path: Path = OPTIMIZERS_FILE,
    *,
    seeds: int = 3,
    trials: int = 9,
) -> None:
    """Run the studies and add their rows to the record; rows of the same studies are replaced."""
    jobs = [(STUDIES[name], seeds, trials) for name in names]
    wanted = {study.name for study, _, _ in jobs}
    rows = [row for row in read_rows(path) if row["study"] not in wanted]
    progress = Progress("optimizers", float(len(jobs)), workers, None)
    for job, found in each_done(_compared, jobs, workers):
        if isinstance(found, Exception):
            raise found
        rows += found
        write_record(path, header("optimizers"), rows)
        progress.advance(1.0, job[0].name)


def _compared(job: tuple[Study, int, int]) -> list[dict[str, Any]]:
    study, seeds, trials = job
    torch.set_num_threads(1)
    task = stepsize.build_task(study.task)
    task = drifting(task, study.drift) if study.drift else task
    rows = []
    for size in study.batch_sizes:
        sized = task if size is None else varied(task, Changes(batch_size=size))  # as many examples seen
        found = stepsize.compare(sized, study.contenders, schedules=study.schedules, seeds=seeds, trials=trials)
        rows += _rows(study, size, json.loads(json.dumps(found.to_json(), allow_nan=False)))
    return rows


def _rows(study: Study, size: int | None, one: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "study": study.name,
            "task": study.task,
            "batch_size": size,
            "place": place,
            "leads": found["name"] in one["tied_with_best"],
            "verdict": one["verdict"],
            "steps": one["conditions"]["horizon"],
            "target": one["target"],
            "target_steps": list(found["steps_to_target"].values()),
            "judged": list(found["values"].values()),
            "open": found["answer"] is not None and found["answer"]["verdict"] == "open",
            "basin": _decades(found["answer"]),
            **{key: found[key] for key in _KEPT},
        }
        for place, found in enumerate(one["contenders"], 1)
    ]


def _decades(answer: dict[str, Any] | None) -> float | None:
    """Return the width of the range of rates that are as good, in decades."""
    good = None if answer is None else answer["as_good"]
    return None if good is None else math.log10(good[1] / good[0])


def optimizers_report(path: Path = OPTIMIZERS_FILE) -> str:
    """Return the tables of the record."""
    every = read_rows(path)
    if not every:
        return "No record yet: `python -m benchmarks optimizers`."
    rows = [row for row in every if row["study"] == row["task"]]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    about = (
        f"{len(tasks)} tasks. Loss above the best optimizer's on the same task, in percent of it, at the tuned rate, "
        f"means over {len(rows[0]['judged'])} seeds; **bold** where an optimizer is not distinguishable from the best. "
        "(untuned): at the default rate of the optimizer, at no tuning cost."
    )
    parts = [about, _across(rows, tasks)]
    for task in tasks:
        parts += _section(task, [row for row in rows if row["task"] == task])
    for name, title in (("noise", "batch size"), ("drift", "inputs that rotate by 90° during training")):
        own = [row for row in every if row["study"] == name]
        for size in dict.fromkeys(row["batch_size"] for row in own):
            what = title if size is None else f"{title} {size}"
            parts += _section(f"{own[0]['task']}, {what}", [row for row in own if row["batch_size"] == size])
    return "\n\n".join(parts)


def _section(title: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    own = sorted(rows, key=lambda row: row["place"])
    return [f"#### {title}: {_winner(own)}", _table(own)]


def _across(rows: Sequence[dict[str, Any]], tasks: Sequence[str]) -> str:
    names = list(dict.fromkeys(row["name"] for row in rows))
    by = {(row["name"], row["task"]): row for row in rows}
    best = {task: min(_value(row) for row in rows if row["task"] == task) for task in tasks}
    lines = []
    for name in names:
        excess = [_value(by[name, task]) / best[task] - 1 for task in tasks]
        cells = [_marked(percent(gap), by[name, task]) for gap, task in zip(excess, tasks, strict=True)]
        lines.append((sum(excess), [name, *cells]))
    return markdown_table(["optimizer", *tasks], [line for _, line in sorted(lines, key=lambda pair: pair[0])])


def _marked(text: str, row: dict[str, Any]) -> str:
    told = "diverged" if row["value"] is None else text
    return f"**{told}**" if row["leads"] else told


def _value(row: dict[str, Any]) -> float:
    return float("inf") if row["value"] is None else float(row["value"])


def _winner(own: Sequence[dict[str, Any]]) -> str:
    leaders = [row["name"] for row in own if row["leads"]]
    return f"{leaders[0]} wins" if len(leaders) == 1 else f"no winner among {', '.join(leaders)}"


def _table(own: Sequence[dict[str, Any]]) -> str:
    heads = [
        "optimizer",
        "lr",
        "validation loss",
        "training loss",
        f"steps to {own[0]['target']:.3g}",
        "near-optimal range (decades)",
    ]
    heads += ["mean excess over 3 decades", "diverges at", "tuning cost (full runs)"]
    lines = []
    for row in own:
        reached = sorted(step for step in row["target_steps"] if step is not None)
        most = len(reached) * 2 > len(row["target_steps"])
        lines.append(
            [
                row["name"],
                _number(row["lr"]) + (" (open)" if row.get("open") else " (edge)" if row.get("at_edge") else ""),
                _number(row["value"]),
                _number(row["train_loss"]),
                f"{reached[len(row['target_steps']) // 2]:.0f}" if most else "never",
                "–" if row["basin"] is None else f"{row['basin']:.1f}",
                _number(row["sensitivity"]),
                _number(row["lowest_diverged"]),
                f"{row['tuning_cost']:.1f}",
            ]
        )
    return markdown_table(heads, lines)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
