"""Making and reading the record: ``record.npz``, arrays without pickles."""

from __future__ import annotations

import json
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.lr_record.draw import draw_task
from benchmarks.lr_record.training import train_task
from benchmarks.workers import each_done
from stepsize.monitor.rate_signals import RATE_SIGNALS

__all__ = ["RECORD_FILE", "Record", "collect", "read_record"]

Floats: TypeAlias = NDArray[np.float32]
RECORD_FILE = Path(__file__).parent / "record.npz"
NAMES = ("x", "val", "train", "diverged_at", "untrained", "signals")
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
        signals: What a watch would have seen of the full length, (task, look, rate, signal), of seed ``rate % 3``;
            NaN where a signal is unknown, all of them after a divergence.
        signal_names: What the signals are; see ``stepsize.monitor.rate_signals``.
    """

    facts: list[dict[str, Any]]
    x: Floats
    val: Floats
    train: Floats
    diverged_at: Floats
    untrained: Floats
    signals: Floats
    signal_names: tuple[str, ...]


def read_record(path: Path = RECORD_FILE) -> Record:
    """Read the record."""
    with np.load(path, allow_pickle=False) as arrays:
        facts = [json.loads(text) for text in arrays["facts"]]
        names = tuple(arrays["signal_names"].tolist())
        values: dict[str, Any] = {name: arrays[name] for name in NAMES}
        return Record(facts, **values, signal_names=names)


def collect(count: int, seed: int, path: Path = RECORD_FILE, *, workers: int = 1) -> None:
    """Train tasks 0 … ``count`` − 1 of ``seed`` that the file does not hold yet; it is written every 20 tasks."""
    kept = read_record(path) if path.exists() else None
    if kept is not None and kept.signal_names != tuple(RATE_SIGNALS):
        raise ValueError(f"{path} holds other signals than rate_signals gives; make it anew")
    rows = [] if kept is None else _rows(kept)
    known = {row["facts"]["number"] for row in rows if row["facts"]["seed"] == seed}
    missing = [(number, seed) for number in range(count) if number not in known]
    with closing(each_done(_row, missing, workers)) as done:  # else all others would be trained after a failure
        for _, row in done:
            if isinstance(row, Exception):
                raise row
            rows.append(row)
            if len(rows) % _PIECE == 0 or len(rows) == len(known) + len(missing):
                rows.sort(key=lambda one: (one["facts"]["seed"], one["facts"]["number"]))
                _write(rows, path)


def _row(job: tuple[int, int]) -> dict[str, Any]:
    torch.set_num_threads(1)
    begin, (number, seed) = time.process_time(), job
    task = draw_task(seed, number)
    torch.set_flush_denormal(True)  # numbers near zero take a hundred times as long otherwise
    try:
        curves = train_task(task)
    finally:
        torch.set_flush_denormal(False)
    facts = {**task.facts, "seconds": round(time.process_time() - begin, 2)}
    print(number, facts["model"], facts["data"], facts["optimizer"], facts["seconds"], flush=True)
    return {"facts": facts, "x": np.array(task.rates, dtype=np.float32), **vars(curves)}


def _rows(record: Record) -> list[dict[str, Any]]:
    columns = {name: getattr(record, name) for name in ("facts", *NAMES)}
    return [{name: values[place] for name, values in columns.items()} for place in range(len(record.facts))]


def _write(rows: list[dict[str, Any]], path: Path) -> None:
    """Replace the file as a whole."""
    arrays: dict[str, Any] = {name: np.stack([row[name] for row in rows]) for name in rows[0] if name != "facts"}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new.npz")
    arrays["signals"] = arrays["signals"].astype(np.float16)
    arrays["signal_names"] = np.array(tuple(RATE_SIGNALS))
    np.savez_compressed(beside, facts=np.array([json.dumps(row["facts"]) for row in rows]), **arrays)
    beside.replace(path)
