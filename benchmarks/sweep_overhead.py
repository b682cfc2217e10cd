"""What a sweep costs besides training: trials of a task that takes no time, against bare optuna's ask and tell."""

from __future__ import annotations

import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table
from stepsize.study.sweeping import sweep
from stepsize.study.workers import Local
from stepsize.training import InOrder, Run, Setting, Task
from stepsize.training.runs import Evaluation, Watcher

__all__ = ["OVERHEAD_FILE", "compute_overhead", "overhead_report"]

OVERHEAD_FILE = RECORDS_FOLDER / "sweep_overhead.json"
_TRIALS = 1_000
_ROUNDS = 3


class _Nothing(InOrder):
    """Hands runs back that nobody trained."""

    def stream(
        self,
        task: Task,
        settings: Sequence[Setting],
        *,
        on_progress: Watcher | None = None,
    ) -> Iterator[tuple[int, Run]]:
        del task, on_progress  # nothing is trained
        for place, setting in enumerate(settings):
            loss = _bowl(setting.lr)
            seen = (Evaluation(1, loss, {}),)
            yield place, Run(setting, np.array([loss]), seen, None, 0.0, 3.0, "")


def compute_overhead(*, path: Path) -> None:
    """Time every way in turn, round by round."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ways: dict[str, Callable[[], object]] = {}
    for name, make in (("random", optuna.samplers.RandomSampler), ("tpe", optuna.samplers.TPESampler)):
        ways[f"optuna, {name}"] = lambda make=make: _bare(make(seed=0))  # type: ignore[misc]
        ways[f"optuna, {name}, SQLite"] = lambda make=make: _bare_stored(make(seed=0))  # type: ignore[misc]
        ways[f"sweep, {name}, no store"] = lambda name=name: _swept(name, None)  # type: ignore[misc]
        ways[f"sweep, {name}, SQLite"] = lambda name=name: _swept(name, "sweep.db")  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, run in ways.items():
            began = time.process_time()  # of this process: other programs on the machine count less
            run()
            times[name].append(time.process_time() - began)
    rows = []
    for name, values in times.items():
        bare = times["optuna, " + name.split(", ")[1]]
        ratios = [mine / its for mine, its in zip(values, bare, strict=True)]
        rows.append({"way": name, "seconds": statistics.median(values), "ratio": statistics.median(ratios)})
    write_record(path, header("sweep-overhead"), rows)


def overhead_report(path: Path) -> str:
    """Return the table of the record."""
    rows = list(read_rows(path))
    if not rows:
        return "Nothing measured yet."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    lines = [[row["way"], f"{row['seconds']:.2f}", f"{row['ratio']:.2f} ×"] for row in rows]
    about = (
        f"{_TRIALS:,} trials of a task that takes no time, one rate each, sequentially; CPU time, median of {_ROUNDS} "
        f"interleaved rounds, and of their ratios. A sweep's time includes the fit of its answer; with SQLite each run "
        f"is saved as it ends. Commit {head['commit']}, "
        f"{head['date'][:10]}, optuna {optuna.__version__}."
    )
    return "\n\n".join([about, markdown_table(["way", "CPU seconds", "of bare optuna in memory"], lines)])


def _bowl(lr: float) -> float:
    return (math.log10(lr) + 2) ** 2 + 0.1


def _bare_stored(sampler: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _bare(sampler, f"sqlite:///{folder}/optuna.db")


def _bare(sampler: Any, storage: str | None = None) -> None:
    study = optuna.create_study(sampler=sampler, storage=storage)
    for _ in range(_TRIALS):
        trial = study.ask()
        study.tell(trial, _bowl(trial.suggest_float("lr", 1e-5, 1.0, log=True)))


def _swept(sampler: str, store: str | None) -> None:
    x = torch.zeros(4, 1)
    task = Task(
        model=lambda: torch.nn.Linear(1, 1),
        loss=torch.nn.functional.mse_loss,
        train=(x, x),
        val=(x, x),
        optimizer="sgd",
        steps=1,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        where = None if store is None else Path(folder) / store
        found = sweep(
            task,
            lr=(1e-5, 1.0),
            sampler=sampler,
            trials=_TRIALS,
            seeds=1,
            repeats=0,
            workers=Local(task, _Nothing()),
            store=where,
        )
        assert found.cost.runs == _TRIALS
        assert found.verdict  # read off here: the fit is part of the answer
