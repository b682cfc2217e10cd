"""Six more seeds of every tenth task of the record: how far three seeds tell what nine would."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.lr_record.collect import RECORD_FILE, read_record
from benchmarks.lr_record.draw import SEEDS, draw_task
from benchmarks.lr_record.sides import sides_of
from benchmarks.lr_record.training import validated
from benchmarks.workers import each_done

__all__ = ["SEEDS_FILE", "collect_seeds", "read_seeds", "seeds_report"]

SEEDS_FILE = RECORD_FILE.with_name("seeds.npz")
_EVERY, _MORE, _PIECE = 10, 6, 10


def read_seeds(path: Path = SEEDS_FILE) -> dict[int, Any]:
    """Return final validation losses (rate, seed) of the further seeds by the number of the task."""
    if not path.exists():
        return {}
    with np.load(path, allow_pickle=False) as arrays:
        return dict(zip(arrays["number"].tolist(), arrays["val"], strict=True))


def collect_seeds(record: Path = RECORD_FILE, path: Path = SEEDS_FILE, *, workers: int = 1) -> None:
    """Train every tenth task of the record with further seeds; what is on file is kept."""
    found = read_seeds(path)
    tasks = [(facts["seed"], facts["number"]) for facts in read_record(record).facts]
    jobs = [(seed, number) for seed, number in tasks if number % _EVERY == 0 and number not in found]
    with closing(each_done(_further, jobs, workers)) as done:
        for (_, number), val in done:
            if isinstance(val, Exception):
                raise val
            found[number] = val
            if len(found) % _PIECE == 0:
                _write(found, path)
    _write(found, path)


def seeds_report(record: Path = RECORD_FILE, path: Path = SEEDS_FILE) -> str:
    """Return how far three seeds say what six others do: of the side of each rate, and of the best rate."""
    kept, further = read_record(record), read_seeds(path)
    agreed, near, apart, regrets = [], [], [], []
    for number, facts in enumerate(kept.facts):
        three, six = _finite(kept.val[number, -1]), _finite(further.get(facts["number"], np.full((1, 1), np.nan)))
        if not np.isfinite(six).all(axis=1).any() or not np.isfinite(three).all(axis=1).any():
            continue
        (sides, best), (others, other_best) = sides_of(three), sides_of(six)
        close = np.abs(kept.x[number] - kept.x[number, other_best]) <= 1
        agreed.append(np.mean(sides == others))
        near.append(np.mean((sides == others)[close]))
        apart.append(abs(float(kept.x[number, best] - kept.x[number, other_best])))
        ended = np.maximum(six.mean(axis=1), 1e-12)  # of some tables nothing is left of the loss
        regrets.append(ended[best] / ended[other_best] - 1)
    alike, alike_near = np.mean(agreed), np.mean(near)
    middle, high = np.quantile(apart, (0.5, 0.9))
    cost, most = np.quantile(regrets, (0.5, 0.9))
    return (
        f"{len(agreed)} tasks. The side of a rate by three seeds is that by six others in {alike:.1%}, within a decade "
        f"of the best rate in {alike_near:.1%}. The best rates are {middle:.2f} decades apart (median; 90th percentile "
        f"{high:.2f}); by the six, that of the three ends {cost:.1%} above the best (90th percentile {most:.1%})."
    )


def _finite(val: Any) -> Any:
    return np.where(np.isnan(val), np.inf, val).astype(float)


def _write(found: dict[int, Any], path: Path) -> None:
    beside = path.with_suffix(".new.npz")
    numbers = sorted(found)
    np.savez_compressed(beside, number=np.array(numbers), val=np.stack([found[number] for number in numbers]))
    beside.replace(path)


def _further(job: tuple[int, int]) -> Any:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        return validated(draw_task(*job), range(SEEDS, SEEDS + _MORE))
    finally:
        torch.set_flush_denormal(False)
