"""Is a log judged rightly: recorded trainings of others and our own, as files, whole and cut off."""

from __future__ import annotations

import csv
import dataclasses
import gzip
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import stepsize
from benchmarks.combos import Combo, all_combos, build
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table, percent
from benchmarks.verdicts import labels
from benchmarks.workers import each_done
from stepsize.errors import InputError
from stepsize.monitor import Finding
from stepsize.training.stepping import rung_factors

__all__ = ["LOGS_FILE", "Checked", "compute_logs", "logs_report"]

Array = NDArray[np.float64]
LOGS_FILE = RECORDS_FOLDER / "logs.json"
_CUTS = (0.3, 0.5, 0.75)  # of the rows, for logs of runs that are still going on
_RUNS = ((1.0, False), (1.0, True), (30.0, True))  # of the best rate, and whether it is constant: our own
_SEED = 200
_TASKS = ("cancer-mlp", "diabetes-regression", "digits-autoencoder", "digits-mlp", "docs-chars-mlp", "photos-mlp")
_FEWEST = 24  # rows
_FELL = 0.1  # of the loss: a plateau that falls by more was none
_EVENTS = ("short-warmup", "spike")  # what happened: later losses say nothing about it
_TAIL = 0.05  # of the rows: the end


@dataclass(frozen=True)
class Log:
    """A log: columns of the same length; NaN where nothing was logged of ``val`` and ``lr``."""

    source: str
    name: str
    step: Array
    loss: Array
    lr: Array
    val: Array

    def cut(self, rows: int) -> Log:
        """Return the first rows."""
        return Log(self.source, self.name, self.step[:rows], self.loss[:rows], self.lr[:rows], self.val[:rows])

    def write(self, path: Path) -> None:
        """Write it as CSV: what is not known of a row is blank, a loss that is not finite is ``nan``."""
        kept = [name for name in ("lr", "val") if np.isfinite(getattr(self, name)).any()]
        lines = [",".join(["step", "loss", *("val_loss" if name == "val" else name for name in kept)])]
        for row in range(len(self.step)):
            others = [getattr(self, name)[row] for name in kept]
            cells = [str(int(self.step[row])), repr(float(self.loss[row]))]
            lines.append(",".join([*cells, *(repr(float(one)) if math.isfinite(one) else "" for one in others)]))
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Checked:
    """A finding on a log, or what should have been one.

    Attributes:
        source: Whose log.
        log: Its name.
        part: ``"whole"``, ``"cut"``, or the fault that was put into it.
        code: Of the finding; of the fault.
        step: Where it was found; None if it was not.
        right: Whether the rest of the log, or the known fault, agrees.
    """

    source: str
    log: str
    part: str
    code: str
    step: int | None
    right: bool


def compute_logs(workers: int = 2, path: Path = LOGS_FILE) -> None:
    """Check the logs of others, then our own."""
    rows: list[Checked] = []
    jobs: list[Log | Combo] = [*all_combos(_TASKS), *_of_others()]
    for number, (_, done) in enumerate(each_done(_job, jobs, workers), start=1):
        if isinstance(done, Exception):
            raise done
        rows += done
        if number % 100 == 0:
            print(f"{number} of {len(jobs)}", flush=True)
            _write(path, rows)
    _write(path, rows)


def _write(path: Path, rows: Iterable[Checked]) -> None:
    ordered = sorted(rows, key=lambda one: (one.source, one.log, one.part, one.code))
    write_record(path, header("logs"), [asdict(row) for row in ordered])


def _job(job: Log | Combo) -> list[Checked]:
    return _own(job) if isinstance(job, Combo) else _checked(job)


def _of_others() -> Iterator[Log]:
    folder = Path(os.environ.get("STEPSIZE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    for of, rows in _grouped(folder / "deepobs" / "deepobs_curves.csv.gz", "problem", "optimizer", "lr").items():
        yield _log("DeepOBS", of, [(one["step"], one["loss"], one["lr"]) for one in rows])
    for of, rows in _grouped(folder / "mup" / "mlp_cifar10_lr_width.csv.gz", "param", "width", "log2lr").items():
        rate = str(2.0 ** float(rows[0]["log2lr"]))
        yield _log("muP", of, [(one["epoch"], one["train_loss"], rate) for one in rows])
    for of, rows in _grouped(folder / "schaipp" / "val_curves.csv.gz", "run").items():
        yield _log("Schaipp", of, [(one["iter"], one["val_loss"], one["lr"]) for one in rows])


def _grouped(path: Path, *key: str) -> Mapping[str, list[dict[str, str]]]:
    groups = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            groups[" ".join(row[name] for name in key)].append(row)
    return groups


def _log(source: str, name: str, rows: Iterable[tuple[str, str, str]]) -> Log:
    last = {int(float(step)): (_number(loss), _number(rate)) for step, loss, rate in rows}
    steps = np.array(sorted(last), dtype=np.float64)
    loss, rate = (np.array([last[int(step)][place] for step in steps]) for place in (0, 1))
    return Log(source, name, steps, loss, rate, np.full(len(steps), math.nan))


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _own(combo: Combo) -> list[Checked]:
    """Train a combo at several rates, on its schedule and without, and check the logs."""
    torch.set_num_threads(1)
    known = labels(combo)
    best = min(known, key=lambda lr: abs(math.log(known[lr][0])))
    return [
        one for multiple, constant in _RUNS for one in _checked(_trained(combo, best * multiple, constant=constant))
    ]


def _trained(combo: Combo, lr: float, *, constant: bool) -> Log:
    task = build(combo, seed=_SEED)
    task = dataclasses.replace(task, schedule=None) if constant else task
    horizon = task.horizon
    run = stepsize.train(task, lr, evals=range(horizon // 32, horizon + 1, max(1, horizon // 32)))
    steps = np.arange(len(run.losses), dtype=np.float64)
    val = np.full(len(steps), math.nan)
    for one in run.evaluations:
        val[min(one.step, len(val)) - 1] = one.loss
    factors = np.asarray(rung_factors(task, horizon))
    name = f"{combo.name} {lr:g} {'constant' if constant else 'decayed'}"
    return Log("own", name, steps, np.asarray(run.losses), lr * factors[: len(steps)], val)


def _checked(log: Log) -> list[Checked]:
    """Diagnose a log whole, cut off, and with a fault at a known place."""
    if len(log.step) < _FEWEST:
        return []
    rows = [
        Checked(log.source, log.name, "whole", one.code, one.step, not _refuted(one, log, log))
        for one in _findings(log)
    ]
    for share in _CUTS:
        part = log.cut(int(share * len(log.step)))
        found = _findings(part)
        rows += [
            Checked(log.source, log.name, "cut", one.code, one.step, not _refuted(one, part, log)) for one in found
        ]
    ended = np.flatnonzero(~np.isfinite(log.loss))
    if ended.size and ended[-1] == len(log.loss) - 1:
        first = int(np.flatnonzero(np.isfinite(log.loss))[-1]) + 1 if ended.size < len(log.loss) else 0
        rows.append(_fault(log, "not finite", first, _findings(log), early=True))
    return rows + (_with_faults(log) if np.isfinite(log.loss).all() and _learned(log) else [])


def _with_faults(log: Log) -> list[Checked]:
    """Put faults into a good log, at a place that its name determines."""
    place = int(np.random.default_rng(len(log.name)).integers(len(log.step) // 3, 2 * len(log.step) // 3))
    start = float(np.median(log.loss[:5]))
    high = start + 10 * max(abs(start), start - float(log.loss.min()))
    rows = []
    for name, losses in (
        ("not finite", np.where(np.arange(len(log.loss)) >= place, math.nan, log.loss)),
        ("blow-up", np.where(np.arange(len(log.loss)) >= place, high, log.loss)),
        ("one NaN", np.where(np.arange(len(log.loss)) == place, math.nan, log.loss)),
    ):
        found = _findings(dataclasses.replace(log, loss=losses))
        if name == "one NaN":
            right = all(one.code != "diverging" for one in found)
            rows.append(Checked(log.source, log.name, name, "diverging", None, right))
        else:
            rows.append(_fault(log, name, place, found))
    return rows


def _fault(log: Log, name: str, place: int, found: Sequence[Finding], *, early: bool = False) -> Checked:
    steps = [one.step for one in found if one.code == "diverging"]
    right = bool(steps and (steps[0] == log.step[place] or (early and steps[0] < log.step[place])))
    return Checked(log.source, log.name, name, "diverging", steps[0] if steps else None, right)


def _findings(log: Log) -> Sequence[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        log.write(path)
        try:
            return stepsize.diagnose(path).findings
        except InputError:  # fewer than 16 losses
            return ()


def _learned(log: Log) -> bool:
    noise = float(np.median(np.abs(np.diff(log.loss))))
    return float(np.median(log.loss[:5])) - _end(log.loss) > 10 * noise


def _end(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known[-max(5, int(_TAIL * len(known))) :])) if known.size else math.nan


def _refuted(found: Finding, seen: Log, whole: Log) -> bool:
    """Return whether the rest of a log contradicts what was found in its first part."""
    start, end = float(np.nanmedian(whole.loss[:5])), _end(whole.loss)
    if found.code == "diverging":
        return bool(np.isfinite(whole.loss[-1])) and end < start
    if found.code == "overfitting":
        return bool(np.nanmin(whole.val) < np.nanmin(seen.val))
    if found.code == "plateau":
        decayed = whole.lr[-1] < 0.7 * seen.lr[-1]
        return (
            bool(np.isfinite(whole.loss[-1])) and not decayed and end < _end(seen.loss) - _FELL * abs(_end(seen.loss))
        )
    if found.code == "not-learning":
        return end < start - _FELL * abs(start)
    if found.code == "spike":
        place = int(np.searchsorted(whole.step, found.step))
        after = whole.loss[place + 1 : place + 21]
        return after.size > 4 and bool(np.median(after) >= whole.loss[place])
    return found.code in ("underfitting", "schedule-end") and seen.step[-1] < whole.step[-1]


def logs_report(path: Path = LOGS_FILE) -> str:
    """Return the tables of the record, as Markdown."""
    rows = [Checked(**row) for row in read_rows(path)]
    lines = []
    for part in ("whole", "cut"):
        kept = {
            code: [row.right for row in rows if (row.part, row.code) == (part, code)] for code in _codes(rows, part)
        }
        lines += [_line(f"{part} logs", code, right) for code, right in kept.items()]
        every = [one for code, right in kept.items() if code not in _EVENTS for one in right]
        lines.append(_line(f"{part} logs", "all but events", every))
    faults = [
        [name, f"{sum(right)} of {len(right)}"]
        for name in ("not finite", "blow-up", "one NaN")
        if (right := [row.right for row in rows if row.part == name])
    ]
    found = markdown_table(("logs", "finding", "count", "refuted by the rest"), lines)
    return found + "\n\n" + markdown_table(("fault at a known step", "found right"), faults)


def _codes(rows: Sequence[Checked], part: str) -> list[str]:
    return sorted({row.code for row in rows if row.part == part})


def _line(part: str, code: str, right: Sequence[bool]) -> list[str]:
    wrong = len(right) - sum(right)
    refuted = f"{wrong} ({percent(wrong / len(right))})" if right else "0"
    return [part, code, str(len(right)), "event" if code in _EVENTS and not wrong else refuted]
