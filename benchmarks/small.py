"""Seven tiny tasks with two optimizers, on which crowds of a population pay: the finder's second design ground.

They are as people try things out: small networks on digits, tumours, wines and diabetes, trained for some hundred
updates. Their cliffs are deep (a rate a little too high ends as an untrained model), which no built-in task shows. The
constants of the fit were chosen on short trainings of these too, so their regret is no prediction.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from torch import Tensor, nn

import stepsize
from benchmarks.combos import OPTIMIZERS, TOOL_SEEDS, rounded
from benchmarks.record import RECORDS_FOLDER, header, read_rows, write_record
from benchmarks.tables import markdown_table, percent
from benchmarks.truth_curve import TruthCurve
from stepsize import Task
from stepsize.training import Population, Setting

__all__ = ["SMALL_FILE", "compute_small", "small_report", "small_tasks"]

SMALL_FILE = RECORDS_FOLDER / "small.json"
_RATES = [rounded(10 ** (-5 + k / 4)) for k in range(26)]
_SEEDS = range(5)
_WAYS: dict[str, tuple[float, float | None]] = {  # budget and gain
    "find": (1.0, None),
    "find, one by one": (1.0, 1.0),
    "find, budget 3": (3.0, None),
    "find, budget 3, one by one": (3.0, 1.0),
}


def small_tasks(optimizers: Sequence[str] = OPTIMIZERS) -> Iterator[Task]:
    """Yield every task with every optimizer."""
    images = sklearn.datasets.load_digits()
    digits = _split(images.data / 16.0, images.target)
    pictures = _split(images.images[:, None] / 16.0, images.target)
    tumours = _table(sklearn.datasets.load_breast_cancer())
    wines = _table(sklearn.datasets.load_wine())
    diabetes = _table(sklearn.datasets.load_diabetes(), numbers=True)
    made: list[tuple[str, Callable[[], nn.Module], Any, int, int]] = [
        ("small-digits", lambda: _mlp(64, 64, 2, 10), digits, 500, 32),
        ("deep-tanh", lambda: _mlp(64, 32, 8, 10, nn.Tanh), digits, 600, 32),
        ("small-cnn", _cnn, pictures, 400, 32),
        ("small-cnn-norm", lambda: _cnn(norm=True), pictures, 400, 32),
        ("tumours", lambda: _mlp(30, 64, 2, 2), tumours, 300, 32),
        ("wines", lambda: _mlp(13, 32, 1, 3, nn.Tanh), wines, 200, 16),
        ("small-diabetes", lambda: _mlp(10, 32, 1, 1), diabetes, 200, 32),
    ]
    for name, model, (train, val), steps, batch_size in made:
        loss = nn.functional.mse_loss if name == "small-diabetes" else nn.functional.cross_entropy
        for optimizer in optimizers:
            yield Task(
                model=model, loss=loss, train=train, val=val, optimizer=optimizer, steps=steps, batch_size=batch_size,
                schedule="warmup 5%, cosine", name=f"{name}, {optimizer}",
            )  # fmt: skip


def _split(x: Any, y: Any, *, numbers: bool = False) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return three quarters to train on and a quarter of unseen data."""
    order = np.random.default_rng(0).permutation(len(x))
    unseen, seen = order[: len(x) // 4], order[len(x) // 4 :]
    features = torch.tensor(np.asarray(x), dtype=torch.float32)
    targets = torch.tensor(np.asarray(y), dtype=torch.float32)[:, None] if numbers else torch.tensor(np.asarray(y))
    return (features[seen], targets[seen]), (features[unseen], targets[unseen])


def _table(data: Any, *, numbers: bool = False) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    x = (data.data - data.data.mean(0)) / data.data.std(0)
    y = (data.target - data.target.mean()) / data.target.std() if numbers else data.target
    return _split(x, y, numbers=numbers)


def _mlp(inputs: int, width: int, depth: int, outputs: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    sizes = [inputs, *[width] * depth]
    hidden = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), act())]
    return nn.Sequential(*hidden, nn.Linear(width, outputs))


def _cnn(*, norm: bool = False) -> nn.Module:
    def block(inputs: int, outputs: int) -> list[nn.Module]:
        between = [nn.BatchNorm2d(outputs)] if norm else []
        return [nn.Conv2d(inputs, outputs, 3, padding=1), *between, nn.ReLU()]

    return nn.Sequential(*block(1, 8), nn.MaxPool2d(2), *block(8, 16), nn.Flatten(), nn.Linear(256, 10))


def truth_of(task: Task) -> TruthCurve:
    """Return the final losses of full trainings over a grid of rates and several seeds, trained as a population."""
    settings = [Setting(lr, seed, task.horizon) for seed in _SEEDS for lr in _RATES]
    runs = Population()(task, settings)
    untrained = float(np.median([run.losses[0] for run in runs]))
    lost = np.array([run.divergence is not None or not math.isfinite(run.val_loss) for run in runs])
    values = np.array(
        [untrained if gone else min(run.val_loss, untrained) for run, gone in zip(runs, lost, strict=True)]
    )
    shape = (len(_SEEDS), len(_RATES))
    return TruthCurve(np.array(_RATES), values.reshape(shape), lost.reshape(shape), untrained)


def compute_small(path: Path = SMALL_FILE) -> None:
    """Measure the truth of each task, let find answer in every way, and write the record."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for task in small_tasks():
        truth = truth_of(task)
        for way, (budget, gain) in _WAYS.items():
            for seed in TOOL_SEEDS:
                found = stepsize.find(task, budget, seed=seed, gain=gain)
                regret = truth.regret(found.lr).value if found.lr is not None else None
                rows.append(
                    {
                        "task": task.name,
                        "way": way,
                        "seed": seed,
                        "lr": None if found.lr is None else rounded(found.lr),
                        "regret": None if regret is None else rounded(regret),
                        "gain": rounded(found.cost.gain),
                        "wall": None if found.cost.wall is None else rounded(found.cost.wall),
                        "best": rounded(truth.best_lr),
                    }
                )
        write_record(path, header("small"), rows)
        print(f"{task.name}: done", flush=True)


def small_report(path: Path = SMALL_FILE) -> str:
    """Return the table of the record."""
    rows = read_rows(path)
    if not rows:
        return "No record yet: `python -m benchmarks small`."
    lines = [
        _line(way, [row for row in rows if row["way"] == way]) for way in dict.fromkeys(row["way"] for row in rows)
    ]
    heads = ["what picks the rate", "median", "p90", "worst", "no answer", "with a crowd", "wall: median (p90)"]
    return markdown_table(heads, lines)


def _line(way: str, rows: Sequence[dict[str, Any]]) -> list[str]:
    regrets = np.array([row["regret"] for row in rows if row["regret"] is not None])
    walls = np.array([row["wall"] for row in rows if row["wall"] is not None])
    figures = [percent(float(value)) for value in (*np.quantile(regrets, (0.5, 0.9)), regrets.max())]
    crowds = f"{sum(row['gain'] > 1 for row in rows)} of {len(rows)}"
    wall = f"{np.median(walls):.2f} ({np.quantile(walls, 0.9):.2f})"
    return [way, *figures, str(len(rows) - len(regrets)), crowds, wall]
