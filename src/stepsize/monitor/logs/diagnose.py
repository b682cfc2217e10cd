"""``diagnose``: what can be said of a training from its log alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from stepsize.errors import InputError
from stepsize.monitor.judging import Judge
from stepsize.monitor.logs.tables import plain_name, read_rows, steps_of
from stepsize.monitor.logs.tensorboard import read_events
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.reporting import Report, report_of

__all__ = ["diagnose", "diagnose_columns"]

_NAMES: Mapping[str, tuple[str, ...]] = {  # as plain_name writes them
    "loss": (
        *("loss", "train loss", "training loss", "loss train", "train loss step", "loss step", "total loss"),
        *("epoch loss", "train loss epoch", "train total loss"),
    ),
    "lr": (
        *("lr", "learning rate", "train learning rate", "train lr", "lr 0", "lr pg0", "base lr"),
        *("lr adamw", "lr adamw pg1", "lr sgd", "lr sgd pg1", "lr adam", "lr adam pg1"),
    ),
    "val_loss": (
        *("val loss", "eval loss", "valid loss", "validation loss", "loss val", "test loss", "val loss epoch"),
        *("val", "valid"),
    ),
    "grad_norm": ("grad norm", "train grad norm", "gradient norm", "grad norm total"),
}
_MOST_BYTES = 2**30
_AT_THE_END = frozenset({"overfitting", "plateau", "underfitting", "oscillating"})  # what the rest of a log may refute
_FEWEST = 16


def diagnose(
    log: str | Path, *, steps: int | None = None, loss: str | None = None, lr: str | None = None, val: str | None = None
) -> Report:
    r"""Say what can be said of a training from a log that any tool wrote.

    Args:
        log: A CSV file (any delimiter), JSON lines, the ``trainer_state.json`` of transformers, text with lines such
            as ``step 10: loss 2.31``, a TensorBoard event file, or a folder with one of them.
        steps: How many the training was to have; default as many as were logged.
        loss: The column or tag of the training loss; default found by its usual names, as for the others.
        lr: That of the learning rate.
        val: That of the loss on unseen data.

    Returns:
        A report: what was read, and findings from losses, rates and gradient norms. What the rest of the log refutes is
        left out. A verdict on the rate needs signals that no log holds.

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
    file, columns = _columns(path)
    report = diagnose_columns(columns, steps=steps, loss=loss, lr=lr, val=val)
    return replace(report, read=f"Read {file}: {report.read}")


def diagnose_columns(
    columns: Mapping[str, Sequence[tuple[int, float]]],
    *,
    steps: int | None = None,
    loss: str | None = None,
    lr: str | None = None,
    val: str | None = None,
) -> Report:
    """Say what can be said of a training from pairs of step and value by name; see :func:`diagnose`."""
    names = {
        "loss": _chosen(columns, "loss", loss, required=True),
        "lr/0": _chosen(columns, "lr", lr),
        "val_loss": _chosen(columns, "val_loss", val),
        "grad_norm": _chosen(columns, "grad_norm", None),
    }
    chosen = {signal: columns[name] if name else () for signal, name in names.items()}
    losses = chosen["loss"]
    if len(losses) < _FEWEST:
        raise InputError("log", f"{len(losses)} losses", f"must hold at least {_FEWEST}", "Log the loss more often")
    last = max(step for step, _ in losses) + 1
    # horizon in logged losses: rules count in values, and a log may hold every tenth step only
    record = Record(Facts(steps=steps or last))
    judge = Judge()
    others = sorted((step, name, value) for name in ("lr/0", "val_loss", "grad_norm") for step, value in chosen[name])
    place = 0
    for step, value in sorted(losses, key=lambda one: one[0]):  # rows of one step stay in order
        while place < len(others) and others[place][0] <= step:
            record.add(others[place][1], *_pair(others[place]))
            place += 1
        record.step = step + 1
        record.add_loss(step, value)
        judge.look(record, due=judge.due(record))
    for other in others[place:]:
        record.add(other[1], *_pair(other))
    judge.look(record, due=True, thorough=True)
    _withdraw(judge, record)
    return replace(report_of(record, judge), read=_read_text(names, losses))


def _withdraw(judge: Judge, record: Record) -> None:
    """Take back what the rest of the log refutes: what is not the case at its end."""
    last = Judge()
    last.look(record, due=True, thorough=True)
    standing = {one.code for one in last.findings}
    judge.load(one for one in judge.findings if one.code not in _AT_THE_END or one.code in standing)


def _read_text(names: Mapping[str, str | None], losses: Sequence[tuple[int, float]]) -> str:
    first, last = min(step for step, _ in losses), max(step for step, _ in losses)
    told = ", ".join(f"{signal.removesuffix('/0')} from '{name}'" for signal, name in names.items() if name)
    return f"{len(losses):,} losses, steps {first:,} to {last:,}; {told}."


def _pair(other: tuple[int, str, float]) -> tuple[int, float]:
    return other[0], other[2]


def _chosen(
    columns: Mapping[str, Sequence[tuple[int, float]]], kind: str, name: str | None, *, required: bool = False
) -> str | None:
    if name is not None:
        if name not in columns:
            raise InputError(kind, name, f"must be a column of the log; those are {', '.join(sorted(columns))}")
        return name
    by_name: dict[str, list[str]] = {}
    for column in columns:
        by_name.setdefault(plain_name(column.rpartition(" - ")[2]), []).append(column)
    found = [column for usual in _NAMES[kind] for column in by_name.get(usual, ())]
    if found:  # the densest, and of those the first by its usual name
        return max(found, key=lambda column: len(columns[column]) > max(map(len, columns.values())) // 10)
    if required:
        rule = f"must hold a column of numbers named like {', '.join(_NAMES[kind][:3])}"
        raise InputError("log", ", ".join(sorted(columns)) or "no numbers", rule, f"Name it with --{kind}")
    return None


def _columns(path: Path) -> tuple[Path, dict[str, list[tuple[int, float]]]]:
    """Return the file that was read, and its columns."""
    if path.is_dir():
        return _columns_of_folder(path)
    _check_size(path)
    return path, read_events(path) if "tfevents" in path.name else _table(path)


def _columns_of_folder(path: Path) -> tuple[Path, dict[str, list[tuple[int, float]]]]:
    files = sorted(path.rglob("*tfevents*"))
    if not files:
        kinds = ("trainer_state.json", "*.csv", "*.jsonl", "*.json", "*.log", "*.txt")
        found = next((sorted(path.glob(kind)) for kind in kinds if any(path.glob(kind))), [])
        if len(found) > 1:
            remedy = "They are runs of their own; name one of them"
            raise InputError("log", ", ".join(one.name for one in found[:8]), "must be one log", remedy)
        if not found:
            raise InputError("log", str(path), "must hold a CSV or TensorBoard event file", "Name the file itself")
        return _columns(found[0])
    runs = {file.parent for file in files}
    if len(runs) > 1:
        names = ", ".join(str(one.relative_to(path)) for one in sorted(runs)[:8])
        raise InputError("log", names, "must be one run; the folder holds several", "Name the folder of one of them")
    merged: dict[str, list[tuple[int, float]]] = {}
    for file in files:
        _check_size(file)
        for name, values in read_events(file).items():
            merged.setdefault(name, []).extend(values)
    return path, merged


def _check_size(path: Path) -> None:
    if not path.is_file():  # a device or a pipe may never end
        raise InputError("log", str(path), "must be a file or a folder", "Save it as a CSV file first")
    if path.stat().st_size > _MOST_BYTES:
        rule = f"must have at most {_MOST_BYTES:,} bytes"
        raise InputError("log", f"{path.stat().st_size:,} bytes", rule, "Log less often")


def _table(path: Path) -> dict[str, list[tuple[int, float]]]:
    rows = read_rows(path)
    steps, counter = steps_of(rows)
    columns: dict[str, list[tuple[int, float]]] = {}
    for step, row in zip(steps, rows, strict=True):
        if step is None:
            continue
        if abs(step) >= 2**53:
            raise InputError("log", step, "must count steps below 2**53, which numbers hold exactly")
        for name, value in row.items():
            if name != counter:
                columns.setdefault(name, []).append((step, value))
    return columns
