"""What `follow` gains: the final test loss from the optimizer's usual rate, beside what else the cost could buy.

Half of the validation data of each training selects, and the other half is the test set. The tuned rate is that of the
ground truth, which knows both halves.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

import stepsize
from benchmarks.combos import rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.replay import load_truth, select
from benchmarks.tables import markdown_table, percent
from benchmarks.unlike.trainings import TRAININGS, Unlike
from benchmarks.workers import each_done
from stepsize.optimizers.adaptive import Adapted
from stepsize.training import Run, Task, TensorBatches
from stepsize.training.evaluate import evaluate

__all__ = ["FOLLOWING_FILE", "compute_following", "following_report"]

FOLLOWING_FILE = RECORDS_FOLDER / "following.json"
_SEEDS = (0, 1, 2)
_SETS = {
    "of the design": ("digits-logistic", "mnist-batch-norm", "wine-tanh", "digits-fine-tuned", "docs-gpt"),
    "held out of the design": (
        "diabetes-linear", "shoppers-machine", "mnist-rows", "cancer-residual", "digits-smoothed", "photo-sine",
    ),
}  # fmt: skip
_TITLES = {
    "usual": "the usual rate",
    "adapt": "`adapt` at the usual rate",
    "prodigy": "Prodigy",
    "find": "`find` + one run",
    "forks": "`follow` as it was, forks that continue",
    "follow": "`follow` from the usual rate",
}


@dataclass(frozen=True)
class Ended:
    """How a training ended.

    Attributes:
        training: Its name.
        method: What chose the rate.
        seed: Random seed.
        lr: The rate, over the usual one.
        val: Loss on the half that selects; infinite if it diverged.
        test: Loss on the other half.
        cost: In full runs.
    """

    training: str
    method: str
    seed: int
    lr: float
    val: float
    test: float
    cost: float


@dataclass(frozen=True)
class _Halves:
    """A training whose validation data are split: ``task`` selects, ``test`` scores."""

    name: str
    usual: float
    best: float
    task: Task
    test: Task


def compute_following(methods: Iterable[str] = (), workers: int = 2, path: Path = FOLLOWING_FILE) -> None:
    """Train everything, or only again the methods named, and write the record."""
    again = tuple(methods) or tuple(_METHODS)
    rows = [row for row in read_rows(path) if row["method"] not in again] if path.exists() else []
    jobs = [(name, method) for method in again for names in _SETS.values() for name in names]
    for job, done in each_done(_ended, jobs, workers):
        if isinstance(done, Exception):
            raise done
        rows += [asdict(one) for one in done]
        write_record(path, header("following"), sorted(rows, key=lambda row: (row["training"], row["method"])))
        print(*job, flush=True)


def _ended(job: tuple[str, str]) -> list[Ended]:
    name, method = job
    torch.set_num_threads(1)
    halves = _halves(TRAININGS[name])
    return [_of(halves, method, *_METHODS[method](halves, seed), seed) for seed in _SEEDS]


def _halves(one: Unlike) -> _Halves:
    whole = one.task()
    (truth,) = load_truth(select([one.name]))
    val = whole.val
    assert isinstance(val, TensorBatches)
    # The schedule as it was given: the resolved one would be resolved twice.
    task, test = (
        dataclasses.replace(
            whole,
            val=TensorBatches(tuple(t[half::2] for t in val.tensors), val.batch_size, False),
            schedule=whole.given_schedule,
            epochs=None,
        )
        for half in (0, 1)
    )
    return _Halves(one.name, one.usual, truth.full.best_lr, task, test)


_Done = tuple[Run, float]  # a run with its model, and the cost


def _plain(halves: _Halves, lr: float, seed: int) -> _Done:
    return stepsize.train(halves.task, lr, seed=seed), 1.0


def _adapted(halves: _Halves, seed: int) -> _Done:
    made = dataclasses.replace(
        halves.task, optimizer=Adapted(halves.task.optimizer), schedule=halves.task.given_schedule, epochs=None
    )
    return stepsize.train(made, halves.usual, seed=seed), 1.0


def _prodigy(halves: _Halves, seed: int) -> _Done:
    made = dataclasses.replace(halves.task, optimizer="prodigy", schedule=halves.task.given_schedule, epochs=None)
    return stepsize.train(made, 1.0, seed=seed), 1.0


def _found(halves: _Halves, seed: int) -> _Done:
    """Search with a budget of one run and a half on other seeds, then train once: the cost of `follow`."""
    found = stepsize.find(halves.task, budget=1.5, seed=seed + 10)
    run, _ = _plain(halves, found.lr or halves.usual, seed)
    return run, found.cost.full_runs + 1.0


def _followed(halves: _Halves, seed: int) -> _Done:
    followed = stepsize.follow(halves.task, halves.usual, seed=seed)
    return followed.run, followed.cost


_METHODS: Mapping[str, Callable[[_Halves, int], _Done]] = {
    "tuned": lambda halves, seed: _plain(halves, halves.best, seed),
    "usual": lambda halves, seed: _plain(halves, halves.usual, seed),
    "adapt": _adapted,
    "prodigy": _prodigy,
    "find": _found,
    "follow": _followed,
}


def _of(halves: _Halves, method: str, run: Run, cost: float, seed: int) -> Ended:
    val = test = math.inf
    if run.divergence is None and run.model is not None:
        val, test = (evaluate(one, run.model, step=1).evaluation.loss for one in (halves.task, halves.test))
    lr = rounded(run.setting.lr / halves.usual)
    return Ended(halves.name, method, seed, lr, rounded(val), rounded(test), rounded(cost))


def following_report(path: Path = FOLLOWING_FILE) -> str:
    """Return the table of the record, as Markdown."""
    rows = [Ended(**row) for row in read_rows(path)]
    tables = [_table(title, [row for row in rows if row.training in names]) for title, names in _SETS.items()]
    return "\n\n".join([*tables, _per_training(rows)])


def _table(title: str, rows: Sequence[Ended]) -> str:
    heads = ["tasks " + title, "cost", "above tuned: median", "p90", "worst", "worse than the usual rate"]
    tuned, usual = (_tests(rows, method) for method in ("tuned", "usual"))
    lines = []
    for method, name in _TITLES.items():
        own = _tests(rows, method)
        if not own:
            continue
        excess = [float(np.mean(own[key]) / np.mean(tuned[key]) - 1) for key in own]
        worse = sum(_worse(np.array(own[key]), np.array(usual[key])) for key in own)
        cost = np.mean([row.cost for row in rows if row.method == method])
        quantiles = np.quantile(excess, (0.5, 0.9), method="inverted_cdf")
        figures = ["diverged" if math.isinf(one) else percent(float(one)) for one in (*quantiles, max(excess))]
        lines.append([name, f"{cost:.1f}", *figures, f"{worse} of {len(own)}" if method != "usual" else "–"])
    return markdown_table(heads, lines)


def _tests(rows: Iterable[Ended], method: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in sorted((row for row in rows if row.method == method), key=lambda row: row.seed):
        found.setdefault(row.training, []).append(row.test)
    return found


def _worse(own: np.ndarray, usual: np.ndarray) -> bool:
    """Return whether the mean over seeds is above that of the usual rate by more than two paired errors and 1%."""
    if not (np.isfinite(own).all() and np.isfinite(usual).all()):
        return bool(np.isfinite(usual).all())
    far = own - usual
    return bool(far.mean() > max(2 * far.std(ddof=1) / math.sqrt(len(far)), 0.01 * usual.mean()))


def _per_training(rows: Sequence[Ended]) -> str:
    """Return the mean test losses, one line per training."""
    names = list(dict.fromkeys(row.training for row in rows))
    methods = ["tuned", *(method for method in _TITLES if _tests(rows, method))]
    tests = {method: _tests(rows, method) for method in methods}
    lines = [[name, *(f"{np.mean(tests[method].get(name, math.nan)):.4g}" for method in methods)] for name in names]
    return markdown_table(["task, mean test loss", *methods], lines)
