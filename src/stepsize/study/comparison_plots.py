"""From the result of a comparison to its charts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stepsize.views import (
    Chart,
    OutcomeGroup,
    Series,
    outcomes_chart,
    outcomes_info,
    series_chart,
    series_info,
)

if TYPE_CHECKING:
    from stepsize.study.comparison import BatchSizeResult, Comparison, ContenderResult

_POINTS = 60  # of a line over steps: means over so many stretches


def final_chart(found: Comparison) -> Chart:
    """Return what each contender reached at its tuned rate: rows are contenders, dots seeds, panels batch sizes."""
    groups = tuple(
        OutcomeGroup(
            _panel(found, result),
            {one.name: list(one.values.values()) for one in _trained(result)},
            found.conditions.objective,
        )
        for result in found.results
    )
    return outcomes_chart(outcomes_info(groups, title=_title(found), subtitle=found.status))


def tuning_chart(found: Comparison) -> Chart:
    """Return the loss over the rate while tuning, of the first batch size, for each contender."""
    first = found.results[0]
    contenders = []
    for one in first.contenders:
        seen = sorted(one.tuning_runs, key=lambda run: run.trial.lr)
        if seen:
            lrs = [run.trial.lr for run in seen]
            losses = [run.value for run in seen]
            contenders.append(Series(one.name, lrs, losses, one.lr))
    subtitle = f"One seed while tuning; large dots are the rates that were chosen. {_panel(found, first)}."
    return series_chart(
        series_info(
            contenders,
            "learning rate",
            title=f"{found.conditions.task}: loss vs. learning rate",
            subtitle=subtitle,
            loss_label=found.conditions.objective,
        )
    )


def steps_chart(found: Comparison) -> Chart:
    """Return the training loss over time at the tuned rates, of the first batch size: means over the seeds."""
    first = found.results[0]
    contenders = [Series(one.name, *_course(one)) for one in _trained(first) if math.isfinite(one.train_loss)]
    info = series_info(
        contenders,
        "step",
        title=f"{found.conditions.task}: training loss at the tuned rates",
        subtitle=f"Means over {len(found.seeds)} seeds. {_panel(found, first)}.",
        loss_label="training loss",
    )
    return series_chart(info)


def _trained(result: BatchSizeResult) -> list[ContenderResult]:
    return [one for one in result.contenders if one.final_runs]


def _course(one: ContenderResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return stretches of steps, and the mean loss over each and over the seeds that did not diverge."""
    runs = [run for run in one.final_runs if not run.diverged]
    shortest = min(len(run.losses) for run in runs)
    stretches = np.array_split(np.arange(shortest), min(_POINTS, shortest))
    steps = np.array([float(np.mean(runs[0].steps[stretch])) + 1 for stretch in stretches])
    return steps, np.array([np.mean([run.losses[stretch].mean() for run in runs]) for stretch in stretches])


def _panel(found: Comparison, result: BatchSizeResult) -> str:
    size = found.conditions.batch_size if result.batch_size is None else result.batch_size
    return f"{found.conditions.task}, batch size {size}"


def _title(found: Comparison) -> str:
    return f"{found.conditions.task}: each at its own tuned rate"
