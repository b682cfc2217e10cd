"""Chapter 2: crawl, progress, oscillation and divergence, without the noise of batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from docs.guide.charts import Series, line_chart, log_axis, plain_axis
from docs.guide.measuring import Effort, Grid, Measured, decades, difference_text, pairs, per_cent, small_task, table
from docs.guide.measuring import trained as train_grid

from stepsize.tasks import build_task
from stepsize.training import TensorBatches
from stepsize.views import number_text


def measure(effort: Effort) -> Measured:
    """Train with all rows in each batch, so that a loss that rises was raised by the rate."""
    steps, seeds = effort(200, 20), range(effort(5, 2))
    train = build_task("digits-mlp", device="cpu").train
    assert isinstance(train, TensorBatches)
    rows = len(train.tensors[0])
    task = small_task("digits", steps=steps, train=TensorBatches(train.tensors, rows))
    grid = train_grid(task, decades(1e-3, 10, effort(10, 3)), seeds)
    best, lost = grid.best(), grid.lost_from()
    shown = _shown(grid)
    rises = {lr: _rises(grid, lr) for lr in grid.lrs}
    rising = [lr for lr in grid.lrs if rises[lr] > 0.05 and lr < lost]
    tenth, hundredth = _nearest(grid, best / 10), _nearest(grid, best / 100)
    longer = train_grid(small_task("digits", steps=10 * steps, train=task.train), (tenth,), seeds)
    patience = pairs(longer.losses(tenth), grid.losses(best))
    jumpy = [lr for lr in rising if grid.losses(lr).mean() <= 1.1 * grid.losses(best).mean()]
    return Measured(
        gist=f"The best rate ({number_text(best)}) is {number_text(lost / best, 2)} times below the rate that "
        f"diverges. A tenth of it ends {per_cent(_excess(grid, tenth))} higher; ten times as many steps make up for "
        "that.",
        numbers={
            "best": best,
            "lost_from": lost,
            "room": lost / best,
            "excess_tenth": _excess(grid, tenth),
            "excess_hundredth": _excess(grid, hundredth),
            "patience": patience.value,
            "best_for_training_loss": grid.best_train(),
            "rises_at_best": rises[best],
        },
        blocks={
            "table": table(("rate", "× the best", "steps that raised the loss", "validation loss", "diverged"), shown),
            "low": f"A tenth of the best rate ends {per_cent(_excess(grid, tenth))} higher, a hundredth "
            f"{per_cent(_excess(grid, hundredth))}. With ten times as many steps, the tenth ends "
            f"{difference_text(patience, 'the best rate')}. No run got stuck; a low rate was only slow.",
            "high": f"At {number_text(lost)} and above, most runs diverge. That is only {number_text(lost / best, 2)} "
            f"times the best rate. {_jumpy(jumpy, best, rises[best])}",
            "train": f"The training loss is lowest at {number_text(grid.best_train())}, the validation loss at "
            f"{number_text(best)} (chapter 9).",
        },
        figures={"too-high-too-low": (_curves(grid, [row[0] for row in shown], steps), _final(grid))},
    )


def _shown(grid: Grid) -> list[tuple[str, str, str, str, str]]:
    best, lost = grid.best(), grid.lost_from()
    below = [lr for lr in grid.lrs if lr < lost]
    wanted = [_nearest(grid, best / 100), _nearest(grid, best / 10), best, below[-1], lost]
    return [
        (
            number_text(lr),
            f"{number_text(lr / best, 2)} ×",
            per_cent(_rises(grid, lr)),
            number_text(float(grid.losses(lr).mean())),
            f"{grid.diverged(lr)} of {len(grid.seeds)}",
        )
        for lr in dict.fromkeys(wanted)
        if lr in grid.lrs
    ]


def _rises(grid: Grid, lr: float) -> float:
    """Return the share of updates after which the loss of all training rows was higher than before."""
    shares = [np.mean(np.diff(grid.runs[lr, seed].losses) > 0) for seed in grid.seeds]
    return float(np.mean(shares))


def _jumpy(jumpy: list[float], best: float, at_best: float) -> str:
    if not jumpy:
        return "No rate at which more than one in twenty steps raised the loss came within 10% of the best loss."
    return (
        f"A loss that jumps does not mean divergence: at {number_text(jumpy[-1])} more than one in twenty steps raised "
        f"the loss, and the run still ended within 10% of the best. At the best rate, {number_text(best)}, "
        f"{per_cent(at_best)} of the steps did."
    )


def _excess(grid: Grid, lr: float) -> float:
    least = float(grid.losses(grid.best()).mean())
    return float(grid.losses(lr).mean()) / least - 1


def _nearest(grid: Grid, lr: float) -> float:
    return min(grid.lrs, key=lambda one: abs(np.log(one / lr)))


def _curves(grid: Grid, texts: list[str], steps: int) -> Any:
    lrs = [lr for lr in grid.lrs if number_text(lr) in texts]
    found = {lr: grid.runs[lr, grid.seeds[0]].losses for lr in lrs}
    series = [Series(number_text(lr), np.arange(1, len(losses) + 1), losses) for lr, losses in found.items()]
    levels = [loss for losses in found.values() for loss in losses if loss < 1.5 * grid.cap]
    y = plain_axis(levels, "training loss")
    x = plain_axis([0, steps], "step", may_log=False)
    return line_chart(series, x, y, "Training loss vs. step, by learning rate", ordered=True, columns=5)


def _final(grid: Grid) -> Any:
    means = [float(grid.losses(lr).mean()) for lr in grid.lrs]
    y = plain_axis(means, "final validation loss")
    return line_chart(
        [Series("mean", grid.lrs, means, points=True)], log_axis(grid.lrs), y, "Final validation loss vs. learning rate"
    )
