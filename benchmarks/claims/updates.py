"""Claims 1 and 5: what single updates do, measured on the weights themselves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.claims.arms import Arm, built
from benchmarks.combos import rounded
from stepsize.optimizers import OPTIMIZERS
from stepsize.training.batches import Stream
from stepsize.training.position import preserved, seed_everything
from stepsize.training.stepping import Stepper

__all__ = ["FACTORS", "FIXED", "UPDATE_OPTIMIZERS", "UPDATE_TASKS", "measure_updates"]

UPDATE_TASKS = ("digits-mlp", "cancer-mlp", "photos-mlp", "docs-chars-gpt")
UPDATE_OPTIMIZERS = ("sgd", "momentum", "adagrad", "rmsprop", "adam")
FIXED = "sgd"
FACTORS = (0.1, 1.0, 10.0)
_PAST, _WINDOW = 40, 20  # updates
_RATES = {"sgd": 0.03, "momentum": 0.01, "adagrad": 0.01, "rmsprop": 1e-3, "adam": 1e-3}
_LEAST_SHARE = 1e-6  # of the largest gradient: weights that saw none have no step to speak of

Vector = NDArray[np.float64]


def measure_updates(job: tuple[str, str, int]) -> dict[str, Any]:
    """Return what the updates of a task, an optimizer and a seed look like, as a row.

    ``slope``: d log(length of the update) / d log(rate) from the same state on the same batch, over two decades.
    ``off``: |update + lr · gradient| / |lr · gradient|, the worst of the three rates.
    ``way``: the same slope for the distance from the start after the updates of two whole trainings, ten times apart.
    ``spread``: decades between the 10th and the 90th percentile, over the weights, of the sum of |update| over the sum
    of |gradient| in 20 updates. ``rank``: Spearman's correlation of that with the root mean square of the weight's
    gradients in the 40 updates before.
    """
    task_name, optimizer, seed = job
    torch.set_num_threads(1)
    task = built(Arm("update", task_name, optimizer, _PAST + _WINDOW, "constant"))
    lr = _RATES[optimizer]
    with preserved(seed=seed):
        stepper = Stepper(task, lr)
        stream = Stream(task.train)
        start = _weights(stepper)
        past: list[Vector] = []
        for _ in range(_PAST):
            stepper.update([next(stream)])
            past.append(_gradient(stepper))
        lengths, off = _same_batch(stepper, next(stream), lr, seed)
        moved, pulled = np.zeros_like(start), np.zeros_like(start)
        for _ in range(_WINDOW):
            before = _weights(stepper)
            stepper.update([next(stream)])
            moved += np.abs(_weights(stepper) - before)
            pulled += np.abs(_gradient(stepper))
        gone = float(np.linalg.norm(_weights(stepper) - start))
    rms = np.sqrt(np.mean(np.square(past), axis=0))
    seen = (pulled > _LEAST_SHARE * pulled.max()) & (rms > _LEAST_SHARE * rms.max()) & (moved > 0)
    effective = np.log10(moved[seen] / pulled[seen])
    low, high = np.quantile(effective, (0.1, 0.9))
    far = _distance(job, 10 * lr)
    return {
        "study": "updates",
        "task": task_name,
        "optimizer": optimizer,
        "seed": seed,
        "slope": rounded(float(np.polyfit(np.log(FACTORS), np.log(lengths), 1)[0])),
        "off": rounded(off),
        "way": rounded(math.log10(far / gone)) if math.isfinite(far) and far > 0 else None,
        "spread": rounded(float(high - low)),
        "rank": rounded(float(spearmanr(effective, rms[seen]).statistic)) if high - low > 1e-3 else None,
    }


def _same_batch(stepper: Stepper, batch: Any, lr: float, seed: int) -> tuple[list[float], float]:
    """Return the lengths of one update at several rates from the same state, and the worst deviation from -lr · g."""
    lengths, worst = [], 0.0
    for factor in FACTORS:
        seed_everything(seed)  # the same dropout for all
        fork = stepper.forked()
        fork.scale(factor)
        before = _weights(fork)
        fork.update([batch])
        step, plain = _weights(fork) - before, -factor * lr * _gradient(fork)
        lengths.append(float(np.linalg.norm(step)))
        worst = max(worst, float(np.linalg.norm(step - plain) / np.linalg.norm(plain)))
    return lengths, worst


def _distance(job: tuple[str, str, int], lr: float) -> float:
    """Return how far from its start a training at ``lr`` has gone."""
    task = built(Arm("update", job[0], job[1], _PAST + _WINDOW, "constant"))
    with preserved(seed=job[2]):
        stepper = Stepper(task, lr)
        stream, start = Stream(task.train), _weights(stepper)
        for _ in range(task.horizon):
            stepper.update([next(stream)])
        return float(np.linalg.norm(_weights(stepper) - start))


def _weights(stepper: Stepper) -> Vector:
    return torch.cat([p.detach().flatten() for p in stepper.model.parameters()]).double().numpy().copy()


def _gradient(stepper: Stepper) -> Vector:
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in stepper.model.parameters()]
    return torch.cat([part.flatten() for part in parts]).double().numpy()


assert all(OPTIMIZERS[name] for name in UPDATE_OPTIMIZERS)
