"""Makes the measurements that are missing, and keeps each as it ends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.claims.finals import load_finals
from benchmarks.claims.landscapes import FUNCTIONS, measure_landscape
from benchmarks.claims.studies import STUDIES_OF, due, judging_seeds
from benchmarks.claims.training import train_trial
from benchmarks.claims.updates import UPDATE_OPTIMIZERS, UPDATE_TASKS, measure_updates
from benchmarks.combos import Combo
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.workers import Progress, each_done

__all__ = ["CLAIMS_FILE", "compute_claims"]

CLAIMS_FILE = RECORDS_FOLDER / "claims.json"
_FLUSH = 10  # runs between two writes of the record
_MOMENTA = (0.0, 0.9)

Row = dict[str, Any]


def compute_claims(claims: Iterable[int], *, seeds: int, workers: int, path: Path = CLAIMS_FILE) -> None:
    """Measure what the claims need and the record lacks, and write it."""
    wanted = sorted(set(claims))
    record = _Record(path, workers)
    judges = judging_seeds(seeds)
    if {1, 5} & set(wanted):
        jobs = list(itertools.product(UPDATE_TASKS, UPDATE_OPTIMIZERS, judges))
        record.add("updates", measure_updates, jobs, ("task", "optimizer", "seed"))
    if 8 in wanted:
        record.add("landscapes", measure_landscape, list(itertools.product(FUNCTIONS, _MOMENTA, judges)), (
            "task", "momentum", "seed",
        ))  # fmt: skip
    tables = load_finals()

    def best(task: str, optimizer: str) -> float:
        return tables[Combo(task, optimizer)].best()

    for study in dict.fromkeys(study for claim in wanted for study in STUDIES_OF.get(claim, ())):
        while trials := due(study, record.rows, best, judges):
            record.run(study, train_trial, trials)
    print(f"done; in {path}")


class _Record:
    def __init__(self, path: Path, workers: int) -> None:
        self._path, self._workers = path, workers
        # A record that goes on keeps its head: the commit at which the first of it was measured.
        kept = json.loads(path.read_text(encoding="utf-8"))["record"] if path.exists() else None
        self._head = header("claims") if kept is None else kept
        self.rows: list[Row] = read_rows(path)

    def add(self, study: str, measure: Callable[[Any], Row], jobs: Sequence[Any], keys: Sequence[str]) -> None:
        """Run those of ``jobs`` whose row is not there yet."""
        done = {tuple(row[key] for key in keys) for row in self.rows if row["study"] == study}
        self.run(study, measure, [job for job in jobs if tuple(job) not in done])

    def run(self, study: str, measure: Callable[[Any], Row], jobs: Sequence[Any]) -> None:
        """Run ``jobs``, and write the record now and then."""
        if not jobs:
            return
        progress = Progress(study, float(len(jobs)), self._workers, None)
        for count, (job, row) in enumerate(each_done(measure, jobs, self._workers), 1):
            if isinstance(row, Exception):
                raise row
            self.rows.append(row)
            if count % _FLUSH == 0 or count == len(jobs):
                write_record(self._path, self._head, sorted(self.rows, key=_order))
            progress.advance(1.0, getattr(job, "key", job))


def _order(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row.get(key, "")) for key in ("study", "task", "optimizer", "arm", "momentum", "lr", "seed"))
