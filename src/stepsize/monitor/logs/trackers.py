"""Rows of the runs that W&B and MLflow keep on disk."""

from __future__ import annotations

import json
import math
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

from stepsize.errors import InputError
from stepsize.monitor.logs.tensorboard import fields
from stepsize.monitor.logs.texts import Row, Rows, as_row

_BLOCK, _HEAD = 32_768, 7  # of LevelDB's log format: checksum, length, kind
_WHOLE, _FIRST, _LAST = 1, 2, 4
_HISTORY, _ITEM, _KEY, _NESTED, _VALUE = 2, 1, 1, 2, 16  # fields of W&B's messages


def read_wandb(path: Path) -> Rows:
    """Return the history of an offline run of W&B (``run-ID.wandb``)."""
    content = path.read_bytes()
    if content[:4] != b":W&B":
        raise InputError("log", path.name, "must be the file of an offline run of W&B")
    rows = []
    try:
        for record in _records(content):
            for field, history in fields(record):
                if field == _HISTORY and isinstance(history, bytes):
                    rows.append(as_row(dict(_item(item) for n, item in fields(history) if n == _ITEM)))
    except (struct.error, IndexError, ValueError) as error:
        raise InputError("log", path.name, "must be a whole file of W&B", "Export the run as CSV") from error
    return Rows([row for row in rows if row], "offline run of W&B")


def _item(message: int | bytes) -> tuple[str, object]:
    parts = list(fields(message)) if isinstance(message, bytes) else []
    names = [value.decode() for field, value in parts if field in (_KEY, _NESTED) and isinstance(value, bytes)]
    text = next((value for field, value in parts if field == _VALUE and isinstance(value, bytes)), b"null")
    return "/".join(name for name in names if name), json.loads(text)


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records of LevelDB's log format; a torn last one is left out."""
    at, whole = _HEAD, b""
    while at + _HEAD <= len(content):
        if _BLOCK - at % _BLOCK < _HEAD:
            at += _BLOCK - at % _BLOCK
            continue
        length, kind = struct.unpack_from("<HB", content, at + 4)
        part = content[at + _HEAD : at + _HEAD + length]
        if len(part) < length:
            return
        whole = part if kind in (_WHOLE, _FIRST) else whole + part
        if kind in (_WHOLE, _LAST):
            yield whole
        at += _HEAD + length


def read_mlflow(folder: Path) -> Rows:
    """Return the metrics of a run that MLflow keeps in a folder: files with lines of time, value and step."""
    points = []
    for file in sorted(path for path in (folder / "metrics").rglob("*") if path.is_file()):
        name = file.relative_to(folder / "metrics").as_posix()
        for line in file.read_text(encoding="utf-8").splitlines():
            time, value, step, *_ = [*line.split(), "0", "0", "0"]
            points.append((int(float(step)), int(float(time)), name, float(value)))
    return Rows(_by_step(points), "run of MLflow")


def mlflow_runs(path: Path) -> list[str]:
    """Return the runs in a database of MLflow that logged anything, the newest last."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        query = "SELECT run_uuid FROM runs WHERE run_uuid IN (SELECT run_uuid FROM metrics) ORDER BY start_time"
        return [run for (run,) in base.execute(query)]


def read_mlflow_run(path: Path, run: str) -> Rows:
    """Return the metrics of a run in a database of MLflow."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        query = "SELECT step, timestamp, key, value, is_nan FROM metrics WHERE run_uuid = ?"
        found = base.execute(query, (run,)).fetchall()
    return Rows(_by_step((s, t, key, math.nan if nan else float(v)) for s, t, key, v, nan in found), "run of MLflow")


def _by_step(points: Iterable[tuple[int, int, str, float]]) -> list[Row]:
    rows: dict[int, Row] = {}
    for step, _, name, value in sorted(points):
        rows.setdefault(step, {"step": float(step)})[name] = value
    return list(rows.values())
