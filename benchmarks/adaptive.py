"""Rates that adapt by themselves, from a bad start: what share of the gap to the tuned rate each closes.

Each task is trained at its best rate (of the truth), at a hundredth and at ten times of it with the rate fixed, and
from these two with every rule; with the task's own schedule, on the same seed. The rules have their default options,
the same on all tasks.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import stepsize
from benchmarks.combos import Combo, all_combos, build, rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.regret import load_curves
from benchmarks.tables import markdown_table, percent
from benchmarks.truth import TRUTH_FOLDER
from benchmarks.workers import Progress, each_done
from stepsize.optimizers.adaptive import Adapted

__all__ = ["ADAPTIVE_FILE", "adaptive_report", "compute_adaptive", "compute_more"]

ADAPTIVE_FILE = RECORDS_FOLDER / "adaptive.json"
STARTS = (0.01, 10.0)
_FOLLOW = "follow"  # in the record only: what stepsize.follow was before, forks that continued
_NAMES = ("polyak-decaying",)  # what can be trained; the record has rules that it refuted, too
_TITLES = {
    "hypergradient": "hypergradient, stabilized",
    "polyak": "Polyak, SPS-max",
    "polyak-decaying": "Polyak, DecSPS",
    "polyak-estimated": "Polyak, SPS-max, estimated target",
    "line-search": "Armijo line search",
}
_ROUNDS = 7
_UPDATES = 15

Job = tuple[Combo, float, float, int]  # best rate, start, seed


def compute_adaptive(seeds: Iterable[int] = (0, 1, 2), workers: int = 2, path: Path = ADAPTIVE_FILE) -> None:
    """Train all combos from both starts, time a step of each rule, and write the record."""
    curves = load_curves(all_combos(), TRUTH_FOLDER)
    jobs = [
        (combo, curve.best_lr, start, seed) for seed in seeds for combo, curve in curves.items() for start in STARTS
    ]
    rows = overheads()
    progress = Progress("adaptive", float(len(jobs)), workers, None)
    for job, found in each_done(_measured, jobs, workers):
        if isinstance(found, Exception):
            raise found
        rows += found
        write_record(path, header("adaptive"), rows)
        progress.advance(1.0, job[0].name)


def compute_more(rules: Iterable[str], workers: int = 2, path: Path = ADAPTIVE_FILE) -> None:
    """Train the starts that the record knows with these rules too, and put their rows into it."""
    wanted = tuple(rules)
    if not {*wanted} <= {*_NAMES}:
        raise ValueError(f"only {', '.join(_NAMES)} can be trained, not {', '.join(wanted)}")
    rows = [row for row in read_rows(path) if row["rule"] not in wanted]
    rows += overheads(wanted)
    references = [row for row in rows if row["rule"] == _NAMES[0] and "start" in row]
    curves = {combo.name: curve.best_lr for combo, curve in load_curves(all_combos(), TRUTH_FOLDER).items()}
    jobs = [(rule, row, curves[Combo(row["task"], row["optimizer"]).name]) for rule in wanted for row in references]
    progress = Progress("adaptive", float(len(jobs)), workers, None)
    for job, found in each_done(_more, jobs, workers):
        if isinstance(found, Exception):
            raise found
        rows.append(found)
        write_record(path, header(f"adaptive --only {','.join(wanted)}"), rows)
        progress.advance(1.0, f"{job[0]} on {job[1]['task']}")


def _more(job: tuple[str, dict[str, Any], float]) -> dict[str, Any]:
    rule, row, best = job
    torch.set_num_threads(1)
    combo = Combo(row["task"], row["optimizer"])
    kept = {key: row[key] for key in ("task", "optimizer", "start", "seed", "tuned", "fixed", "untrained")}
    return kept | {"rule": rule, "loss": _known(_adapted(build(combo), best * row["start"], row["seed"]))}


def _measured(job: Job) -> list[dict[str, Any]]:
    combo, best, start, seed = job
    task = build(combo)
    tuned = _final(task, best, seed)
    fixed = _final(task, best * start, seed)
    untrained = stepsize.train(task, best * 1e-12, seed=seed, steps=1).objective("loss")
    return [
        {
            "task": combo.task,
            "optimizer": combo.optimizer,
            "rule": rule,
            "start": start,
            "seed": seed,
            "tuned": rounded(tuned),
            "fixed": _known(fixed),
            "untrained": rounded(untrained),
            "loss": _known(_adapted(task, best * start, seed)),
        }
        for rule in _NAMES
    ]


def _adapted(task: stepsize.Task, lr: float, seed: int) -> float:
    factory = Adapted(task.optimizer)
    return _final(dataclasses.replace(task, optimizer=factory, schedule=task.given_schedule, epochs=None), lr, seed)


def _known(loss: float) -> float | None:
    return rounded(loss) if math.isfinite(loss) else None


def _final(task: stepsize.Task, lr: float, seed: int) -> float:
    run = stepsize.train(task, lr, seed=seed)
    return math.inf if run.divergence is not None else run.objective("loss")


def overheads(rules: Sequence[str] = _NAMES) -> list[dict[str, Any]]:
    """Return the time of an update with each rule, over that of the optimizer alone: 1.07 million parameters."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    x, y = torch.randn(128, 784), torch.randint(10, (128,))
    rows = []
    for optimizer in ("momentum", "adamw"):
        ways = {"plain": None, **{rule: rule for rule in rules}}
        made = {way: _Loop(optimizer, rule, x, y) for way, rule in ways.items()}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):  # interleaved: the machine is not equally fast all the time
            for way, loop in made.items():
                times[way].append(loop.seconds(_UPDATES))
        plain = statistics.median(times["plain"])
        for rule in rules:
            ratios = [a / b for a, b in zip(times[rule], times["plain"], strict=True)]
            rows.append(
                {
                    "rule": rule,
                    "optimizer": optimizer,
                    "overhead": rounded(statistics.median(ratios) - 1),
                    "plain_ms": rounded(1e3 * plain / _UPDATES),
                }
            )
    return rows


class _Loop:
    """A training loop of a user, on one batch."""

    def __init__(self, optimizer: str, rule: str | None, x: torch.Tensor, y: torch.Tensor) -> None:
        self._model = nn.Sequential(
            nn.Linear(784, 1024), nn.ReLU(), nn.Linear(1024, 256), nn.ReLU(), nn.Linear(256, 10)
        )
        made = stepsize.optimizers.OPTIMIZERS[optimizer].make(self._model.parameters(), lr=1e-3)
        self._optimizer = made if rule is None else stepsize.adapt(made)
        self._adapted = rule is not None
        self._x, self._y = x, y

    def seconds(self, updates: int) -> float:
        began = time.perf_counter()
        for _ in range(updates):
            self._optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self._model(self._x), self._y)
            loss.backward()  # type: ignore[no-untyped-call]
            if self._adapted:
                self._optimizer.step(loss=loss)  # type: ignore[call-overload]
            else:
                self._optimizer.step()
        return time.perf_counter() - began


def share_closed(row: dict[str, Any]) -> float | None:
    """Return the share of the gap between the fixed rate and the tuned one that a row closes; None without a gap."""
    fixed = row["untrained"] if row["fixed"] is None else min(row["fixed"], row["untrained"])
    loss = row["untrained"] if row["loss"] is None else min(row["loss"], row["untrained"])
    gap = fixed - row["tuned"]
    return (fixed - loss) / gap if gap > 0.02 * row["tuned"] else None


def adaptive_report(path: Path = ADAPTIVE_FILE) -> str:
    """Return the tables of the record."""
    rows = [row for row in read_rows(path) if row["rule"] in (*_TITLES, _FOLLOW)]  # Mechanic and greedy are not
    if not rows:
        return "No record yet: `python -m benchmarks adaptive`."
    runs = [row for row in rows if "start" in row]
    times = [row for row in rows if "overhead" in row]
    seeds = len({row["seed"] for row in runs if row["rule"] != _FOLLOW})
    about = (
        f"{len({(row['task'], row['optimizer']) for row in runs})} tasks × optimizers, {seeds} seed(s). Fraction: of "
        "the gap in validation loss between the fixed rate and the tuned one that is closed, 100% = as good as tuned; "
        "runs without a gap (below 2%) are left out. A diverged run counts with the loss at initialization."
    )
    follow_seeds = len({row["seed"] for row in runs if row["rule"] == _FOLLOW})
    forked = [row["trainings"] for row in runs if row["rule"] == _FOLLOW]
    if forked:
        about += (
            f" Forks that continue ({follow_seeds} seed(s)) are what `stepsize.follow` was, at "
            f"{statistics.median(forked):.1f} times the cost of one run (median; {min(forked):.1f} to "
            f"{max(forked):.1f}), and it selects on every second validation example: "
            "its rows are scored on the others, and so are the references next to it. The other rules train once."
        )
    heads = ["rule", "start", "fraction: median", "p10", "worst", "≥ 90%", "diverged", "regret: median", "p90"]
    lines = [
        _line(rule, start, [r for r in runs if (r["rule"], r["start"]) == (rule, start)])
        for start in STARTS
        for rule in (*_TITLES, _FOLLOW)
        if any(row["rule"] == rule for row in runs)
    ]
    timed = [
        [_TITLES[row["rule"]], row["optimizer"], f"{row['plain_ms']:.1f} ms", percent(row["overhead"])] for row in times
    ]
    table = markdown_table(["rule", "optimizer", "update without", "overhead"], timed)
    return f"{about}\n\n{markdown_table(heads, lines)}\n\n{table}\n\n{_per_task(runs)}"


def _line(rule: str, start: float, rows: Sequence[dict[str, Any]]) -> list[str]:
    shares = np.array([share for row in rows if (share := share_closed(row)) is not None])
    regrets = np.array([_regret(row) for row in rows])
    quantiles = [float(value) for value in np.quantile(shares, (0.5, 0.1))]
    good = f"{int((shares >= 0.9).sum())} of {len(shares)}"
    figures = [percent(value) for value in (*quantiles, float(shares.min()))]
    lost = str(sum(row["loss"] is None for row in rows))
    spent = [percent(float(value)) for value in np.quantile(regrets, (0.5, 0.9))]
    title = "forks that continue" if rule == _FOLLOW else _TITLES[rule]
    return [title, f"{start:g} ×", *figures, good, lost, *spent]


def _regret(row: dict[str, Any]) -> float:
    loss = row["untrained"] if row["loss"] is None else row["loss"]
    return float((loss - row["tuned"]) / row["tuned"])


def _per_task(rows: Sequence[dict[str, Any]]) -> str:
    """Return the final losses task by task, means over the seeds."""
    keys = list(dict.fromkeys((row["task"], row["optimizer"], row["start"]) for row in rows))
    lines = []
    for key in sorted(keys):
        every = [row for row in rows if (row["task"], row["optimizer"], row["start"]) == key]
        own = [row for row in every if row["rule"] != _FOLLOW]
        followed = [row for row in every if row["rule"] == _FOLLOW]
        by_rule = [_mean(row["loss"] for row in own if row["rule"] == rule) for rule in _TITLES]
        first = [_mean(row[name] for row in own) for name in ("tuned", "fixed")]
        beside = f"{_mean(row['loss'] for row in followed)} ({_mean(row['tuned'] for row in followed)})"
        lines.append([key[0], key[1], f"{key[2]:g} ×", *first, *by_rule, beside])
    heads = ["task", "optimizer", "start", "tuned", "fixed", *_TITLES, "forks that continue (tuned, same half)"]
    return markdown_table(heads, lines)


def _mean(values: Iterable[float | None]) -> str:
    known = list(values)
    if not known:
        return "–"
    numbers = [value for value in known if value is not None]
    return "diverged" if len(numbers) < len(known) else f"{statistics.mean(numbers):.4g}"
