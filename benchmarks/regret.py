"""How much worse than with the best rate a training ends at the rate that each tool picks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.combos import OPTIMIZERS, Combo, all_combos, build, rounded
from benchmarks.peers import PICKERS, TOOLS_OF, Pick, answer, available
from benchmarks.record import RECORDS_FOLDER, commit, header, read_rows, write_record
from benchmarks.truth import open_log
from benchmarks.truth_curve import TruthCurve
from benchmarks.workers import Progress, each_done
from stepsize.optimizers import OPTIMIZERS as CATALOG

__all__ = [
    "REGRET_FILE",
    "PickJob",
    "compute_regret",
    "kept_rows",
    "load_curves",
    "make_picks",
    "missing_jobs",
    "scored",
]

REGRET_FILE = RECORDS_FOLDER / "regret.json"
_SCORES = ("regret", "regret_error", "diverged", "picked_to_best")


@dataclass(frozen=True)
class PickJob:
    """One call of one picker."""

    picker: str
    combo: Combo
    seed: int


def compute_regret(
    combos: Sequence[Combo],
    seeds: Sequence[int],
    *,
    pickers: Sequence[str],
    redo: Sequence[str],
    path: Path,
    truth: Path,
    workers: int,
    status: Path | None,
) -> None:
    """Let every picker answer that has not yet, score all answers against the truth, and write the record."""
    unknown = sorted({*pickers, *redo} - PICKERS.keys())
    if unknown:
        raise SystemExit(f"no such picker: {', '.join(unknown)}; known: {', '.join(PICKERS)}")
    rows = kept_rows(path, {tool for picker in redo for tool in TOOLS_OF[picker]}, combos, seeds)
    head = header("regret")
    absent = [picker for picker in pickers if not available(picker)]
    if absent:
        print(f"skipped, since stepsize has no such verb yet: {', '.join(absent)}")
    jobs = missing_jobs(rows, combos, seeds, [picker for picker in pickers if picker not in absent])
    progress = Progress("regret", float(len(jobs)), workers, status)
    for job, result in each_done(make_picks, jobs, workers):
        rows.update({_key(row): row for row in _rows_of(job, result)})
        write_record(path, head, _in_order(rows))
        progress.advance(1.0, f"{job.picker} {job.combo.name} seed {job.seed}")
    curves = load_curves(all_combos(), truth)
    write_record(path, head, [scored(row, curves) for row in _in_order(rows)])
    progress.say(f"done; {len(curves)} of {len(all_combos())} tasks × optimizers have their truth; in {path}")


def make_picks(job: PickJob) -> list[Pick]:
    """Let the picker answer."""
    return answer(job.picker, build(job.combo, seed=job.seed))


def load_curves(combos: Sequence[Combo], folder: Path) -> dict[Combo, TruthCurve]:
    """Return the truth of each combo that has at least one seed's complete grid.

    Raises:
        FingerprintError: If a file belongs to another definition of its task.
    """
    curves = {}
    for combo in combos:
        if (folder / f"{combo.name}.json").exists():
            log = open_log(combo, folder)
            curve = TruthCurve.of(log.rows, log.fingerprint["untrained"])
            if curve is not None:
                curves[combo] = curve
    return curves


def scored(row: Mapping[str, Any], curves: Mapping[Combo, TruthCurve]) -> dict[str, Any]:
    """Return ``row`` with its regret; without an answer it is that of the optimizer's default rate."""
    combo = Combo(row["task"], row["optimizer"])
    curve = curves.get(combo)
    fresh = {name: value for name, value in row.items() if name not in _SCORES}
    if curve is None:
        return fresh
    lr = row["lr"] if row["lr"] is not None else CATALOG[combo.optimizer].default_lr
    regret = curve.regret(lr)
    values = (
        rounded(regret.value),
        None if math.isnan(regret.error) else rounded(regret.error),
        regret.diverged,
        None if row["lr"] is None else rounded(row["lr"] / curve.best_lr),
    )
    return fresh | dict(zip(_SCORES, values, strict=True))


def kept_rows(path: Path, redone: set[str], combos: Sequence[Combo], seeds: Sequence[int]) -> dict[Any, dict[str, Any]]:
    """Return the rows of the record but those of the tools ``redone`` on ``combos`` with ``seeds``."""

    def goes(row: Mapping[str, Any]) -> bool:
        return row["tool"] in redone and Combo(row["task"], row["optimizer"]) in combos and row["seed"] in seeds

    return {_key(row): row for row in read_rows(path) if not goes(row)}


def missing_jobs(
    rows: Mapping[Any, Any], combos: Sequence[Combo], seeds: Sequence[int], pickers: Sequence[str]
) -> list[PickJob]:
    """Return the calls of ``pickers`` that have not left a row of every one of their tools yet."""

    def is_missing(job: PickJob) -> bool:
        wanted = {(tool, job.combo.task, job.combo.optimizer, job.seed) for tool in TOOLS_OF[job.picker]}
        return not wanted <= rows.keys()

    jobs = [PickJob(picker, combo, seed) for picker in pickers for combo in combos for seed in seeds]
    return [job for job in jobs if is_missing(job)]


def _rows_of(job: PickJob, result: list[Pick] | Exception) -> list[dict[str, Any]]:
    if isinstance(result, Exception):  # the process died, not the tool
        raise result
    where = {"task": job.combo.task, "optimizer": job.combo.optimizer, "seed": job.seed}
    return [{"tool": pick.tool, **where, **kept_values(pick), "commit": commit()} for pick in result]


def kept_values(pick: Pick) -> dict[str, Any]:
    """Return the pick's values for JSON, without those that it does not have."""
    values = asdict(pick)
    del values["tool"]
    values["interval"] = None if pick.interval is None else [rounded(end) for end in pick.interval]
    values = {name: value for name, value in values.items() if value not in (None, "")}
    lr = None if pick.lr is None else rounded(pick.lr)
    return values | {"lr": lr, "cost": None if math.isnan(pick.cost) else pick.cost}


def _key(row: Mapping[str, Any]) -> tuple[str, str, str, int]:
    return row["tool"], row["task"], row["optimizer"], row["seed"]


def _in_order(rows: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    tools = [tool for names in TOOLS_OF.values() for tool in names]
    tasks = [combo.task for combo in all_combos()]
    return sorted(
        rows.values(),
        key=lambda row: (
            tools.index(row["tool"]),
            tasks.index(row["task"]),
            OPTIMIZERS.index(row["optimizer"]),
            row["seed"],
        ),
    )
