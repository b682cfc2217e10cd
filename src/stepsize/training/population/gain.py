"""What a member of a population costs, beside a plain training: measured on a few updates before any plan."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from stepsize.training.batches import Stream, to_device
from stepsize.training.border import undisturbed
from stepsize.training.evaluate import autocast
from stepsize.training.executor import Executor, InOrder
from stepsize.training.population.population import Population
from stepsize.training.runs import Progress, Setting
from stepsize.training.stepping import build_model
from stepsize.training.task import Task

__all__ = ["CROWD", "Gain", "known_gain", "measure_gain", "rounded_gain"]

CROWD = 8  # members: enough to share the overhead of an update, few enough to be spent on one horizon
_UPDATES = 4  # the first warms up, the quickest of the others counts
_WORTH_IT = 2.5  # times cheaper: below, a few runs that are placed by each other say more than a crowd
_FORWARDS = 3.0  # an update is so many forward passes
_PROBE = 384  # rows and columns of the matrices that tell how fast the device can be
_TINY = 1e-9  # a rate at which nothing diverges


@dataclass(frozen=True)
class Gain:
    """How much cheaper the members of a crowd are than plain trainings.

    Attributes:
        factor: Updates of members a second, over updates a second of a plain training; 1.0 where no crowd is formed.
            Rounded down to 2.5, 3.5, 5, 7.1, 10, ..., so that it comes out alike when it is measured again.
        passes: What measuring took, in forward passes of a batch of plain training.
        reason: Why no crowd is formed, in a line; empty where one is.
    """

    factor: float
    passes: float = 0.0
    reason: str = ""


def rounded_gain(factor: float) -> float:
    """Return ``factor`` rounded down to 2.5 times a power of the root of 2; 1.0 where a crowd is not worth it.

    Example:
        >>> [round(rounded_gain(factor), 2) for factor in (2.4, 2.5, 3.4, 8.1)]
        [1.0, 2.5, 2.5, 7.07]
    """
    if factor < _WORTH_IT:
        return 1.0
    return float(_WORTH_IT * 2 ** (math.floor(2 * math.log2(factor / _WORTH_IT) + 1e-9) / 2))


def known_gain(factor: float, task: Task) -> Gain:
    """Return what :func:`measure_gain` would, had it measured ``factor``: the same plan follows from it.

    A factor that forms no crowd is not charged for.
    """
    rounded = rounded_gain(factor)
    return Gain(rounded, _passes(task, rounded) if rounded > 1 else 0.0)


def _passes(task: Task, factor: float) -> float:
    return _FORWARDS * _UPDATES * task.accumulate * (1 + CROWD / factor)


def measure_gain(task: Task, seed: int) -> Gain:
    """Measure how much cheaper :data:`CROWD` runs of ``task`` are together than one after the other.

    Random generators and data positions stay as they were. Where a plain update is arithmetic already, which a
    population has to do as well, nothing more is measured.

    Args:
        task: What would be trained.
        seed: Of the weights.

    Returns:
        The gain, with what measuring it took.
    """
    plain = _seconds(InOrder(), task, seed, 1)
    passes = _FORWARDS * _UPDATES * task.accumulate
    most = plain / max(_least(task, seed), 1e-12)
    if most < _WORTH_IT:
        return Gain(1.0, passes, f"an update is arithmetic already: at most {most:.1f} times faster")
    population = Population()
    reason = population.fits(task, Setting(_TINY, seed, _UPDATES, 1))
    if reason is not None:
        return Gain(1.0, passes, reason)
    together = _seconds(population, task, seed, CROWD)
    factor = rounded_gain(CROWD * plain / together)
    # Charged by the rounded figure, so that a plan that counts it comes out alike again.
    return Gain(
        factor,
        _passes(task, factor),
        "" if factor > 1 else f"members cost {together / CROWD / plain:.2f} plain trainings",
    )


def _seconds(executor: Executor, task: Task, seed: int, members: int) -> float:
    """Return the least seconds of an update of ``members`` runs."""
    marks: dict[int, float] = {}
    device = torch.device(task.device or "cpu")

    def watch(progress: Progress) -> None:
        if progress.step not in marks:  # each member tells of the same update
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            marks[progress.step] = time.perf_counter()

    settings = [Setting(_TINY, seed, _UPDATES, 1) for _ in range(members)]
    executor(task, settings, watcher=watch)
    moments = [marks[step] for step in sorted(marks)]
    return _least_gap(moments)


def _least_gap(moments: Sequence[float]) -> float:
    return min((after - before for before, after in itertools.pairwise(moments)), default=math.inf)


def _least(task: Task, seed: int) -> float:
    """Return the seconds that the arithmetic of an update takes at the device's best."""
    with undisturbed(task, seed), torch.no_grad(), autocast(task), FlopCounterMode(display=False) as counter:
        model = build_model(task)
        task.compute_loss(model, to_device(next(Stream(task.train)), torch.device(task.device or "cpu")))
    operations = _FORWARDS * task.accumulate * float(counter.get_total_flops())
    return operations / _speed(torch.device(task.device or "cpu"))


def _speed(device: torch.device) -> float:
    """Return the operations a second of a product of matrices."""
    matrix = torch.ones(_PROBE, _PROBE, device=device)
    best = math.inf
    for _ in range(4):
        began = time.perf_counter()
        (matrix @ matrix)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - began)
    return 2.0 * _PROBE**3 / best
