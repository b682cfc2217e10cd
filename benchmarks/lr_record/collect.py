"""Making and reading the record: ``record.npz``, arrays without pickles."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lr_record.draw import draw_task
from benchmarks.lr_record.training import train_task

__all__ = ["RECORD_FILE", "Record", "collect", "read_record"]

Floats: TypeAlias = NDArray[np.float32]
RECORD_FILE = Path(__file__).parent / "record.npz"
_PIECE = 20  # tasks between two writings


@dataclass(frozen=True)
class Record:
    """Curves of loss against rate of many tasks.

    Attributes:
        facts: What each task is; see the README beside the file.
        x: log10(lr / usual lr) of each rate, (task, rate).
        val: Final validation loss, (task, horizon, rate, seed); NaN if the run diverged.
        train: Mean training loss of the last tenth of the steps, shape as ``val``; NaN if the run diverged.
        diverged_at: Fraction of the steps after which the loss was not finite, shape as ``val``; NaN if never.
        untrained: Validation loss at initialization, (task, seed).
    """

    facts: list[dict[str, Any]]
    x: Floats
    val: Floats
    train: Floats
    diverged_at: Floats
    untrained: Floats


def read_record(path: Path = RECORD_FILE) -> Record:
    """Read the record."""
    with np.load(path, allow_pickle=False) as arrays:
        facts = [json.loads(text) for text in arrays["facts"]]
        return Record(facts, *(arrays[name] for name in ("x", "val", "train", "diverged_at", "untrained")))


def collect(count: int, seed: int, path: Path = RECORD_FILE) -> None:
    """Train tasks 0 … ``count`` − 1 of ``seed`` that the file does not hold yet; it is written every 20 tasks."""
    torch.set_num_threads(1)
    rows = _rows(read_record(path)) if path.exists() else []
    known = {row["facts"]["number"] for row in rows if row["facts"]["seed"] == seed}
    for number in range(count):
        if number not in known:
            torch.set_flush_denormal(True)  # numbers near zero take a hundred times as long otherwise
            try:
                rows.append(_row(number, seed))
            finally:
                torch.set_flush_denormal(False)
        if len(rows) % _PIECE == 0 or number == count - 1:
            _write(rows, path)


def _row(number: int, seed: int) -> dict[str, Any]:
    begin = time.process_time()
    task = draw_task(seed, number)
    curves = train_task(task)
    facts = {**task.facts, "seconds": round(time.process_time() - begin, 2)}
    print(number, facts["model"], facts["data"], facts["optimizer"], facts["seconds"], flush=True)
    return {"facts": facts, "x": np.array(task.rates, dtype=np.float32), **vars(curves)}


def _rows(record: Record) -> list[dict[str, Any]]:
    return [{name: values[place] for name, values in vars(record).items()} for place in range(len(record.facts))]


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    """Replace the file as a whole."""
    arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "facts"}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new.npz")
    np.savez_compressed(beside, facts=np.array([json.dumps(row["facts"]) for row in rows]), **arrays)
    beside.replace(path)
