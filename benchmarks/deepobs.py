"""A second ground, recorded by others: DeepOBS' baselines, 4 problems × 3 optimizers × 36 constant rates.

From the training losses up to a 64th, a 16th and a quarter of each training a rate is picked, and judged by where its
training ended on test data. stepsize's fit takes the losses at the last doublings as runs of so many updates; it is
used as it is, and no constant of it was chosen on these records.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.combos import rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table, percent
from stepsize.curves.answer import answer_from
from stepsize.curves.lr_model import Point, fit_lr_model
from stepsize.optimizers import OPTIMIZERS
from stepsize.optimizers.usual import usual_rate

__all__ = ["DEEPOBS_FILE", "PICKERS", "Case", "compute_deepobs", "deepobs_report", "load_cases"]

DEEPOBS_FILE = RECORDS_FOLDER / "deepobs.json"
SHARES = (1 / 64, 1 / 16, 1 / 4)
_PARAMETERS = {"cifar10_3c3d": 9e5, "fmnist_2c2d": 3.3e6, "quadratic_deep": 100, "tolstoi_char_rnn": 4.4e5}  # about
_LOOKS = 3  # how many doublings of the horizon are looked at, the last one included


@dataclass(frozen=True)
class Case:
    """One problem with one optimizer.

    Attributes:
        problem: Its name.
        optimizer: Its name.
        steps: How long every training is.
        curves: By rate, the (step, training loss) pairs in order of step.
        finals: By rate, (test loss, test accuracy) at the end, NaN where the training was lost.
    """

    problem: str
    optimizer: str
    steps: int
    curves: Mapping[float, Sequence[tuple[float, float]]]
    finals: Mapping[float, tuple[float, float]]

    def seen(self, lr: float, share: float) -> float:
        """Return the training loss of ``lr`` around ``share`` of the training; NaN where it was lost before."""
        known = [(step, loss) for step, loss in self.curves[lr] if step <= share * self.steps]
        return known[-1][1] if known else math.nan

    @property
    def untrained(self) -> float:
        """The training loss at the beginning, in the median over the rates."""
        return float(np.nanmedian([curve[0][1] for curve in self.curves.values()]))


def load_cases(folder: Path) -> list[Case]:
    """Return all cases of the two files in ``folder``."""
    curves: dict[tuple[str, str], dict[float, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in _rows(folder / "deepobs_curves.csv.gz"):
        key = row["problem"], row["optimizer"]
        curves[key][float(row["lr"])].append((float(row["step"]), _number(row["loss"])))
    finals: dict[tuple[str, str], dict[float, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    steps: dict[tuple[str, str], int] = defaultdict(int)
    for row in _rows(folder / "deepobs_final.csv.gz"):
        key = row["problem"], row["optimizer"]
        finals[key][float(row["lr"])].append((_number(row["test_loss"]), _number(row["test_accuracy"])))
        steps[key] = max(steps[key], int(float(row["steps"])))
    return [
        Case(
            *key,
            steps[key],
            {lr: sorted(curve) for lr, curve in sorted(by_rate.items())},
            {lr: (_mean(ends, 0), _mean(ends, 1)) for lr, ends in sorted(finals[key].items()) if lr in by_rate},
        )
        for key, by_rate in sorted(curves.items())
    ]


def _rows(path: Path) -> Any:
    with gzip.open(path, "rt", newline="") as file:
        yield from csv.DictReader(file)


def _number(text: str) -> float:
    return float(text) if text not in ("", "NaN", "nan") else math.nan


def _mean(ends: Sequence[tuple[float, float]], at: int) -> float:
    return float(np.mean([end[at] for end in ends]))


def by_fit(case: Case, share: float) -> float:
    """Return the rate that stepsize's model recommends from the losses at the last doublings; the nearest trained."""
    name = case.optimizer.lower()
    usual, family = usual_rate(name if name in OPTIMIZERS else "momentum" if "momentum" in name else "sgd")
    seen = []
    for back in range(_LOOKS):
        for lr in case.curves:
            loss = case.seen(lr, share / 2**back)
            seen.append(Point(lr, loss, share / 2**back, diverged=not math.isfinite(loss)))
    size = (case.steps, _PARAMETERS.get(case.problem, 1e4))
    answer = answer_from(fit_lr_model(seen, usual=usual, untrained=case.untrained, family=family, size=size))
    return _nearest(case, usual if answer.lr is None else answer.lr)


def by_argmin(case: Case, share: float) -> float:
    """Return the rate with the lowest loss at that point."""
    return min(case.curves, key=lambda lr: _or_worst(case.seen(lr, share)))


def by_lower_argmin(case: Case, share: float) -> float:
    """Return a third of that rate: the usual caution."""
    return _nearest(case, by_argmin(case, share) / 3)


def _nearest(case: Case, lr: float) -> float:
    return min(case.curves, key=lambda known: abs(math.log(known / lr)))


def _or_worst(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


PICKERS: dict[str, Callable[[Case, float], float]] = {
    "stepsize's fit": by_fit,
    "argmin": by_argmin,
    "argmin ÷ 3": by_lower_argmin,
}


def compute_deepobs(path: Path = DEEPOBS_FILE) -> None:
    """Pick on every case at every share, and write the record; chance is the mean over all rates."""
    folder = Path(os.environ.get("STEPSIZE_DATA", "../shared/data")) / "deepobs"
    if not folder.is_dir():
        raise SystemExit(f"no folder {folder}: set $STEPSIZE_DATA to the folder that holds deepobs/")
    rows = []
    for case in load_cases(folder):
        for share in SHARES:
            for name, pick in PICKERS.items():
                rows.append(_row(case, share, name, [pick(case, share)]))
            rows.append(_row(case, share, "chance", list(case.finals)))
    write_record(path, header("deepobs"), rows)


def _row(case: Case, share: float, name: str, picked: Sequence[float]) -> dict[str, Any]:
    best = min(loss for loss, _ in case.finals.values() if math.isfinite(loss))
    top = max((accuracy for _, accuracy in case.finals.values() if math.isfinite(accuracy)), default=math.nan)
    regrets = [_regret(case.finals[lr][0], best, case.untrained) for lr in picked]
    lost = [top - (accuracy if math.isfinite(accuracy := case.finals[lr][1]) else 0.0) for lr in picked]
    return {
        "problem": case.problem,
        "optimizer": case.optimizer,
        "share": share,
        "picker": name,
        "lr": picked[0] if len(picked) == 1 else None,
        "regret": rounded(float(np.mean(regrets))),
        "accuracy_lost": rounded(float(np.mean(lost))) if math.isfinite(top) else None,
    }


def _regret(loss: float, best: float, untrained: float) -> float:
    """Return the excess over the best; a lost training counts as an untrained one."""
    return (min(loss, max(untrained, best)) if math.isfinite(loss) else untrained) / best - 1


def deepobs_report(path: Path = DEEPOBS_FILE) -> str:
    """Return the table of the record: median / p90 / worst regret of the test loss, and the accuracy lost."""
    rows = read_rows(path)
    if not rows:
        return "No record yet: `python -m benchmarks deepobs`."
    names = list(dict.fromkeys(row["picker"] for row in rows))
    lines = []
    for name in names:
        cells = [name]
        for share in SHARES:
            there = [row for row in rows if row["picker"] == name and row["share"] == share]
            regrets = np.array([row["regret"] for row in there])
            lost = np.array([row["accuracy_lost"] for row in there if row["accuracy_lost"] is not None])
            middle, high = np.quantile(regrets, (0.5, 0.9))
            figures = " / ".join(percent(float(value)) for value in (middle, high, regrets.max()))
            cells.append(f"{figures}; {100 * float(np.mean(lost)):.1f}")
        lines.append(cells)
    heads = ["method", *(f"from 1/{round(1 / share)} of the run" for share in SHARES)]
    about = (
        f"Median / p90 / worst regret of the final test loss over {len(rows) // len(names) // len(SHARES)} problems × "
        "optimizers, and the test accuracy below that of the best rate (percentage points, mean)."
    )
    return f"{about}\n\n{markdown_table(heads, lines)}"
