"""What a bound schedule costs a step, beside torch's own schedulers, and how fast a schedule is evaluated."""

from __future__ import annotations

import gc
import json
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, LRScheduler, SequentialLR

import stepsize
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table
from stepsize.schedules import Schedule, constant, cosine, linear, warmup

__all__ = ["COST_FILE", "GROUPS", "compute_cost", "cost_report"]

COST_FILE = RECORDS_FOLDER / "schedule_cost.json"
GROUPS = (1, 10, 1_000)
_STEPS = 600  # a round; few enough for a thousand groups in torch's schedulers
_ROUNDS = 15
_HORIZON = 100_000


def compute_cost(*, path: Path) -> None:
    """Time every scheduler in turn, round by round, so that a busy machine is busy for all of them."""
    rows: list[dict[str, Any]] = []
    for groups in GROUPS:
        contenders = {name: make(_optimizer(groups)) for name, make in _CONTENDERS.items()}
        bare = _optimizer(groups)
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(_ROUNDS):
            empty = _seconds(lambda optimizer=bare: optimizer.step())  # type: ignore[misc]
            for name, (optimizer, scheduler) in contenders.items():
                times[name].append(_seconds(lambda o=optimizer, s=scheduler: (o.step(), s.step())) - empty)  # type: ignore[misc]
        rows += [
            {"what": "step", "scheduler": name, "groups": groups, "microseconds": _rounded(values)}
            for name, values in times.items()
        ]
    rows += [{"what": "evaluate", "schedule": name, "milliseconds": _evaluate(eta)} for name, eta in _EVALUATED.items()]
    write_record(path, header("schedule-cost"), rows)


def cost_report(path: Path) -> str:
    """Return the tables of the record."""
    rows = list(read_rows(path))
    if not rows:
        return "Nothing measured yet."
    head = json.loads(path.read_text(encoding="utf-8"))["record"]
    steps = {(row["scheduler"], row["groups"]): row["microseconds"] for row in rows if row["what"] == "step"}
    names = list(dict.fromkeys(name for name, _ in steps))
    lines = [
        [
            name,
            *(f"{steps[name, groups]:.1f} ({steps[name, groups] / steps['bind', groups]:.2f} ×)" for groups in GROUPS),
        ]
        for name in names
    ]
    columns = ["scheduler", *(f"{groups:,} group{'s' * (groups > 1)}: µs a step (÷ bind)" for groups in GROUPS)]
    evaluated = [[row["schedule"], f"{row['milliseconds']:.1f}"] for row in rows if row["what"] == "evaluate"]
    return "\n\n".join(
        [
            f"A step of the scheduler, with what it adds to the optimizer's own step (hooks), median of {_ROUNDS} "
            f"interleaved rounds of {_STEPS} steps, parameters without gradients. Commit {head['commit']}, "
            f"{head['date'][:10]}, torch {head['versions']['torch']}.",
            markdown_table(columns, lines),
            markdown_table(["a million steps of", "ms"], evaluated),
        ]
    )


def _optimizer(groups: int) -> SGD:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(groups)]
    return SGD([{"params": [p], "lr": 0.1 * (1 + i % 3)} for i, p in enumerate(parameters)], lr=0.1)


def _sequential(optimizer: SGD) -> LRScheduler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it steps its own parts in an order that it then warns of
        parts = [
            LinearLR(optimizer, 0.01, total_iters=500),
            LambdaLR(optimizer, _one),
            CosineAnnealingLR(optimizer, _HORIZON),
        ]
        return SequentialLR(optimizer, parts, milestones=[500, 1_000])


def _one(_step: int) -> float:
    return 1.0


def _half_cosine(step: int) -> float:
    return 0.5 * (1 + float(np.cos(np.pi * step / _HORIZON)))


def _bound(optimizer: SGD, schedule: Schedule, **options: Any) -> tuple[SGD, LRScheduler]:
    return optimizer, stepsize.bind(schedule, optimizer, **options)


_THREE = warmup(500).then(constant(500)).then(cosine(_HORIZON))
_CONTENDERS: dict[str, Callable[[SGD], tuple[SGD, LRScheduler]]] = {
    "bind": lambda o: _bound(o, cosine(_HORIZON)),
    "bind, three parts": lambda o: _bound(o, _THREE),
    'bind, counts="calls"': lambda o: _bound(o, cosine(_HORIZON), counts="calls"),
    "LambdaLR": lambda o: (o, LambdaLR(o, _half_cosine)),
    "CosineAnnealingLR": lambda o: (o, CosineAnnealingLR(o, _HORIZON)),
    "SequentialLR of three": lambda o: (o, _sequential(o)),
}
_EVALUATED = {
    "cosine": cosine(1_000_000),
    "warmup, constant, cooldown": warmup(50_000).then(constant(750_000)).then(linear(200_000)),
    "warmup, constant, cosine": warmup(50_000).then(constant(50_000)).then(cosine(900_000)),
}


def _seconds(step: Callable[[], Any]) -> float:
    gc.disable()
    try:
        began = time.perf_counter()
        for _ in range(_STEPS):
            step()
        return (time.perf_counter() - began) / _STEPS
    finally:
        gc.enable()


def _evaluate(eta: Schedule) -> float:
    steps = np.arange(1_000_000, dtype=np.float64)
    times = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        eta(steps)
        times.append(time.perf_counter() - began)
    return round(1e3 * statistics.median(times), 2)


def _rounded(values: Sequence[float]) -> float:
    return round(1e6 * statistics.median(values), 2)
