"""``diagnose``: what the log of a run says about its learning rate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from stepsize.errors import InputError
from stepsize.monitor.logs.hindsight import divergence_of, finished, range_test_of, rates_seen
from stepsize.monitor.logs.names import COUNTERS, NAMES, columns_of, plain_name
from stepsize.monitor.logs.sources import read_log
from stepsize.monitor.logs.steps import steps_of
from stepsize.monitor.logs.texts import Row
from stepsize.monitor.record import Facts, Record
from stepsize.monitor.report import Report, report_of
from stepsize.monitor.trace import LossPoints
from stepsize.monitor.tracking import FindingTracker

Points: TypeAlias = list[tuple[int, float]]
_SIGNALS = {"loss": "loss", "lr": "lr/0", "val": "val_loss", "grad_norm": "grad_norm"}
_FEWEST = 16
_CHECKS = 64


def diagnose(
    log: str | Path, *, steps: int | None = None, loss: str | None = None, lr: str | None = None, val: str | None = None
) -> Report:
    r"""Diagnose a run from a log that any tool wrote.

    Args:
        log: A CSV file (any delimiter), JSON lines, the ``trainer_state.json`` of transformers, text with lines such
            as ``step 10: loss 2.31``, a TensorBoard event file, an offline run of W&B, a run or database of MLflow, or
            the folder of one of them.
        steps: Number of planned steps. Defaults to what the log says; without it, findings that depend on it are made
            only if the learning rate has decayed.
        loss: Column or tag of the training loss. By default it is found by its usual names, as the others are.
        lr: Column or tag of the learning rate.
        val: Column or tag of the validation loss.

    Returns:
        A report: what was read, and findings from losses, learning rates and gradient norms at the end of the log;
        the rest of a log decides whether an earlier sign meant anything. Instead of a verdict on the learning rate,
        which needs the weights, its reason says at which rates the run did not diverge. The log of a range test, whose
        rate only rises, is read as by :func:`stepsize.suggest`.

    Raises:
        InputError: If the file or a column does not exist, there are several runs or fewer than 16 losses, or the log
            has more steps than ``steps``.

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
    found = read_log(path)
    chosen = _chosen(found.rows, {"loss": loss, "lr": lr, "val": val}, path)
    at, counted = steps_of(found.rows, chosen["loss"])
    signals = {_SIGNALS[kind]: _points(found.rows, at, names, kind) for kind, names in chosen.items()}
    losses, rates = signals.pop("loss"), signals.get("lr/0", [])
    if len(losses) < _FEWEST:
        remedy = "Log the loss more often, or name another column with --loss"
        got = f"{len(losses)} losses in '{' + '.join(chosen['loss'])}'"
        raise InputError("log", got, f"must hold at least {_FEWEST}", remedy)
    last = losses[-1][0]
    if steps is not None and steps <= last:
        rule = f"must be at least the {last + 1:,} steps of the log"
        raise InputError("steps", steps, rule, "Leave it out if unknown")
    stated = found.planned if counted and (found.planned or 0) >= last else None
    record = Record(Facts(steps=steps or stated or (last + 1 if finished(rates) else None)))
    points = LossPoints(np.array([step for step, _ in losses]), np.array([value for _, value in losses]))
    diverged, tracker = divergence_of(points), FindingTracker()
    ramp = range_test_of(points, rates)
    _replay(record, tracker, losses, signals, diverged)
    if ramp is not None:
        tracker.load(())  # a range test is meant to diverge
    source = f"Read {path} ({found.form}): {_read(losses, chosen)}{_left_out(found.rows, at, chosen)}."
    return report_of(record, tracker, source, ramp or rates_seen(points, rates, diverged))


def _replay(
    record: Record,
    tracker: FindingTracker,
    losses: Points,
    signals: Mapping[str, Points],
    diverged: tuple[int, str] | None,
) -> None:
    """Check the rules along the log, as if it were being written, and all that can be refuted again at its end."""
    others = sorted((step, name, value) for name, values in signals.items() for step, value in values)
    place, every = 0, max(1, len(losses) // _CHECKS)
    for number, (step, value) in enumerate(losses):
        while place < len(others) and others[place][0] <= step:
            at, name, other = others[place]
            record.add(name, at, other)
            place += 1
        record.step = step + 1
        record.add_loss(step, value)
        record.diverged = diverged if diverged and step >= diverged[0] else None  # what is known at the end decides
        due = number % every == 0
        tracker.check(record, due=due)
        if due:
            tracker.settle(record)
    for at, name, other in others[place:]:
        record.add(name, at, other)
    tracker.check(record, due=True, thorough=True)
    tracker.settle(record)


def _chosen(rows: Sequence[Row], named: Mapping[str, str | None], path: Path) -> dict[str, tuple[str, ...]]:
    """Return the columns of each kind that the log has: the one named, or those with the usual names."""
    counts = Counter(name for row in rows for name in row)
    chosen = {}
    for kind in NAMES:
        name = named.get(kind)
        if name is not None and name not in counts:
            raise InputError(kind, name, f"must be a column of the log; those are {', '.join(sorted(counts))}")
        columns = columns_of(kind, counts) if name is None else (name,)
        if len(columns) > 1 and " - " in columns[0]:
            remedy = f"Name one: stepsize diagnose {path} --{kind} '{columns[0]}'"
            raise InputError("log", ", ".join(columns[:4]), "must be one run; the columns are of several", remedy)
        if columns:
            chosen[kind] = columns
    if "loss" not in chosen:
        seen = sorted(name for name in counts if plain_name(name) not in COUNTERS)
        remedy = f"Name it: stepsize diagnose {path} --loss {seen[0] if len(seen) == 1 else 'NAME'}"
        rule = "must hold a column of numbers named like loss, train/loss, train_loss_step"
        raise InputError("log", ", ".join(seen) or "no numbers", rule, remedy)
    return chosen


def _points(rows: Sequence[Row], at: Sequence[int | None], names: Sequence[str], kind: str) -> Points:
    """Return steps and values of a signal, sorted by step; the sum of several columns."""
    points = []
    for step, row in zip(at, rows, strict=True):
        if step is None or any(name not in row for name in names):
            continue
        value = row[names[0]] if len(names) == 1 else sum(row[name] for name in names)
        if kind == "lr" and (not math.isfinite(value) or _is_rounded(value)):
            continue
        points.append((step, value))
    return sorted(points, key=lambda one: one[0])


def _is_rounded(value: float) -> bool:
    return value == 0 and math.copysign(1.0, value) < 0


def _read(losses: Points, chosen: Mapping[str, Sequence[str]]) -> str:
    columns = ", ".join(
        f"{_SIGNALS[kind].removesuffix('/0')} from " + " + ".join(f"'{name}'" for name in names)
        for kind, names in chosen.items()
    )
    return f"{len(losses):,} losses, steps {losses[0][0]:,} to {losses[-1][0]:,}; {columns}"


def _left_out(rows: Sequence[Row], at: Sequence[int | None], chosen: Mapping[str, Sequence[str]]) -> str:
    replaced = sum(step is None for step in at)
    rates = sum(_is_rounded(row.get(name, 1.0)) for row in rows for name in chosen.get("lr", ()))
    notes = [f"{replaced:,} rows that a resumed run replaced"] if replaced else []
    notes += [f"{rates:,} learning rates that were rounded to zero"] if rates else []
    return f"; left out: {' and '.join(notes)}" if notes else ""
