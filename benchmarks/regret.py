"""How far above the best loss a training ends at the rate that each method picks.

Searches of full-length runs are replayed on the ground truth; everything that needs runs of its own is called for real.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.combos import Combo, rounded
from benchmarks.peers import PICKERS, TOOLS_OF, Pick, answer
from benchmarks.record import RECORDS_FOLDER, commit, header, read_rows, write_record
from benchmarks.replay import SETS, Case, Truth, all_cases, load_truth, replayed
from benchmarks.searches import SEARCHES
from benchmarks.truth import open_log
from benchmarks.truth_curve import TruthCurve
from benchmarks.workers import Progress, each_done

__all__ = [
    "REGRET_FILE",
    "SEARCHES_FILE",
    "PickJob",
    "case_of",
    "compute_picks",
    "compute_replays",
    "kept_rows",
    "load_curves",
    "load_truths",
    "make_picks",
    "missing_jobs",
    "score_picks",
    "scored",
]

REGRET_FILE = RECORDS_FOLDER / "regret.json"
SEARCHES_FILE = RECORDS_FOLDER / "searches.json"
_SCORES = ("regret", "regret_error", "diverged", "picked_to_best", "holds_best")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class PickJob:
    """One call of one picker."""

    picker: str
    case: Case
    seed: int


def compute_replays(truths: Iterable[Truth], *, redo: Iterable[str] = (), path: Path = SEARCHES_FILE) -> None:
    """Replay every search on every truth that its record lacks, and write the record."""
    again = set(redo)
    rows = {_replay_key(row): row for row in read_rows(path) if row["search"] not in again}
    for truth in truths:
        known = len(rows)
        for name, peer in SEARCHES.items():
            for budget in peer.budgets:
                fresh = _where(truth.case) | {"search": name, "trials": budget}
                if _replay_key(fresh) not in rows:
                    seeds = range(peer.repeats or truth.full.seeds)
                    found = [replayed(peer.search, truth, budget, seed) for seed in seeds]
                    regrets = [rounded(regret) for _, regret, _ in found]
                    spent = rounded(sum(spent for *_, spent in found) / len(found))
                    rows[_replay_key(fresh)] = fresh | {"spent": spent, "regret": regrets}
        if len(rows) > known:
            write_record(path, header("regret"), sorted(rows.values(), key=_replay_order))
            print(f"{truth.case.name}: replayed", flush=True)


def compute_picks(
    cases: Sequence[Case],
    seeds: Sequence[int],
    *,
    pickers: Sequence[str],
    redo: Sequence[str] = (),
    path: Path = REGRET_FILE,
    workers: int = 1,
    status: Path | None = None,
) -> None:
    """Let every picker answer that has not yet, and write the record."""
    unknown = sorted({*pickers, *redo} - PICKERS.keys() - SEARCHES.keys())
    if unknown:
        raise SystemExit(f"no such picker: {', '.join(unknown)}; known: {', '.join(PICKERS)}")
    rows = kept_rows(path, {tool for picker in redo for tool in TOOLS_OF.get(picker, ())}, cases, seeds)
    head = header("regret")
    jobs = missing_jobs(rows, cases, seeds, pickers)
    progress = Progress("regret", float(len(jobs)), workers, status)
    for job, result in each_done(make_picks, jobs, workers):
        rows.update({_key(row): row for row in _rows_of(job, result)})
        write_record(path, head, _in_order(rows))
        progress.advance(1.0, f"{job.picker} {job.case.name} seed {job.seed}")


def score_picks(truths: Mapping[Case, Truth], path: Path = REGRET_FILE) -> None:
    """Score the kept picks again, against the truth as it is now."""
    rows = {_key(row): row for row in read_rows(path)}
    fresh = [scored(row, truths) for row in _in_order(rows)]
    if fresh != list(rows.values()):
        write_record(path, header("regret"), fresh)


def make_picks(job: PickJob) -> list[Pick]:
    """Let the picker answer, on a training whose ground truth is still its own."""
    job.case.check()
    return answer(job.picker, job.case.build(seed=job.seed))


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


def scored(row: Row, truths: Mapping[Case, Truth]) -> dict[str, Any]:
    """Return ``row`` with its regret; without an answer it is that of the optimizer's usual rate."""
    case = case_of(row)
    fresh = {name: value for name, value in row.items() if name not in _SCORES}
    if case not in truths:
        return fresh
    curve = truths[case].full
    regret = curve.regret(case.usual if row["lr"] is None else row["lr"])
    values = {
        "regret": rounded(regret.value),
        "regret_error": None if math.isnan(regret.error) else rounded(regret.error),
        "diverged": regret.diverged,
        "picked_to_best": None if row["lr"] is None else rounded(row["lr"] / curve.best_lr),
    }
    if row.get("interval") is not None:
        low, high = row["interval"]
        values["holds_best"] = bool(low <= curve.best_lr <= high)
    return fresh | values


def case_of(row: Row) -> Case:
    """Return the case that a row of either record is of."""
    return Case(row["task"], row["optimizer"], row.get("set", SETS[0]))


def load_truths(cases: Iterable[Case]) -> dict[Case, Truth]:
    """Return the truth of each case that has one."""
    return {truth.case: truth for truth in load_truth(cases)}


def kept_rows(path: Path, redone: set[str], cases: Sequence[Case], seeds: Sequence[int]) -> dict[Any, dict[str, Any]]:
    """Return the rows of the record but those of the tools ``redone`` on ``cases`` with ``seeds``."""

    def goes(row: Row) -> bool:
        return row["tool"] in redone and case_of(row) in cases and row["seed"] in seeds

    return {_key(row): row for row in read_rows(path) if not goes(row)}


def missing_jobs(
    rows: Mapping[Any, Any], cases: Sequence[Case], seeds: Sequence[int], pickers: Sequence[str]
) -> list[PickJob]:
    """Return the calls of ``pickers`` that have not left a row of every one of their tools yet."""

    def is_missing(job: PickJob) -> bool:
        wanted = {(tool, job.case, job.seed) for tool in TOOLS_OF[job.picker]}
        return not wanted <= rows.keys()

    jobs = [PickJob(picker, case, seed) for picker in pickers for case in cases for seed in seeds]
    return [job for job in jobs if is_missing(job)]


def _where(case: Case) -> dict[str, Any]:
    return {"set": case.set, "task": case.task, "optimizer": case.optimizer}


def _rows_of(job: PickJob, result: list[Pick] | Exception) -> list[dict[str, Any]]:
    if isinstance(result, Exception):  # the process died, not the tool
        raise result
    where = {**_where(job.case), "seed": job.seed}
    return [{"tool": pick.tool, **where, **kept_values(pick), "commit": commit()} for pick in result]


def kept_values(pick: Pick) -> dict[str, Any]:
    """Return the pick's values for JSON, without those that it does not have."""
    values = asdict(pick)
    del values["tool"]
    values["interval"] = None if pick.interval is None else [rounded(end) for end in pick.interval]
    values = {name: value for name, value in values.items() if value not in (None, "")}
    lr = None if pick.lr is None else rounded(pick.lr)
    return values | {"lr": lr, "cost": None if math.isnan(pick.cost) else pick.cost}


def _key(row: Row) -> tuple[str, Case, int]:
    return row["tool"], case_of(row), row["seed"]


def _replay_key(row: Row) -> tuple[str, int, Case]:
    return row["search"], row["trials"], case_of(row)


def _replay_order(row: Row) -> tuple[int, int, int]:
    return list(SEARCHES).index(row["search"]), row["trials"], all_cases().index(case_of(row))


def _in_order(rows: Mapping[Any, dict[str, Any]]) -> list[dict[str, Any]]:
    tools = [tool for names in TOOLS_OF.values() for tool in names]
    cases = all_cases()
    return sorted(rows.values(), key=lambda row: (tools.index(row["tool"]), cases.index(case_of(row)), row["seed"]))
