"""Searches of full-length trainings, replayed on the truth: what 3, 10 and 30 trials of each kind of search reach.

A trial costs a whole training, so nobody can afford to repeat such searches often; here a trial at any rate takes the
loss that the truth has for one of its seeds, linear in log lr between the rates of its grid. The rate that the search
picks is judged by the truth's other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.combos import all_combos, rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.regret import load_curves
from benchmarks.tables import percent
from benchmarks.truth_curve import TruthCurve

__all__ = ["SEARCHES", "SEARCHES_FILE", "compute_searches", "quantiles", "replayed", "searches_report"]

SEARCHES_FILE = RECORDS_FOLDER / "searches.json"
TRIALS = (3, 10, 30)
SEEDS = range(20)  # of the samplers; the grid has none, and is repeated over the truth's seeds only
LOW, HIGH = 1e-5, 1.0
Loss = Callable[[float], float]


def grid(loss: Loss, trials: int, _seed: int) -> float:
    """Return the best of evenly spaced rates."""
    rates = [float(LOW * (HIGH / LOW) ** (k / (trials - 1))) for k in range(trials)]
    return min(rates, key=loss)


def at_random(loss: Loss, trials: int, seed: int) -> float:
    """Return the best of rates drawn at random."""
    draw = np.random.default_rng(seed)
    rates = [float(LOW * (HIGH / LOW) ** share) for share in draw.random(trials)]
    return min(rates, key=loss)


def optuna_tpe(loss: Loss, trials: int, seed: int) -> float:
    """Return the best rate of an optuna study with its default sampler."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda trial: loss(trial.suggest_float("lr", LOW, HIGH, log=True)), n_trials=trials)
    return float(study.best_params["lr"])


SEARCHES: dict[str, Callable[[Loss, int, int], float]] = {
    "grid": grid,
    "random": at_random,
    "optuna TPE": optuna_tpe,
}


def replayed(curve: TruthCurve, search: str, trials: int, seed: int) -> tuple[float, float]:
    """Return the rate that a search picks, and its regret, judged by the seeds that it did not see.

    Args:
        curve: The truth, of two seeds or more.
        search: A key of :data:`SEARCHES`.
        trials: How many trainings it has.
        seed: Of the sampler; which of the truth's seeds it trains on follows from it.
    """
    seen = seed % curve.seeds
    others = [at for at in range(curve.seeds) if at != seen]
    logs = np.log(curve.lrs)
    picked = SEARCHES[search](lambda lr: float(np.interp(math.log(lr), logs, curve.losses[seen])), trials, seed)
    judge = replace(curve, losses=curve.losses[others], diverged=curve.diverged[others])
    return picked, judge.regret(picked).value


def compute_searches(truth: Path, path: Path = SEARCHES_FILE) -> None:
    """Replay every search on every truth, and write the record."""
    rows: list[dict[str, Any]] = []
    for combo, curve in load_curves(all_combos(()), truth).items():
        for search in SEARCHES:
            for trials in TRIALS:
                seeds = range(curve.seeds) if search == "grid" else SEEDS
                found = [replayed(curve, search, trials, seed) for seed in seeds]
                rows.append(
                    {
                        "search": search,
                        "trials": trials,
                        "task": combo.task,
                        "optimizer": combo.optimizer,
                        "held_out": combo.held_out,
                        "regret": [rounded(regret) for _, regret in found],
                    }
                )
        print(f"{combo.name}: done", flush=True)
    write_record(path, header("searches"), rows)


def searches_report(path: Path = SEARCHES_FILE) -> str:
    """Return the table of the record: median / p90 / worst regret by search and number of trials."""
    rows = read_rows(path)
    if not rows:
        return "No record yet: `python -m benchmarks searches`."
    lines = [
        "Median / p90 / worst regret, each task × optimizer with the same weight; one seed a trial, range 1e-5 … 1, "
        "the pick judged by the seeds that the search did not see.",
        "",
        "| trials | " + " | ".join(SEARCHES) + " |",
        "| --- | " + " | ".join("---" for _ in SEARCHES) + " |",
    ]
    for trials in TRIALS:
        cells = [_cell([row for row in rows if row["search"] == name and row["trials"] == trials]) for name in SEARCHES]
        lines.append(f"| {trials} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[dict[str, Any]]) -> str:
    return " / ".join(map(percent, quantiles(rows, (0.5, 0.9, 1.0))))


def quantiles(rows: Sequence[Mapping[str, Any]], shares: Sequence[float]) -> list[float]:
    """Return the regrets at ``shares`` over the rows, each row having the same weight however many seeds it holds."""
    values = np.concatenate([np.asarray(row["regret"]) for row in rows])
    weights = np.concatenate([np.full(len(row["regret"]), 1 / len(row["regret"])) for row in rows])
    order = np.argsort(values)
    middles = (np.cumsum(weights[order]) - 0.5 * weights[order]) / weights.sum()
    return [float(np.interp(share, middles, values[order])) for share in shares]
