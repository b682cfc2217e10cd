"""What a sweep costs besides training: trials of a task that takes no time, against bare optuna's ask and tell."""

from __future__ import annotations

import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
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
_TUNED = 50  # trials of Ray Tune, whose time is carried to as many as the others have


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
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
    rows = [{"way": name, "seconds": statistics.median(values)} for name, values in times.items()]
    if find_spec("ray") is not None:
        rows.append({"way": "Ray Tune, random, in memory", "seconds": _tuned()})
    write_record(path, header("sweep-overhead"), rows)


def overhead_report(path: Path) -> str:
    """Return the table of the record."""
    rows = list(read_rows(path))
    if not rows:
        return "Nothing measured yet."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    seconds = {row["way"]: row["seconds"] for row in rows}
    lines = [
        [way, f"{value:.2f}", f"{value / seconds['optuna, ' + way.split(', ')[1]]:.2f} ×"]
        for way, value in seconds.items()
    ]
    about = (
        f"{_TRIALS:,} trials of a task that takes no time, one rate each, sequentially; median of {_ROUNDS} "
        f"interleaved rounds. A sweep's time includes the fit of its answer; with SQLite each run is saved as it ends. "
        f"Ray Tune's is that of {_TUNED} trials on two cores, carried to as many. Commit {head['commit']}, "
        f"{head['date'][:10]}, optuna {optuna.__version__}."
    )
    return "\n\n".join([about, markdown_table(["way", "seconds", "of bare optuna in memory"], lines)])


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


def _tuned() -> float:
    """Return what Ray Tune takes, from fewer trials: it starts an actor for each."""
    import ray
    from ray import tune

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            tuner = tune.Tuner(
                lambda config: {"loss": _bowl(config["lr"])},
                param_space={"lr": tune.loguniform(1e-5, 1.0)},
                tune_config=tune.TuneConfig(num_samples=_TUNED, metric="loss", mode="min"),
                run_config=tune.RunConfig(storage_path=folder, verbose=0),
            )
            tuner.fit()
        return (time.perf_counter() - began) * _TRIALS / _TUNED
    finally:
        ray.shutdown()


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
