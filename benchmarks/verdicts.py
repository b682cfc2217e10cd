"""Are the verdicts right: watched trainings at rates from far too low to far too high, judged by the truth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch

import stepsize
from benchmarks.combos import Combo, all_combos, build
from benchmarks.lr_record.signals import LOOKS as RECORD_LOOKS
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.truth import TRUTH_FOLDER
from benchmarks.unlike.trainings import TRAININGS
from benchmarks.unlike.truth import UNLIKE_FOLDER
from benchmarks.workers import each_done
from stepsize import Task
from stepsize.monitor.rate_signals import RATE_SIGNALS, rate_signals
from stepsize.monitor.verdict import LOOKS
from stepsize.monitor.verdict_model import VerdictModel, verdict_model
from stepsize.training.batches import Stream
from stepsize.training.evaluate import evaluate
from stepsize.training.position import preserved
from stepsize.training.stepping import Stepper, rung_factors

__all__ = [
    "VERDICTS_FILE",
    "Judged",
    "Watched",
    "compute_verdicts",
    "figures",
    "held_out",
    "judged",
    "labels",
    "read_watched",
    "said_at_quarter",
    "verdicts_report",
    "watched_half",
]

VERDICTS_FILE = RECORDS_FOLDER / "verdicts.json"
Label: TypeAlias = Literal["too low", "fine", "too high"]
MULTIPLES = (0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1, 1.5, 2.5, 5, 10, 30)
_WITHIN = 0.10  # regret up to which a rate is fine
_SIDES: tuple[Label, ...] = ("too low", "fine", "too high")


@dataclass(frozen=True)
class Watched:
    """One training, watched for half of its horizon.

    Attributes:
        kind: "built-in", or "unlike" for those of ``benchmarks/unlike``; neither is in the record that verdicts are
            learned from.
        task: Its name.
        optimizer: Its name.
        lr: The rate.
        times: Over the best one.
        label: The truth, from the final regret over several seeds.
        looks: Signals at each look, by its fraction of the horizon.
        alarms: Codes of the warnings and critical findings by then.
        doubled: The step at which the loss (the median of five) was first twice its start, or not finite; None where
            it never was.
        lost: Whether the whole training, by the truth, diverges at this rate.
        diverged: The step at which the watch said that it diverged.
        flagged: The step of the first critical finding; None without one.
        nan: Whether a loss was not finite, for the baseline.
        twice: Whether a loss was twice the mean of the hundred before it, for the baseline.
    """

    kind: str
    task: str
    optimizer: str
    lr: float
    times: float
    label: Label
    looks: Mapping[str, Mapping[str, float]]
    alarms: tuple[str, ...]
    doubled: int | None
    lost: bool
    diverged: int | None
    flagged: int | None
    nan: bool
    twice: bool


class Judged(NamedTuple):
    """What a model says, a row for each look at a run: see :func:`benchmarks.verdict_model.figures`."""

    looks: Any
    sides: Any
    times: Any
    chances: Any
    ranges: Any


def labels(combo: Combo) -> dict[float, tuple[float, Label, bool]]:
    """Return of each rate of the truth that is watched: its multiple of the best one, the label, and if it diverges."""
    told = json.loads((TRUTH_FOLDER / f"{combo.task}__{combo.optimizer}.json").read_text())
    return _labels([dict(zip(told["columns"], row, strict=True)) for row in told["runs"]])


def _labels(rows: Iterable[Mapping[str, Any]]) -> dict[float, tuple[float, Label, bool]]:
    values: dict[float, list[float]] = {}
    for row in rows:
        values.setdefault(row["lr"], []).append(
            math.inf if row["diverged"] is not None or row["val"] is None else row["val"]
        )
    medians = {lr: float(np.median(seen)) for lr, seen in values.items()}
    best = min(medians, key=medians.__getitem__)
    return {lr: (lr / best, label_of(lr, best, medians), math.isinf(medians[lr])) for lr in spread_out(medians, best)}


def spread_out(known: Iterable[float], best: float) -> list[float]:
    """Return those of the known rates that lie nearest to the multiples of the best one that are watched."""
    rates = list(known)
    return sorted({nearest(best * times, rates) for times in MULTIPLES})


def nearest(wanted: float, among: Iterable[float]) -> float:
    """Return the one of ``among`` that lies nearest to ``wanted`` in the logarithm."""
    return min(among, key=lambda one: abs(math.log(one / wanted)))


def label_of(lr: float, best: float, medians: Mapping[float, float]) -> Label:
    """Return what a rate is by its final loss: within a tenth of the best one, or on which side of it."""
    regret = (medians[lr] - medians[best]) / abs(medians[best])
    if regret <= _WITHIN:
        return "fine"
    return "too low" if lr < best else "too high"


def compute_verdicts(seeds: Sequence[int], *, workers: int = 2, path: Path = VERDICTS_FILE) -> None:
    """Watch every training at every rate and keep what was seen; goes on where it was stopped."""
    rows = list(read_rows(path)) if path.exists() else []
    known = {(row["kind"], row["task"], row["optimizer"]) for row in rows}
    every = [("unlike", name, one.optimizer) for name, one in TRAININGS.items()]
    every += [("built-in", combo.task, combo.optimizer) for combo in all_combos()]
    jobs = [(*one, seed) for one in every for seed in seeds if one not in known]
    for job, done in each_done(_watched, jobs, workers):
        if isinstance(done, Exception):
            raise done
        print(job, len(done), flush=True)
        rows += [asdict(row) for row in done]
        write_record(path, header("verdicts"), rows)


def _watched(job: tuple[str, str, str, int]) -> list[Watched]:
    kind, name, optimizer, seed = job
    torch.set_num_threads(1)
    if kind == "built-in":
        combo = Combo(name, optimizer)
        task, truth = build(combo, seed=seed), labels(combo)
    else:
        task = TRAININGS[name].task(seed=seed)
        told = json.loads((UNLIKE_FOLDER / f"{name}.json").read_text())
        rows = [dict(zip(told["columns"], row, strict=True)) for row in told["runs"]]
        truth = _labels(row for row in rows if row["steps"] == task.horizon)
    return [_watch(job, task, lr, *truth[lr]) for lr in truth]


def _watch(job: tuple[str, str, str, int], task: Task, lr: float, times: float, label: Label, lost: bool) -> Watched:
    watching, losses, looks = watched_half(task, lr, job[3])
    critical = [one.step for one in watching.findings if one.severity == "critical"]
    return Watched(
        *job[:3],
        lr=lr,
        times=times,
        label=label,
        looks=looks,
        alarms=tuple(one.code for one in watching.findings if one.severity != "info"),
        doubled=_doubled(losses),
        lost=lost,
        diverged=None if watching.record.diverged is None else watching.record.diverged[0],
        flagged=min(critical, default=None),
        nan=not all(map(math.isfinite, losses)),
        twice=_twice(losses),
    )


def watched_half(
    task: Task, lr: float, seed: int
) -> tuple[stepsize.Watch, list[float], dict[str, Mapping[str, float]]]:
    """Train half of the horizon while it is watched; return the watch, the losses, and the signals at each look."""
    losses: list[float] = []
    looks: dict[str, Mapping[str, float]] = {}
    at = {max(1, round(task.horizon * look)): look for look in LOOKS}
    with preserved(seed=seed):
        stepper, stream, factors = Stepper(task, lr), Stream(task.train), rung_factors(task, task.horizon)

        def validate() -> float:
            return evaluate(task, stepper.model, step=0).evaluation.loss

        with stepsize.watch(stepper.model, stepper.optimizer, steps=task.horizon, validate=validate) as watching:
            for step in range(max(at)):
                stepper.scale(factors[step])
                loss = stepper.update(stream.take(task.accumulate))
                losses.append(float(loss))
                watching.step(loss)
                if not math.isfinite(losses[-1]):
                    break
                if step + 1 in at and watching.record.diverged is None:
                    watching.report()  # reads all numbers that are on the way
                    found = rate_signals(watching.record).items()
                    looks[f"{at[step + 1]:g}"] = {name: round(v, 4) for name, v in found if not math.isnan(v)}
        assert not watching.broken, watching.broken
    return watching, losses, looks


def _doubled(losses: Sequence[float]) -> int | None:
    start = float(np.median(losses[:5]))
    for step in range(len(losses)):
        last = losses[max(0, step - 4) : step + 1]
        if not math.isfinite(losses[step]) or (step > 4 and float(np.median(last)) >= 2 * start):
            return step
    return None


def _twice(losses: Sequence[float]) -> bool:
    values = np.asarray(losses)
    return any(not values[n] < 2 * values[max(0, n - 100) : n].mean() for n in range(10, len(values)))


def judged(rows: Sequence[Watched], model: VerdictModel) -> Judged:
    """Return what the model says of every run at every look; a run that diverged counts as too high."""
    known = [(row, look) for row in rows for look in LOOKS if f"{look:g}" in row.looks or _over(row, look)]
    blank = dict.fromkeys(RATE_SIGNALS, math.nan)
    values = np.array(
        [[{**blank, **row.looks.get(f"{look:g}", {})}[name] for name in model.names] for row, look in known]
    )
    chances, ranges = model.outputs(model.prepared(values))
    over = np.array([_over(row, look) for row, look in known])
    chances[over], ranges[over] = (0.0, 0.0, 1.0), math.nan
    return Judged(
        np.array([RECORD_LOOKS.index(look) for _, look in known]),
        np.array([_SIDES.index(row.label) for row, _ in known]),
        np.array([-math.log10(row.times) for row, _ in known]),
        chances,
        ranges,
    )


def _over(row: Watched, look: float) -> bool:
    """Return whether a run had diverged by a look."""
    return f"{look:g}" not in row.looks and row.diverged is not None


def held_out(row: Watched) -> bool:
    """Return whether a training is used for nothing but figures."""
    return TRAININGS[row.task].held_out if row.kind == "unlike" else Combo(row.task, row.optimizer).held_out


def read_watched(path: Path = VERDICTS_FILE) -> list[Watched]:
    """Read the record of watched runs."""
    return [Watched(**{**row, "alarms": tuple(row["alarms"])}) for row in read_rows(path)]


def verdicts_report(path: Path = VERDICTS_FILE) -> str:
    """Return the tables of the record, as Markdown."""
    model, rows, lines = verdict_model(), read_watched(path), []
    for out, title in ((True, "Runs that are held out"), (False, "Runs of the design")):
        kept = [row for row in rows if held_out(row) is out]
        found = judged(kept, model)
        lines += [
            f"**{title}**, {len(kept)} runs",
            "",
            *figures(*found, model.least),
            "",
            *_confusion(found, model),
            "",
        ]
        lines += [*_divergence(kept), ""]
    return "\n".join(lines[:-1])


def said_at_quarter(row: Watched) -> str:
    """Return the code of the verdict at a quarter of the steps."""
    if _over(row, 1 / 4):
        return "diverged"
    model = verdict_model()
    chances = model.judge({**dict.fromkeys(RATE_SIGNALS, math.nan), **row.looks.get("0.25", {})}).chances
    place = int(np.argmax(chances))
    return _SIDES[place] if chances[place] >= model.least[place] else "inconclusive"


def _confusion(found: Judged, model: VerdictModel) -> list[str]:
    quarter = found.looks == RECORD_LOOKS.index(1 / 4)
    chances, sides = found.chances[quarter], found.sides[quarter]
    said = np.where(chances.max(axis=1) >= model.least[chances.argmax(axis=1)], chances.argmax(axis=1), 3)
    lines = ["| ground truth, at a quarter | too low | fine | too high | inconclusive |", "|---|---|---|---|---|"]
    for number, side in enumerate(_SIDES):
        counts = np.bincount(said[sides == number], minlength=4)
        lines.append(f"| {side} | " + " | ".join(map(str, counts)) + " |")
    return lines


def _divergence(rows: Sequence[Watched]) -> list[str]:
    good, high = ([row for row in rows if row.label == side] for side in ("fine", "too high"))
    alarmed = [row for row in good if {"too-low", "too-high", "diverging", "about-to-diverge"} & set(row.alarms)]
    lost = [row for row in rows if row.doubled is not None and row.lost]
    flagged = [row for row in lost if row.flagged is not None and row.flagged <= (row.doubled or 0)]
    values: Iterable[tuple[str, str]] = (
        ("any alarm on the rate on fine runs, by half of the steps", _share(len(alarmed), len(good))),
        ("diverging runs whose loss doubled: reported no later", _share(len(flagged), len(lost))),
        ("baseline, NaN check: too-high runs seen", _share(sum(row.nan for row in high), len(high))),
        ("baseline, loss ≥ 2× the mean of 100: too-high seen", _share(sum(row.twice for row in high), len(high))),
        ("the same: false alarms", _share(sum(row.twice for row in good), len(good))),
    )
    return ["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in values)]


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f}% ({part} of {whole})" if whole else "none"


def figures(looks: Any, sides: Any, times: Any, chances: Any, ranges: Any, least: Any) -> list[str]:
    """Return a table with a row for each look."""
    titles = (
        "look", "runs", "leaning right", "given", "right, of these", "*fine* given to fine runs", "fine runs accused",
        "range of the best rate: width", "holds it", "one-sided given", "right, of these",
    )  # fmt: skip
    lines = ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]
    for number, look in enumerate(RECORD_LOOKS):
        keep = looks == number
        if not keep.any():
            continue
        p, side, ends, best = chances[keep], sides[keep], ranges[keep], times[keep]
        lean = p.argmax(axis=1)
        told = p.max(axis=1) >= np.asarray(least)[lean]
        fine = side == 1
        not_it = np.where(p[:, 0] < p[:, 2], 0, 2)
        one = 1 - p[np.arange(len(p)), not_it] >= least[3]
        shares = [
            np.mean(lean == side), told.mean(), _mean(lean[told] == side[told]), _mean((told & (lean == 1))[fine]),
            _mean((told & (lean != 1))[fine]),
        ]  # fmt: skip
        known = np.isfinite(ends[:, 0])
        width = np.median(10 ** (ends[known, 2] - ends[known, 0]))
        held = np.mean(((ends[:, 0] <= best) & (best <= ends[:, 2]))[known])
        cells = [f"{look:.3g}", str(int(keep.sum())), *(f"{share:.1%}" for share in shares), f"{width:.1f}×"]
        cells += [f"{held:.1%}", f"{one.mean():.1%}", f"{_mean(side[one] != not_it[one]):.1%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _mean(values: Any) -> float:
    return float(values.mean()) if len(values) else float("nan")
