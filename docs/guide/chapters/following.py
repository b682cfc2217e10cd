"""Chapter 11: rates that are adapted during training, from a start that is too low, right or too high."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from benchmarks.record import RECORDS_FOLDER, read_rows
from docs.guide.charts import Series, line_chart, log_axis, plain_axis
from docs.guide.measuring import SMALL, Effort, Measured, decades, per_cent, small_task, table, trained, untrained
from torch import Tensor

import stepsize
from stepsize import schedules
from stepsize.optimizers import OPTIMIZERS
from stepsize.optimizers.adaptive import Adapted
from stepsize.training import Metric, Run, Task
from stepsize.training.batches import Stream
from stepsize.training.evaluate import evaluate
from stepsize.training.position import preserved
from stepsize.views import number_text

_STARTS = (0.01, 1.0, 10.0)
_LOOK = 10  # updates between two looks of the plateau rule


@dataclass(frozen=True)
class _Outcome:
    """What a way reached from a start.

    Attributes:
        excess: On the half that judges, over the tuned training, ÷ its loss.
        guided: The same on the half that guides.
        cost: In trainings.
    """

    excess: float
    guided: float
    cost: float


_Losses = tuple[float, float]  # on the half that judges, and on the one that guides
_Way = Callable[[Task, float, int], tuple[_Losses, float]]


def measure(effort: Effort) -> Measured:
    """Let each way train from each start on each task; a half of the unseen data guides, the other one judges."""
    steps = effort(300, 60)
    seeds = effort.judging[: effort(3, 1)]
    ways = _ways()
    starts = _STARTS if effort.full else _STARTS[:1]
    found: dict[tuple[str, float], list[_Outcome]] = {(way, start): [] for way in ways for start in starts}
    paths: list[Any] = []
    for name in SMALL:
        task = _halved(small_task(name, "momentum", steps=steps, schedule="cosine warmup=5%"))
        best, least = _tuned(task, effort, seeds)
        for start in starts:
            for way, run in ways.items():
                found[way, start] += [_outcome(run, task, start * best, seed, least[seed]) for seed in seeds]
        if name == "digits":
            paths.append(_path(task, best, seeds[0]))
    median = {key: float(np.median([one.excess for one in of])) for key, of in found.items()}
    worst = {key: max(one.excess for one in of) for key, of in found.items()}
    cost = {way: float(np.mean([one.cost for start in starts for one in found[way, start]])) for way in ways}
    low = min(starts)
    return Measured(
        gist=f"Started 100 times too low, a fixed schedule ends {per_cent(median['fixed', low])} above the tuned run "
        f"(median of three tasks), a plateau rule {per_cent(median['Plateau', low])}, and `follow` "
        f"{per_cent(median['follow', low], sign=True)} at {number_text(cost['follow'], 2)} times the cost of one run.",
        numbers={f"median_{way}_{start:g}": value for (way, start), value in median.items()}
        | {f"worst_{way}_{start:g}": value for (way, start), value in worst.items()}
        | {f"cost_{way}": value for way, value in cost.items()},
        blocks={
            "table": table(
                ("method", "cost in full runs", *(f"start {start:g} × best" for start in starts)),
                [
                    (
                        _TITLES[way],
                        number_text(cost[way], 2),
                        *(
                            f"{per_cent(median[way, start], sign=True)} (worst "
                            f"{per_cent(worst[way, start], sign=True)})"
                            for start in starts
                        ),
                    )
                    for way in ways
                ],
            ),
            "right": _at_the_right_rate(ways, median, starts)
            + f" `follow` {_flattered([one for start in starts for one in found['follow', start]])}",
            "steadiest": _steadiest(ways, starts, median, worst),
            "overhead": _overhead(),
        },
        figures={"following": tuple(paths)},
    )


_TITLES = {
    "fixed": "none: cosine as planned",
    "follow": "`follow`",
    "Plateau": "`Plateau` on a constant rate",
    "adapt": "`adapt`",
}


def _ways() -> dict[str, _Way]:
    return {"fixed": _fixed, "follow": _follow, "Plateau": _plateau, "adapt": _adapted}


def _at_the_right_rate(ways: dict[str, _Way], median: dict[tuple[str, float], float], starts: tuple[float, ...]) -> str:
    if 1.0 not in starts:
        return "Not measured in the short form."
    better = [way for way in ways if way != "fixed" and median[way, 1.0] < -0.02]
    worse = [way for way in ways if way != "fixed" and median[way, 1.0] > 0.02]
    return (
        "Started at the rate that was tuned for the schedule, the median is more than 2% below the schedule alone for "
        f"{', '.join(better) or 'no method'} and more than 2% above it for {', '.join(worse) or 'no method'}."
    )


def _flattered(outcomes: list[_Outcome]) -> str:
    judged, guided = (
        float(np.median(values)) for values in zip(*((o.excess, o.guided) for o in outcomes), strict=True)
    )
    return (
        f"ended {per_cent(guided, sign=True)} from the tuned run on the validation half, which it selects on, and "
        f"{per_cent(judged, sign=True)} on the test half (median over all starts)."
    )


def _steadiest(
    ways: dict[str, _Way],
    starts: tuple[float, ...],
    median: dict[tuple[str, float], float],
    worst: dict[tuple[str, float], float],
) -> str:
    medians = {way: max(median[way, start] for start in starts) for way in ways}
    worsts = {way: max(worst[way, start] for start in starts) for way in ways}
    by_median, by_worst = min(ways, key=medians.__getitem__), min(ways, key=worsts.__getitem__)
    return (
        f"Lowest median over all starts: {by_median} ({per_cent(medians[by_median], sign=True)} from its worst start). "
        f"Lowest worst case: {by_worst} ({per_cent(worsts[by_worst], sign=True)})."
    )


def _overhead() -> str:
    rows = read_rows(RECORDS_FOLDER / "adaptive.json")
    shares = [row["overhead"] for row in rows if "overhead" in row and row["rule"] == "polyak-decaying"]
    return (
        "Cost does not include evaluations on validation data. `adapt` adds "
        f"{per_cent(max(shares))} to the time of a step ([benchmarks](../benchmarks.md))."
    )


def _halved(task: Task) -> Task:
    """Return ``task`` judged by the first half of its unseen data, with the loss on the second as ``test``."""

    def half(first: bool) -> Callable[[Tensor, Tensor], Tensor]:
        def of(output: Tensor, target: Tensor) -> Tensor:
            middle = len(target) // 2
            rows = slice(None, middle) if first else slice(middle, None)
            return task.loss(output[rows], target[rows])

        return of

    metrics = {"guide": Metric(half(True), maximize=False), "test": Metric(half(False), maximize=False)}
    return replace(task, metrics=metrics, objective="guide", epochs=None)


def _tuned(task: Task, effort: Effort, seeds: tuple[int, ...]) -> tuple[float, dict[int, _Losses]]:
    """Return the rate that the guiding half chose, and both losses of each judging seed with it."""
    grid = trained(task, decades(1e-3, 1, effort(5, 1)), (*effort.tuning, *seeds))
    whole = [lr for lr in grid.lrs if not grid.diverged(lr)]
    guide = {lr: np.mean([grid.runs[lr, seed].objective("guide") for seed in effort.tuning]) for lr in whole}
    lr = min(guide, key=lambda one: float(guide[one]))
    return lr, {seed: _both(grid.runs[lr, seed]) for seed in seeds}


def _outcome(way: _Way, task: Task, lr: float, seed: int, least: _Losses) -> _Outcome:
    losses, cost = way(task, lr, seed)
    cap = untrained(task)
    judged, guided = (min(loss, cap) / best - 1 for loss, best in zip(losses, least, strict=True))
    return _Outcome(judged, guided, cost)


def _both(run: Run) -> _Losses:
    if run.divergence is not None:
        return np.inf, np.inf
    metrics = run.evaluations[-1].metrics
    return float(metrics["test"]), float(metrics["guide"])


def _fixed(task: Task, lr: float, seed: int) -> tuple[_Losses, float]:
    return _both(stepsize.train(task, lr, seed=seed)), 1.0


def _follow(task: Task, lr: float, seed: int) -> tuple[_Losses, float]:
    followed = stepsize.follow(task, lr, seed=seed)
    return _both(followed.run), followed.cost


def _adapted(task: Task, lr: float, seed: int) -> tuple[_Losses, float]:
    adapting = replace(task, optimizer=Adapted("momentum"), epochs=None)
    return _both(stepsize.train(adapting, lr, seed=seed)), 1.0


def _plateau(task: Task, lr: float, seed: int) -> tuple[_Losses, float]:
    """Train at a constant rate that is halved where the guiding loss makes no progress that is worth waiting for."""
    with preserved(seed=seed):
        model, stream = task.model(), Stream(task.train)
        optimizer = OPTIMIZERS["momentum"].make(model.parameters(), lr)
        bound = stepsize.bind(schedules.constant(), optimizer, steps=task.horizon)
        plateau = stepsize.Plateau(bound)
        for step in range(1, task.horizon + 1):
            optimizer.zero_grad()
            loss = task.compute_loss(model, next(stream))
            if not torch.isfinite(loss):
                return (np.inf, np.inf), 1.0
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            bound.step()
            if step % _LOOK == 0:
                plateau.observe(evaluate(task, model, step=step).evaluation.metrics["guide"])
        final = evaluate(task, model, step=task.horizon).evaluation.metrics
    judged, guided = (loss if np.isfinite(loss) else np.inf for loss in (final["test"], final["guide"]))
    return (judged, guided), 1.0


def _path(task: Task, best: float, seed: int) -> Any:
    """Draw the rates of the runs that were kept from two starts beside the tuned one."""
    assert callable(task.factor)
    factors = np.array([task.factor(step) for step in range(task.horizon)])
    peaks = {
        name: stepsize.follow(task, times * best, seed=seed).lr
        for name, times in (("started at 0.01 × best", 0.01), ("started at 10 × best", 10.0))
    }
    steps = np.arange(1, task.horizon + 1)
    series = [Series(name, steps, lr * factors) for name, lr in (peaks | {"tuned, as planned": best}).items()]
    y = log_axis([best / 300, 30 * best])
    return line_chart(series, plain_axis([0, task.horizon], "step", may_log=False), y, "Learning rate vs. step: digits")
