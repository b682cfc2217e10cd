"""Are overfitting and plateaus found: whole trainings, labelled by their full curves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import stepsize
from benchmarks.combos import Combo, all_combos, build
from benchmarks.lr_record.collect import read_record
from benchmarks.lr_record.draw import RATES, draw_task
from benchmarks.lr_record.training import watched
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.verdicts import labels
from benchmarks.workers import each_done
from stepsize.monitor.tracking import FindingTracker
from stepsize.training.runs import Run

__all__ = ["LATE_FILE", "Late", "compute_late", "compute_late_on_record", "late_report"]

Array = NDArray[np.float64]
LATE_FILE = RECORDS_FOLDER / "late_findings.json"
RECORD_FILE = RECORDS_FOLDER / "late_on_record.json"
_LEARNED_UNTIL = 700  # tasks of the record below this number chose the thresholds
_LONG = 400  # steps
_CHECKED = 32  # times
_CODES = ("overfitting", "plateau", "underfitting")
_MULTIPLES = (0.3, 1.0, 4.0)
_SEED = 100
_ROSE = 1.1  # the last loss on unseen data over the lowest: overfitting
_EARLY = 0.8  # of the horizon: a lowest point behind it is no turn yet
_FLAT = 0.01  # of the loss


@dataclass(frozen=True)
class Late:
    """One whole training.

    Attributes:
        task: Its name.
        optimizer: Its name.
        held_out: Whether the task played no part in the design.
        times: The rate over the best one.
        constant: Whether the rate stayed constant, as a plateau asks for.
        truth: Whether it overfitted, or at a constant rate lay on a plateau, by its full curve.
        found: Whether that was among the findings at the end.
        withdrawn: Whether it was reported, and refuted by later steps.
    """

    task: str
    optimizer: str
    held_out: bool
    times: float
    constant: bool
    truth: bool
    found: bool
    withdrawn: bool


def compute_late(workers: int = 2, path: Path = LATE_FILE) -> None:
    """Watch whole trainings of every combo, on their schedule for overfitting, at a constant rate for plateaus."""
    rows: list[Late] = []
    for job, done in each_done(_watched, list(all_combos()), workers):
        if isinstance(done, Exception):
            raise done
        rows += done
        print(job, len(done), flush=True)
    write_record(path, header("late-findings"), [asdict(row) for row in rows])


def _watched(combo: Combo) -> list[Late]:
    torch.set_num_threads(1)
    known = labels(combo)
    rows = []
    for multiple in _MULTIPLES:
        lr = min(known, key=lambda one, m=multiple: abs(math.log(known[one][0] / m)))  # type: ignore[misc]
        for constant in (False, True):
            task = build(combo, seed=_SEED)
            task = dataclasses.replace(task, schedule=None) if constant else task
            watched = stepsize.watch_task(task, lr)
            if watched.run.divergence is not None:
                continue
            truth = is_flat(watched.run.losses) if constant else turned(watched.run)
            code = "plateau" if constant else "overfitting"
            found = any(one.code == code for one in watched.report.findings)
            withdrawn = code in watched.report.withdrawn
            rows.append(
                Late(combo.task, combo.optimizer, combo.held_out, known[lr][0], constant, truth, found, withdrawn)
            )
    return rows


def compute_late_on_record(count: int, workers: int = 2, path: Path = RECORD_FILE) -> None:
    """Watch whole trainings of tasks of the record, ``count`` that chose the thresholds and as many others."""
    numbers = [*_long_tasks(0)[:count], *_long_tasks(_LEARNED_UNTIL)[:count]]
    rows: list[dict[str, Any]] = []
    with closing(each_done(_on_record, numbers, workers)) as ended:
        for number, done in ended:
            if isinstance(done, Exception):
                raise done
            rows += done
            print(number, len(done), flush=True)
    write_record(path, header("late-findings --record"), sorted(rows, key=lambda row: (row["task"], row["rate"])))


def _long_tasks(first: int) -> list[int]:
    """Return the recorded tasks, from number ``first`` on, that are long enough and can be stacked."""
    known = (facts for facts in read_record().facts if facts["number"] >= first)
    return [facts["number"] for facts in known if facts["steps"] >= _LONG and facts["model"] not in ("gru", "lstm")]


def _on_record(number: int) -> list[dict[str, Any]]:
    """Return the late findings of each rate of a task, and whether later steps refuted them."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    task = draw_task(0, number)
    seen, trackers = watched(task), [FindingTracker() for _ in range(RATES)]
    reported: list[dict[str, bool]] = [{} for _ in range(RATES)]  # code: refuted
    every = max(8, seen.steps // _CHECKED)
    for step in range(every, seen.steps + 1, every):
        for tracker, codes, record in zip(trackers, reported, seen.records(step), strict=True):
            tracker.check(record, due=True)
            codes |= dict.fromkeys((one.code for one in tracker.findings), False)
            codes |= dict.fromkeys(tracker.withdrawn, True)
    kept = [{code: codes[code] for code in _CODES if code in codes} for codes in reported]
    return [{"task": number, "rate": rate, "reported": codes} for rate, codes in enumerate(kept)]


def turned(run: Run) -> bool:
    """Return whether the loss on unseen data turned well before the end and rose by a tenth from its lowest point."""
    values = np.array([one.loss for one in run.evaluations])
    steps = np.array([one.step for one in run.evaluations])
    place = int(values.argmin())
    return bool(steps[place] < _EARLY * len(run.losses) and values[-1] >= _ROSE * values[place])


def is_flat(losses: Array) -> bool:
    """Return whether the last quarter of a training at a constant rate gained nothing that its noise would not hide."""
    third, last = (np.array_split(losses, 4)[n] for n in (2, 3))
    error = math.hypot(*(float(np.std(_pieces(part), ddof=1)) / math.sqrt(8) for part in (third, last)))
    return bool(third.mean() - last.mean() <= max(2 * error, _FLAT * abs(float(last.mean()))))


def _pieces(losses: Array) -> list[float]:
    return [float(piece.mean()) for piece in np.array_split(losses, 8)]


def late_report(path: Path = LATE_FILE, record: Path = RECORD_FILE) -> str:
    """Return the table of the record, as Markdown."""
    rows = [Late(**row) for row in read_rows(path)]
    lines = [
        "| tasks | what | by the curve | found, of these | found, of the others | refuted later, of all reported |",
        "|---|---|---|---|---|---|",
    ]
    for held_out in (True, False):
        for constant, name in ((False, "overfitting"), (True, "plateau")):
            kept = [row for row in rows if row.held_out == held_out and row.constant == constant]
            lines.append(_line("left out of the design" if held_out else "of the design", name, kept))
    return "\n".join([*lines, "", *_record_lines(read_rows(record))])


def _record_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "| whole runs of recorded tasks | what | reported | refuted later |"
    yield "|---|---|---|---|"
    for learned in (False, True):
        kept = [row for row in rows if (row["task"] < _LEARNED_UNTIL) == learned]
        name = f"{'thresholds chosen on them' if learned else 'other tasks'}, {len(kept)} runs"
        for code in (*_CODES, "all"):
            told = [v for row in kept for key, v in row["reported"].items() if code in (key, "all")]
            part = f" ({sum(told) / len(told):.1%})" if told else ""
            yield f"| {name} | {code} | {len(told)} | {sum(told)}{part} |"


def _line(tasks: str, name: str, rows: Sequence[Late]) -> str:
    so, other = [row.found for row in rows if row.truth], [row.found for row in rows if not row.truth]
    refuted = sum(row.withdrawn for row in rows)
    found = f"{sum(so)} of {len(so)} | {sum(other)} of {len(other)} | {refuted} of {refuted + sum(so) + sum(other)}"
    return f"| {tasks} | {name} | {len(so)} of {len(rows)} | {found} |"
