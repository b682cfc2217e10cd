"""Chapter 9: whether a high rate overfits, which loss should choose it, and how optimistic a chosen loss is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from docs.guide.charts import Series, Upright, line_chart, log_axis, plain_axis
from docs.guide.measuring import (
    SMALL,
    Effort,
    Grid,
    Mean,
    Measured,
    change_text,
    decades,
    pairs,
    per_cent,
    small_task,
    table,
    trained,
)  # fmt: skip
from scipy import stats

from stepsize.training import Task, TensorBatches
from stepsize.views import number_text

_RANGE = (3e-4, 1)


def measure(effort: Effort) -> Measured:
    """Train three tasks over all rates, look at both losses on the way, and choose by one half of the unseen data."""
    steps = effort(600, 60)
    marks = sorted({int(step) for step in np.geomspace(5, steps, effort(24, 6))})
    seeds = range(effort(8, 2))
    grids = {name: trained(_task(name, steps), decades(*_RANGE, effort(5, 1)), seeds, evals=marks) for name in SMALL}
    gaps = {name: _gap_trend(grid) for name, grid in grids.items()}
    cost = {name: pairs(grid.losses(grid.best_train()), grid.losses(grid.best())) for name, grid in grids.items()}
    stopped = {name: _stopped(grid) for name, grid in grids.items()}
    hope = {name: _optimism(name, steps, effort) for name in SMALL}
    apart = {name: grid.best_train() / grid.best() for name, grid in grids.items()}
    left = [max(0.0, gain.value) for _, gain in stopped.values()]
    worst = max(cost, key=lambda name: cost[name].value)
    return Measured(
        gist=f"Yes, and the training loss does not show it. It selects a rate up to "
        f"{number_text(max(apart.values()), 2)} times higher than the validation loss does, with a validation loss up "
        f"to {per_cent(cost[worst].value)} higher ({worst}). With early stopping the difference is "
        f"{per_cent(min(left))} to {per_cent(max(left))}, depending on the task.",
        numbers={
            **{f"apart_{name}": value for name, value in apart.items()},
            **{f"cost_{name}": value.value for name, value in cost.items()},
            **{f"gap_trend_{name}": value for name, value in gaps.items()},
            **{f"early_stopped_{name}": value[1].value for name, value in stopped.items()},
            **{f"optimism_{name}": value.value for name, value in hope.items()},
        },
        blocks={
            "chosen": table(
                (
                    "task",
                    "selected by training loss",
                    "selected by validation loss",
                    "validation loss of the first, relative to the second",
                ),
                [
                    (
                        name,
                        number_text(grid.best_train()),
                        number_text(grid.best()),
                        change_text(cost[name]),
                    )
                    for name, grid in grids.items()
                ],
            ),
            "gap": "Rank correlation between the rate and the final gap (validation loss − training loss), over rates "
            "at which no run diverged: "
            + ", ".join(f"{name} {number_text(value, 2)}" for name, value in gaps.items())
            + ". Below the best rate both losses are high and the gap is small: that is underfitting.",
            "stopped": table(
                (
                    "task",
                    "at the end",
                    "each at its best evaluation",
                    "best evaluation at the rate that the training loss selected",
                ),
                [
                    (
                        name,
                        change_text(cost[name]),
                        change_text(stopped[name][1]),
                        f"after {per_cent(stopped[name][0])} of the steps",
                    )
                    for name in SMALL
                ],
            ),
            "optimism": "Regret of the selected rate on the other half, with one seed: "
            + ", ".join(f"{name} {per_cent(one.value)} ± {per_cent(one.half)}" for name, one in hope.items())
            + ". That much of a tuned loss is luck of the data that it was tuned on.",
        },
        figures={"validation-data": tuple(_chart(name, grids[name]) for name in ("digits", "diabetes"))},
    )


def _task(name: str, steps: int) -> Task:
    return small_task(name, "momentum", steps=steps)


def _gap_trend(grid: Grid) -> float:
    whole = [lr for lr in grid.lrs if not grid.diverged(lr)]
    gaps = [float((grid.losses(lr) - grid.train_losses(lr)).mean()) for lr in whole]
    return float(stats.spearmanr(whole, gaps).statistic)


def _stopped(grid: Grid) -> tuple[float, Mean]:
    """Return when the training's own choice of rate is best, and what it then loses against the best rate so "
    "treated."""
    lows = {lr: [_low(grid, lr, seed) for seed in grid.seeds] for lr in (grid.best_train(), grid.best())}
    chosen = lows[grid.best_train()]
    when = float(np.mean([step for step, _ in chosen])) / max(
        seen.step for seen in grid.runs[grid.best(), grid.seeds[0]].evaluations
    )
    return when, pairs([loss for _, loss in chosen], [loss for _, loss in lows[grid.best()]])


def _low(grid: Grid, lr: float, seed: int) -> tuple[int, float]:
    seen = grid.runs[lr, seed].evaluations
    least = min(seen, key=lambda one: one.loss)
    return least.step, least.loss


def _optimism(name: str, steps: int, effort: Effort) -> Mean:
    """Return what a rate that one half chose loses on the other, against that half's own choice."""
    task = _task(name, steps)
    assert isinstance(task.val, TensorBatches)
    tensors = task.val.tensors
    half = len(tensors[0]) // 2
    halves = [tuple(part[:half] for part in tensors), tuple(part[half:] for part in tensors)]
    lrs = decades(_RANGE[0] * 3, _RANGE[1] / 3, effort(10, 2))
    seeds = range(effort(8, 2))
    grids = [trained(replace(task, val=TensorBatches(rows, len(rows[0]), False)), lrs, seeds) for rows in halves]
    found = []
    for seed in seeds:
        for chooser, other in ((0, 1), (1, 0)):
            # Halves differ in difficulty: the excess over the half's own best is what compares.
            lr = grids[chooser].best([seed])
            fair = grids[other].means([seed]).min()
            found.append(float(grids[other].losses(lr, [seed])[0] / fair - 1))
    return Mean.of(found)


def _chart(name: str, grid: Grid) -> Any:
    whole = [lr for lr in grid.lrs if not grid.diverged(lr)]
    train = [float(grid.train_losses(lr).mean()) for lr in whole]
    val = [float(grid.losses(lr).mean()) for lr in whole]
    y = plain_axis([*train, *val], "final loss")
    return line_chart(
        (Series("training", whole, train, points=True), Series("validation", whole, val, points=True)),
        log_axis(whole),
        y,
        f"Final loss vs. learning rate: {name}",
        uprights=[Upright(grid.best(), "best validation", left=True), Upright(grid.best_train(), "best training")],
    )
