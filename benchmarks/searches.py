"""Searches of full-length runs that people make by hand or with optuna, in the form in which they are replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.replay import Price, Replay, Search

__all__ = ["SEARCHES", "Peer"]

LOW, HIGH = 1e-5, 1.0  # of the searches that do not start from the usual rate
_AVERAGED = 3  # seeds


@dataclass(frozen=True)
class Peer:
    """A search, and how it is replayed.

    Attributes:
        search: What picks the rate.
        budgets: In full runs.
        repeats: With how many seeds; 0 repeats it over the truth's seeds only, since it draws nothing at random.
    """

    search: Search
    budgets: tuple[float, ...] = (3, 10, 30)
    repeats: int = 20


def _best(run: Replay, rates: Iterable[float]) -> float:
    """Return the rate with the lowest loss; none that diverged, unless all did."""
    ended = [(diverged, loss, lr) for lr in rates for loss, diverged in [run(lr)]]
    return min(ended)[2]


def _usual(_run: Replay, usual: float, *_others: object) -> float:
    """Take the usual rate."""
    return usual


def _around(decades: float) -> Search:
    """Return the search that trains rates evenly around the usual one, ``decades`` apart."""

    def search(run: Replay, usual: float, _price: Price, budget: float, _seed: int) -> float:
        half = (int(budget) - 1) / 2
        return _best(run, [usual * 10 ** (decades * (k - half)) for k in range(int(budget))])

    return search


def _grid(run: Replay, _usual: float, _price: Price, budget: float, _seed: int) -> float:
    """Train evenly spaced rates."""
    return _best(run, [_in_range(k / (budget - 1)) for k in range(int(budget))])


def _averaged(run: Replay, _usual: float, _price: Price, budget: float, _seed: int) -> float:
    """Train evenly spaced rates with three seeds each; average over seeds and neighbors: what noise leaves open."""
    rates = np.geomspace(LOW, 10 * HIGH, int(budget) // _AVERAGED)
    logs = [np.log([max(run(lr, 1.0, seed)[0], 1e-12) for lr in rates]) for seed in range(_AVERAGED)]
    mean = np.pad(np.mean(logs, axis=0), 1, mode="edge")
    return float(rates[np.argmin(np.convolve(mean, (0.25, 0.5, 0.25), "valid"))])


def _at_random(run: Replay, _usual: float, _price: Price, budget: float, seed: int) -> float:
    """Train rates that are drawn evenly on a log scale."""
    return _best(run, map(_in_range, np.random.default_rng(seed).random(int(budget))))


def _in_range(share: float) -> float:
    return float(LOW * (HIGH / LOW) ** share)


def _optuna(sampler: str) -> Search:
    """Return the search that an optuna study with this sampler makes."""

    def search(run: Replay, _usual: float, _price: Price, budget: float, seed: int) -> float:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)

        def objective(trial: Any) -> float:
            return run(trial.suggest_float("lr", LOW, HIGH, log=True))[0]

        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        study.optimize(objective, n_trials=int(budget))
        return float(study.best_params["lr"])

    return search


SEARCHES: Mapping[str, Peer] = {
    "usual rate": Peer(_usual, (0,), repeats=0),
    "usual rate, a tenth, ten times": Peer(_around(1.0), (3,), repeats=0),
    "usual rate and half decades around": Peer(_around(0.5), (5,), repeats=0),
    "grid": Peer(_grid, repeats=0),
    "grid, averaged over three seeds": Peer(_averaged, (75,), repeats=0),
    "random": Peer(_at_random),
    "optuna TPE": Peer(_optuna("TPESampler")),
    "optuna GP": Peer(_optuna("GPSampler"), repeats=5),
}
