"""``diagnose``: what the log of a run says about its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stepsize.errors import InputError
from stepsize.monitor.logs.tables import Columns, plain_name, read_table
from stepsize.monitor.logs.tensorboard import read_events
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.report import Report, report_of
from stepsize.monitor.tracking import FindingTracker

_NAMES: Mapping[str, tuple[str, ...]] = {  # as plain_name writes them
    "loss": (
        *("loss", "train loss", "training loss", "loss train", "train loss step", "loss step", "total loss"),
        *("epoch loss", "train loss epoch", "train total loss"),
    ),
    "lr": (
        *("lr", "learning rate", "train learning rate", "train lr", "lr 0", "lr pg0", "base lr"),
        *("lr adamw", "lr adamw pg1", "lr sgd", "lr sgd pg1", "lr adam", "lr adam pg1"),
    ),
    "val": (
        *("val loss", "eval loss", "valid loss", "validation loss", "loss val", "test loss", "val loss epoch"),
        *("val", "valid"),
    ),
    "grad_norm": ("grad norm", "train grad norm", "gradient norm", "grad norm total"),
}
_SIGNALS = {"loss": "loss", "lr": "lr/0", "val": "val_loss", "grad_norm": "grad_norm"}
_MOST_BYTES = 2**30
_FEWEST = 16


def diagnose(
    log: str | Path, *, steps: int | None = None, loss: str | None = None, lr: str | None = None, val: str | None = None
) -> Report:
    r"""Diagnose a run from a log that any tool wrote.

    Args:
        log: A CSV file (any delimiter), JSON lines, the ``trainer_state.json`` of transformers, text with lines such
            as ``step 10: loss 2.31``, a TensorBoard event file, or a folder with one of them.
        steps: Number of planned steps. Defaults to the number of logged steps.
        loss: Column or tag of the training loss. By default it is found by its usual names, as the others are.
        lr: Column or tag of the learning rate.
        val: Column or tag of the validation loss.

    Returns:
        A report: what was read, and findings from losses, learning rates and gradient norms. Findings that the rest of
        the log refutes are left out. A verdict on the learning rate needs signals that a log does not contain.

    Raises:
        InputError: If the file or a column does not exist, or there are fewer than 16 losses.

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
        remedy = "Pass a CSV file, a TensorBoard event file, or the folder that contains it"
        raise InputError("log", str(log), "must be an existing file or folder", remedy)
    file, columns = _columns(path)
    names = {kind: _chosen(columns, kind, {"loss": loss, "lr": lr, "val": val}.get(kind)) for kind in _NAMES}
    chosen = {_SIGNALS[kind]: columns[name] for kind, name in names.items() if name is not None}
    losses = sorted(chosen.pop("loss"), key=lambda one: one[0])  # rows of one step stay in order
    if len(losses) < _FEWEST:
        raise InputError("log", f"{len(losses)} losses", f"must hold at least {_FEWEST}", "Log the loss more often")
    first, last = losses[0][0], losses[-1][0]
    others = sorted((step, name, value) for name, values in chosen.items() for step, value in values)
    record, tracker = Record(Facts(steps=steps or last + 1)), FindingTracker()
    _replay(record, tracker, losses, others)
    known = ", ".join(f"{_SIGNALS[kind].removesuffix('/0')} from '{name}'" for kind, name in names.items() if name)
    source = f"Read {file}: {len(losses):,} losses, steps {first:,} to {last:,}; {known}."
    return report_of(record, tracker, source)


def _replay(
    record: Record, tracker: FindingTracker, losses: list[tuple[int, float]], others: list[tuple[int, str, float]]
) -> None:
    """Check the rules along the log, as if it were being written."""
    place = 0
    for step, value in losses:
        while place < len(others) and others[place][0] <= step:
            at, name, other = others[place]
            record.add(name, at, other)
            place += 1
        record.step = step + 1
        record.add_loss(step, value)
        tracker.check(record, due=tracker.due(record))
    for at, name, other in others[place:]:
        record.add(name, at, other)
    tracker.check(record, due=True, thorough=True)
    tracker.withdraw(record)


def _chosen(columns: Columns, kind: str, name: str | None) -> str | None:
    """Return the column of a kind: the one named, or the densest of the usual names."""
    if name is not None:
        if name not in columns:
            raise InputError(kind, name, f"must be a column of the log; those are {', '.join(sorted(columns))}")
        return name
    by_name: dict[str, list[str]] = {}
    for column in columns:
        by_name.setdefault(plain_name(column.rpartition(" - ")[2]), []).append(column)
    found = [column for usual in _NAMES[kind] for column in by_name.get(usual, ())]
    if found:
        return max(found, key=lambda column: len(columns[column]) > max(map(len, columns.values())) // 10)
    if kind == "loss":
        rule = f"must hold a column of numbers named like {', '.join(_NAMES[kind][:3])}"
        raise InputError("log", ", ".join(sorted(columns)) or "no numbers", rule, f"Name it with --{kind}")
    return None


def _columns(path: Path) -> tuple[Path, Columns]:
    """Return the file that was read, and its columns."""
    if path.is_dir():
        return _columns_of_folder(path)
    if not path.is_file():  # a device or a pipe may never end
        raise InputError("log", str(path), "must be a file or a folder", "Save it as a CSV file first")
    if path.stat().st_size > _MOST_BYTES:
        rule = f"must have at most {_MOST_BYTES:,} bytes"
        raise InputError("log", f"{path.stat().st_size:,} bytes", rule, "Log less often")
    return path, read_events(path) if "tfevents" in path.name else read_table(path)


def _columns_of_folder(path: Path) -> tuple[Path, Columns]:
    files = sorted(path.rglob("*tfevents*"))
    if not files:
        kinds = ("trainer_state.json", "*.csv", "*.jsonl", "*.json", "*.log", "*.txt")
        found = next((sorted(path.glob(kind)) for kind in kinds if any(path.glob(kind))), [])
        if len(found) > 1:
            names = ", ".join(one.name for one in found[:8])
            raise InputError("log", names, "must be one log", "They are separate runs; name one of them")
        if not found:
            raise InputError("log", str(path), "must hold a CSV or TensorBoard event file", "Name the file itself")
        return _columns(found[0])
    runs = {file.parent for file in files}
    if len(runs) > 1:
        names = ", ".join(str(one.relative_to(path)) for one in sorted(runs)[:8])
        raise InputError("log", names, "must be one run; the folder holds several", "Name the folder of one of them")
    merged: Columns = {}
    for file in files:
        for name, values in _columns(file)[1].items():
            merged.setdefault(name, []).extend(values)
    return path, merged
