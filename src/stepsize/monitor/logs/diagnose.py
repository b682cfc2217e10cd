"""``diagnose``: what can be said of a training from its log alone."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from stepsize.errors import InputError
from stepsize.monitor.judging import Judge
from stepsize.monitor.logs.tensorboard import read_events
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.reporting import Report, report_of

__all__ = ["diagnose", "diagnose_columns"]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "step": ("step", "global_step", "iteration", "iter", "it", "batch", "epoch"),
    "loss": ("loss", "train_loss", "train/loss", "training_loss", "loss/train", "train_loss_step"),
    "lr": ("lr", "learning_rate", "train/learning_rate", "train/lr", "lr/0", "lr-adamw", "lr-sgd", "lr-adam"),
    "val_loss": (
        "val_loss",
        "eval_loss",
        "valid_loss",
        "validation_loss",
        "val/loss",
        "eval/loss",
        "loss/val",
        "test_loss",
    ),
    "grad_norm": ("grad_norm", "train/grad_norm", "gradient_norm", "grad/norm"),
}
_MOST_BYTES = 2**30
_FEWEST = 16


def diagnose(
    log: str | Path, *, steps: int | None = None, loss: str | None = None, lr: str | None = None, val: str | None = None
) -> Report:
    r"""Say what can be said of a training from a log that any tool wrote.

    Args:
        log: A CSV file with a header, a TensorBoard event file, or a folder with such files.
        steps: How many the training was to have; default as many as were logged.
        loss: The column or tag of the training loss; default found by its usual names, as for the others.
        lr: That of the learning rate.
        val: That of the loss on unseen data.

    Returns:
        A report: findings from losses, rates and gradient norms. A verdict on the rate needs signals that no log holds.

    Raises:
        InputError: If there is no such file or column, or fewer than 16 losses.

    Example:
        >>> import tempfile
        >>> rows = ["step,loss,lr"] + [f"{n},{2.0 if n < 60 else 'nan'},0.1" for n in range(80)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "log.csv"
        ...     _ = path.write_text("\n".join(rows))
        ...     [finding.code for finding in diagnose(path).findings]
        ['diverging']
    """
    path = Path(log)
    if "\0" in str(log) or not path.exists():
        raise InputError("log", str(log), "must be there", "Give a CSV or TensorBoard event file, or its folder")
    columns = _columns(path)
    return diagnose_columns(columns, steps=steps, loss=loss, lr=lr, val=val)


def diagnose_columns(
    columns: Mapping[str, Sequence[tuple[int, float]]],
    *,
    steps: int | None = None,
    loss: str | None = None,
    lr: str | None = None,
    val: str | None = None,
) -> Report:
    """Say what can be said of a training from pairs of step and value by name; see :func:`diagnose`."""
    chosen = {
        "loss": _chosen(columns, "loss", loss, required=True),
        "lr/0": _chosen(columns, "lr", lr),
        "val_loss": _chosen(columns, "val_loss", val),
        "grad_norm": _chosen(columns, "grad_norm", None),
    }
    losses = chosen["loss"]
    if len(losses) < _FEWEST:
        raise InputError("log", f"{len(losses)} losses", f"must hold at least {_FEWEST}", "Log the loss more often")
    last = max(step for step, _ in losses) + 1
    # horizon in logged losses: rules count in values, and a log may hold every tenth step only
    record = Record(Facts(steps=steps or last))
    judge = Judge()
    others = sorted((step, name, value) for name in ("lr/0", "val_loss", "grad_norm") for step, value in chosen[name])
    place = 0
    for step, value in sorted(losses):
        while place < len(others) and others[place][0] <= step:
            record.add(others[place][1], *_pair(others[place]))
            place += 1
        record.step = step + 1
        record.add_loss(step, value)
        judge.look(record)
    for other in others[place:]:
        record.add(other[1], *_pair(other))
    judge.look(record, thorough=True)
    return report_of(record, judge)


def _pair(other: tuple[int, str, float]) -> tuple[int, float]:
    return other[0], other[2]


def _chosen(
    columns: Mapping[str, Sequence[tuple[int, float]]], kind: str, name: str | None, *, required: bool = False
) -> Sequence[tuple[int, float]]:
    if name is not None:
        if name not in columns:
            raise InputError(kind, name, f"must be a column of the log; those are {', '.join(sorted(columns))}")
        return columns[name]
    by_name = {column.strip().lower(): values for column, values in columns.items()}
    for usual in _NAMES[kind]:
        if usual in by_name:
            return by_name[usual]
    if required:
        rule = f"must hold a column of numbers named like {', '.join(_NAMES[kind][:3])}"
        raise InputError("log", ", ".join(sorted(columns)) or "no numbers", rule, f"Name it with --{kind}")
    return ()


def _columns(path: Path) -> dict[str, list[tuple[int, float]]]:
    if path.is_dir():
        files = sorted(path.rglob("*tfevents*")) or sorted(path.glob("*.csv"))
        if not files:
            raise InputError("log", str(path), "must hold a CSV or TensorBoard event file", "Name the file itself")
        merged: dict[str, list[tuple[int, float]]] = {}
        for file in files:
            for name, values in _columns(file).items():
                merged.setdefault(name, []).extend(values)
        return merged
    if not path.is_file():  # a device or a pipe may never end
        raise InputError("log", str(path), "must be a file or a folder", "Save it as a CSV file first")
    if path.stat().st_size > _MOST_BYTES:
        rule = f"must have at most {_MOST_BYTES:,} bytes"
        raise InputError("log", f"{path.stat().st_size:,} bytes", rule, "Log less often")
    if "tfevents" in path.name:
        return read_events(path)
    return _table(path)


def _table(path: Path) -> dict[str, list[tuple[int, float]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError("log", str(path), "must be a CSV file or a TensorBoard event file") from error
    if not rows:
        raise InputError("log", str(path), "must hold a header and rows", "For example: step,loss,lr")
    names = {str(name).strip().lower(): name for name in rows[0] if name}
    counter = next((names[usual] for usual in _NAMES["step"] if usual in names), None)
    columns: dict[str, list[tuple[int, float]]] = {}
    for number, row in enumerate(rows):
        at = _number(row.get(counter)) if counter else None
        step = number if at is None or not math.isfinite(at) else int(at)
        if abs(step) >= 2**53:
            raise InputError("log", step, "must count steps below 2**53, which numbers hold exactly")
        for name, text in row.items():
            value = _number(text)
            if name and name != counter and value is not None:
                columns.setdefault(name, []).append((step, value))
    return columns


def _number(text: object) -> float | None:
    try:
        return float(text) if isinstance(text, str) and text.strip() else None
    except ValueError:
        return None
