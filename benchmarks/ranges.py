"""How far the answer of a range test moves when something changes that should not matter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.combos import Combo, build, rounded
from benchmarks.peers import Conditions, Pick, answer
from benchmarks.record import RECORDS_FOLDER, commit, header, read_rows, write_record
from benchmarks.tables import markdown_table
from benchmarks.workers import Progress, each_done

__all__ = ["RANGES_FILE", "RANGE_PICKERS", "VARIANTS", "RangeJob", "compute_ranges", "moved", "ranges_report"]

RANGES_FILE = RECORDS_FOLDER / "ranges.json"
RANGE_PICKERS = ("range-test", "torch-lr-finder", "sweep")
_BASE = "as it is"
_GOAL = 0.15  # decades: what the range test promises
VARIANTS = {
    _BASE: Conditions(),
    "steps × 4": Conditions(more_steps=4),
    "range + 2 decades": Conditions(shift=2.0),
    "loss × 1000": Conditions(scale=1000.0),
    "loss + 1000": Conditions(offset=1000.0),
    "reshuffled": Conditions(shuffle=777),
}


@dataclass(frozen=True)
class RangeJob:
    """One test of one tool under one variant."""

    picker: str
    combo: Combo
    seed: int
    variant: str


def compute_ranges(
    combos: Sequence[Combo],
    seeds: Sequence[int],
    *,
    pickers: Sequence[str],
    redo: Sequence[str],
    path: Path,
    workers: int,
    status: Path | None,
) -> None:
    """Make every test that is missing, and write the record after each."""
    rows = {_key(row): row for row in read_rows(path) if not _goes(row, redo, combos, seeds)}
    head = header("ranges")
    jobs = [
        RangeJob(picker, combo, seed, variant)
        for picker in pickers
        for combo in combos
        for seed in seeds
        for variant in VARIANTS
    ]
    done = {(row["picker"], row["task"], row["optimizer"], row["seed"], row["variant"]) for row in rows.values()}
    jobs = [job for job in jobs if (job.picker, job.combo.task, job.combo.optimizer, job.seed, job.variant) not in done]
    progress = Progress("ranges", float(len(jobs)), workers, status)
    for job, result in each_done(_make, jobs, workers):
        if isinstance(result, Exception):
            raise result
        rows.update({_key(row): row for row in (_row(job, pick) for pick in result)})
        write_record(path, head, [rows[key] for key in sorted(rows)])
        progress.advance(1.0, f"{job.picker} {job.combo.name} {job.variant}")
    progress.say(f"done; in {path}")


def _make(job: RangeJob) -> list[Pick]:
    return answer(job.picker, build(job.combo, seed=job.seed), VARIANTS[job.variant])


def _row(job: RangeJob, pick: Pick) -> dict[str, Any]:
    row = {
        "picker": job.picker,
        "tool": pick.tool,
        "task": job.combo.task,
        "optimizer": job.combo.optimizer,
        "seed": job.seed,
        "variant": job.variant,
        "lr": None if pick.lr is None else rounded(pick.lr),
        "cost": None if math.isnan(pick.cost) else pick.cost,
        "commit": commit(),
    }
    return row | ({"note": pick.note} if pick.note else {})


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, int, str]:
    return row["tool"], row["task"], row["optimizer"], row["seed"], row["variant"]


def _goes(row: Mapping[str, Any], redo: Sequence[str], combos: Sequence[Combo], seeds: Sequence[int]) -> bool:
    return row["picker"] in redo and Combo(row["task"], row["optimizer"]) in combos and row["seed"] in seeds


def moved(rows: Sequence[Mapping[str, Any]], tool: str, variant: str) -> tuple[list[float], int, int]:
    """Return how ``tool`` answers to ``variant``.

    Returns:
        By how many decades (≥ 0) each answer moved, where there was one before and after; in how many cases an
        answer came or went; and in how many there was none at all.
    """
    answers = {_key(row): row["lr"] for row in rows if row["tool"] == tool}
    moves: list[float] = []
    changed = none = 0
    for (_, task, optimizer, seed, name), after in answers.items():
        before_key = (tool, task, optimizer, seed, _BASE)
        if name != variant or before_key not in answers:
            continue
        before = answers[before_key]
        if before is not None and after is not None:
            moves.append(abs(math.log10(after / before)))
        elif before is None and after is None:
            none += 1
        else:
            changed += 1
    return moves, changed, none


def ranges_report(path: Path) -> str:
    """Return the Markdown table of the record: median and largest move for each tool and variant."""
    rows = read_rows(path)
    if not rows:
        return "Nothing was measured yet."
    variants = [name for name in VARIANTS if name != _BASE]
    lines = []
    for tool in dict.fromkeys(row["tool"] for row in rows):
        cells = [_cell(*moved(rows, tool, variant)) for variant in variants]
        cases = {(row["task"], row["optimizer"], row["seed"]) for row in rows if row["tool"] == tool}
        lines.append([tool, *cells, str(len(cases))])
    lines.sort(key=lambda cells: not cells[0].startswith("stepsize"))
    legend = (
        f"Decades by which the answer moves: median / p90 / largest (share within {_GOAL}); "
        "±n: in n cases an answer came or went. Cases: tasks × optimizers × seeds. "
        "Loss × 1000 and + 1000 change what is reported, not the gradients."
    )
    return f"{legend}\n\n{markdown_table(['method', *variants, 'cases'], lines)}"


def _cell(moves: Sequence[float], changed: int, none: int) -> str:
    if not moves:
        return f"no answers (±{changed}, none {none})" if changed or none else "–"
    within = sum(move <= _GOAL for move in moves) / len(moves)
    text = f"{np.median(moves):.2f} / {np.quantile(moves, 0.9):.2f} / {max(moves):.2f} ({100 * within:.0f}%)"
    return f"{text} ±{changed}" if changed else text
