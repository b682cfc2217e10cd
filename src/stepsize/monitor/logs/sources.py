"""Which files of a folder are the log of one run, and the reader of each kind."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from stepsize.errors import InputError
from stepsize.monitor.logs.tensorboard import read_events
from stepsize.monitor.logs.texts import Row, Rows, read_text
from stepsize.monitor.logs.trackers import mlflow_runs, read_mlflow, read_mlflow_run, read_wandb

_MOST_BYTES = 2**30
_KINDS = ("trainer_state.json", "*tfevents*", "run-*.wandb", "*.csv", "*.tsv", "*.jsonl", "*.json", "*.log", "*.txt")
_CERTAIN = 3  # of these kinds are logs for sure
_SHOWN = 6
_NO_LOG = re.compile(r"(config|hparams|args|params|tokenizer|vocab|requirements|readme|metadata|index|debug)", re.I)
_READABLE = "a CSV file, JSON lines, trainer_state.json, a TensorBoard event file, or a run of W&B or MLflow"


def read_log(path: Path) -> Rows:
    """Return the rows of a run: of a file, or of the folder that holds them."""
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():  # a device or a pipe may never end
        raise InputError("log", str(path), "must be a file or a folder", "Save it as a CSV file first")
    return _of_file(path)


def _of_file(path: Path) -> Rows:
    if path.stat().st_size > _MOST_BYTES:
        rule = f"must have at most {_MOST_BYTES:,} bytes"
        raise InputError("log", f"{path.stat().st_size:,} bytes", rule, "Log less often")
    if "tfevents" in path.name:
        return read_events(path)
    if path.suffix == ".wandb":
        return read_wandb(path)
    if path.suffix in (".db", ".sqlite", ".sqlite3"):
        return _of_database(path)
    return read_text(path)


def _of_database(path: Path) -> Rows:
    try:
        runs = mlflow_runs(path)
        if len(runs) == 1:
            return read_mlflow_run(path, runs[0])
    except sqlite3.Error as error:
        raise InputError("log", path.name, "must be a database of MLflow", "Export the metrics as CSV") from error
    remedy = "Export the metrics of one of them as CSV" if runs else ""
    raise InputError("log", f"{path.name} with {len(runs)} runs", "must hold one run with metrics", remedy)


def _of_folder(folder: Path) -> Rows:
    runs = _runs(folder)
    if not runs:
        seen = sorted(one.name for one in folder.iterdir())[:_SHOWN]
        got = f"{folder.name or folder}, which holds {', '.join(seen) or 'nothing'}"
        raise InputError("log", got, f"must hold {_READABLE}", "Name the file itself: stepsize diagnose FILE")
    if len(runs) > 1:
        paths = [one[0] if len(one) == 1 and one[0].parent == folder else one[0].parent for one in runs]
        names = [path.relative_to(folder).as_posix() for path in paths]
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        remedy = f"Name one of them, such as: stepsize diagnose {paths[-1]}"
        raise InputError("log", ", ".join(names[:_SHOWN]) + more, "must be one run; the folder holds several", remedy)
    (files,) = runs
    if files[0].name == "metrics":
        return read_mlflow(files[0].parent)
    return _together(files)


def _runs(folder: Path) -> list[list[Path]]:
    """Return the files of each run below a folder: those of the first kind that its folder has."""
    found: list[list[Path]] = []
    whole: list[Path] = []  # folders that are a run, whatever lies below
    places = (one for one in folder.rglob("*") if one.is_dir() and not one.is_symlink())
    for place in sorted([folder, *places], key=_in_order):
        if any(one in place.parents for one in whole):
            continue
        metrics, files = place / "metrics", _files(place)
        if metrics.is_dir() and (place / "meta.yaml").is_file():
            files = [metrics]
        if not files:
            continue
        first = files[0]
        if first.name in ("metrics", "trainer_state.json") or first.suffix == ".wandb":
            whole.append(place)
        found += [files] if "tfevents" in first.name else [[one] for one in files]
    return _of_keras(_last_checkpoint(found))


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Return a key that puts ``version_10`` after ``version_9``."""
    return [(int(digits or 0), word) for part in path.parts for word, digits in re.findall(r"(\D*)(\d*)", part)]


def _files(folder: Path) -> list[Path]:
    """Return the logs in a folder, of the first kind that it has; settings and notes are not logs."""
    for number, kind in enumerate(_KINDS):
        files = sorted(one for one in folder.glob(kind) if one.is_file() and not one.is_symlink())
        files = files if number < _CERTAIN else [one for one in files if not _NO_LOG.match(one.name)]
        if files:
            return files
    return []


def _last_checkpoint(runs: list[list[Path]]) -> list[list[Path]]:
    """Keep the last of the states that the checkpoints of one run hold; each has the whole history."""
    states = [files for files in runs if files[0].name == "trainer_state.json"]
    if (
        len({files[0].parent.parent if "checkpoint" in files[0].parent.name else files[0].parent for files in states})
        != 1
    ):
        return runs
    return states[-1:]


def _of_keras(runs: list[list[Path]]) -> list[list[Path]]:
    """Join the folders ``train`` and ``validation`` that Keras writes for one run."""
    if len(runs) != 2 or {files[0].parent.name for files in runs} != {"train", "validation"}:
        return runs
    return [sorted((file for files in runs for file in files), key=lambda file: file.parent.name)]


def _together(files: Sequence[Path]) -> Rows:
    parts = [_of_file(file) for file in files]
    rows: list[Row] = []
    for file, part in zip(files, parts, strict=True):
        held_out = file.parent.name == "validation"
        rows += [_held_out(row) for row in part.rows] if held_out else part.rows
    if any(file.parent.name == "validation" for file in files):
        rows.sort(key=lambda row: row.get("global step", 0.0))
    return Rows(rows, parts[0].form, parts[0].planned)


def _held_out(row: Row) -> Row:
    return {name if name == "global step" else f"validation/{name}": value for name, value in row.items()}
