"""Are the verdicts right: watched trainings at rates from far too low to far too high, judged by the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

import stepsize
from benchmarks.combos import Combo, all_combos, build
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.truth import TRUTH_FOLDER
from benchmarks.workers import each_done
from stepsize import Task
from stepsize.training.evaluate import evaluate
from stepsize.training.rng import isolated_rng
from stepsize.training.stepping import Stepper

__all__ = [
    "MULTIPLES",
    "VERDICTS_FILE",
    "Label",
    "Watched",
    "compute_verdicts",
    "label_of",
    "labels",
    "nearest",
    "spread_out",
    "verdicts_report",
    "watched_quarter",
]

VERDICTS_FILE = RECORDS_FOLDER / "verdicts.json"
Label: TypeAlias = Literal["too low", "fine", "too high"]
MULTIPLES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2.5, 5, 10, 30)
_WITHIN = 0.10  # regret up to which a rate is fine
_SIDES: tuple[Label, ...] = ("too low", "fine", "too high")


@dataclass(frozen=True)
class Watched:
    """One training, watched for a quarter of its horizon.

    Attributes:
        task: Its name.
        optimizer: Its name.
        held_out: Whether the task played no part in the design.
        lr: The rate.
        times: Over the best one.
        label: The truth, from the final regret over several seeds.
        verdict: What was said after a quarter of the steps.
        leaning: The strongest side of the vote.
        confidence: Its share.
        alarms: Codes of the warnings and critical findings by then.
        doubled: The step at which the loss (the median of five) was first twice its start, or not finite; None where
            it never was.
        lost: Whether the whole training, by the truth, diverges at this rate.
        flagged: The step of the first critical finding; None without one.
        ratio: The median length of steps over that of the weights, for the baseline.
        nan: Whether a loss was not finite, for the baseline.
        twice: Whether a loss was twice the mean of the hundred before it, for the baseline.
    """

    task: str
    optimizer: str
    held_out: bool
    lr: float
    times: float
    label: Label
    verdict: str
    leaning: str
    confidence: float
    alarms: tuple[str, ...]
    doubled: int | None
    lost: bool
    flagged: int | None
    ratio: float
    nan: bool
    twice: bool


def labels(combo: Combo) -> dict[float, tuple[float, Label, bool]]:
    """Return of each rate of the truth that is watched: its multiple of the best one, the label, and if it diverges."""
    told = json.loads((TRUTH_FOLDER / f"{combo.task}__{combo.optimizer}.json").read_text())
    rows = [dict(zip(told["columns"], row, strict=True)) for row in told["runs"]]
    values: dict[float, list[float]] = {}
    for row in rows:
        values.setdefault(row["lr"], []).append(math.inf if row["diverged"] is not None else row["val"])
    medians = {lr: float(np.median(seen)) for lr, seen in values.items()}
    best = min(medians, key=medians.__getitem__)
    return {lr: (lr / best, label_of(lr, best, medians), math.isinf(medians[lr])) for lr in spread_out(medians, best)}


def spread_out(known: Iterable[float], best: float) -> list[float]:
    """Return those of the known rates that lie nearest to the multiples of the best one that are watched."""
    rates = list(known)
    return sorted({nearest(best * times, rates) for times in MULTIPLES})


def nearest(wanted: float, among: Iterable[float]) -> float:
    """Return the one of ``among`` that lies nearest to ``wanted`` in the logarithm."""
    return min(among, key=lambda one: abs(math.log(one / wanted)))


def label_of(lr: float, best: float, medians: Mapping[float, float]) -> Label:
    """Return what a rate is by its final loss: within a tenth of the best one, or on which side of it."""
    regret = (medians[lr] - medians[best]) / abs(medians[best])
    if regret <= _WITHIN:
        return "fine"
    return "too low" if lr < best else "too high"


def compute_verdicts(seeds: Sequence[int], *, workers: int = 2, path: Path = VERDICTS_FILE) -> list[Watched]:
    """Watch every combo at every rate and keep what was said."""
    jobs = [(combo, seed) for combo in all_combos() for seed in seeds]
    rows: list[Watched] = []
    for job, done in each_done(_watched, jobs, workers):
        if isinstance(done, Exception):
            raise done
        print(job, len(done), flush=True)
        rows += done
    write_record(path, header("verdicts"), [asdict(row) for row in rows])
    return rows


def _watched(job: tuple[Combo, int]) -> list[Watched]:
    combo, seed = job
    torch.set_num_threads(1)
    return [_watch(combo, seed, lr, *truth) for lr, truth in labels(combo).items()]


def _watch(combo: Combo, seed: int, lr: float, times: float, label: Label, lost: bool) -> Watched:
    watching, losses = watched_quarter(build(combo, seed=seed), lr, seed)
    verdict = watching.verdict
    critical = [one.step for one in watching.findings if one.severity == "critical"]
    ratio = watching.record.median("update_ratio", 256)
    return Watched(
        task=combo.task,
        optimizer=combo.optimizer,
        held_out=combo.held_out,
        lr=lr,
        times=times,
        label=label,
        verdict=verdict.code,
        leaning=verdict.leaning,
        confidence=verdict.confidence,
        alarms=tuple(one.code for one in watching.findings if one.severity != "info"),
        doubled=_doubled(losses),
        lost=lost,
        flagged=min(critical, default=None),
        ratio=ratio,
        nan=not all(map(math.isfinite, losses)),
        twice=_twice(losses),
    )


def watched_quarter(task: Task, lr: float, seed: int) -> tuple[stepsize.Watch, list[float]]:
    """Train a quarter of the horizon while it is watched; return the watch and the losses."""
    losses: list[float] = []
    with isolated_rng(seed):
        stepper = Stepper(task, lr, task.horizon)

        def again() -> torch.Tensor:
            return torch.stack([task.compute_loss(stepper.model, batch) for batch in stepper.batches]).mean()

        def validate() -> float:
            return evaluate(task, stepper.model, step=0).evaluation.loss

        with stepsize.watch(stepper.model, stepper.optimizer, steps=task.horizon, validate=validate) as watching:
            for step in range(task.horizon // 4):
                loss = stepper.step(step)
                losses.append(float(loss))
                watching.step(loss, closure=again)
                if not math.isfinite(losses[-1]):
                    break
        assert not watching.broken, watching.broken
    return watching, losses


def _doubled(losses: Sequence[float]) -> int | None:
    start = float(np.median(losses[:5]))
    for step in range(len(losses)):
        last = losses[max(0, step - 4) : step + 1]
        if not math.isfinite(losses[step]) or (step > 4 and float(np.median(last)) >= 2 * start):
            return step
    return None


def _twice(losses: Sequence[float]) -> bool:
    values = np.asarray(losses)
    return any(not values[n] < 2 * values[max(0, n - 100) : n].mean() for n in range(10, len(values)))


def verdicts_report(path: Path = VERDICTS_FILE) -> str:
    """Return the tables of the record, as Markdown."""
    rows = [Watched(**{**row, "alarms": tuple(row["alarms"])}) for row in read_rows(path)]
    lines: list[str] = []
    for title, kept in (
        ("Tasks left out of the design", [row for row in rows if row.held_out]),
        ("Tasks of the design", [row for row in rows if not row.held_out]),
    ):
        lines += ["", f"**{title}**, {len(kept)} runs", "", *_confusion(kept), "", *_figures(kept)]
    return "\n".join(lines[1:])


def _confusion(rows: Sequence[Watched]) -> list[str]:
    said = ("too low", "fine", "too high", "diverged", "inconclusive")
    table = ["| ground truth | " + " | ".join(said) + " |", "|---|" + "---|" * len(said)]
    for side in _SIDES:
        counts = [sum(row.label == side and row.verdict == code for row in rows) for code in said]
        table.append(f"| {side} | " + " | ".join(map(str, counts)) + " |")
    return table


def _figures(rows: Sequence[Watched]) -> list[str]:
    told = [row for row in rows if row.verdict != "inconclusive"]
    good = [row for row in rows if row.label == "fine"]
    wrong = [row for row in good if row.verdict in ("too low", "too high", "diverged")]
    alarmed = [row for row in good if {"too-low", "too-high", "diverging", "about-to-diverge"} & set(row.alarms)]
    lost = [row for row in rows if row.doubled is not None and row.lost]
    flagged = [row for row in lost if row.flagged is not None and row.flagged <= (row.doubled or 0)]
    low = [row for row in rows if row.label == "too low"]
    high = [row for row in rows if row.label == "too high"]
    figures: Iterable[tuple[str, Any]] = (
        ("a verdict was given", _share(len(told), len(rows))),
        ("right, among those given", _share(sum(_right(row, row.verdict) for row in told), len(told))),
        (
            "right, if the strongest side were always reported",
            _share(sum(_right(row, row.leaning) for row in rows), len(rows)),
        ),
        ("wrong verdicts on healthy runs", _share(len(wrong), len(good))),
        ("any alarm on the rate on healthy runs, at any time", _share(len(alarmed), len(good))),
        ("diverging runs whose loss doubled by a quarter: reported no later", _share(len(flagged), len(lost))),
        ("baseline, step over weights beyond 10× of 1e-3: right", _share(sum(map(_by_ratio, rows)), len(rows))),
        ("baseline, NaN check: too-high runs seen", _share(sum(row.nan for row in high), len(high))),
        ("baseline, loss ≥ 2× the mean of 100: too-high seen", _share(sum(row.twice for row in high), len(high))),
        ("the same: false alarms", _share(sum(row.twice for row in good), len(good))),
        ("watch: too-low runs seen", _share(sum(row.verdict == "too low" for row in low), len(low))),
        ("watch: too-high runs seen", _share(sum(_right(row, row.verdict) for row in high), len(high))),
    )
    return ["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in figures)]


def _right(row: Watched, said: str) -> bool:
    return row.label == ("too high" if said == "diverged" else said)


def _by_ratio(row: Watched) -> bool:
    said = "too low" if row.ratio < 1e-4 else "too high" if not row.ratio < 1e-2 else "fine"
    return said == row.label


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}% ({part} of {whole})" if whole else "none"
