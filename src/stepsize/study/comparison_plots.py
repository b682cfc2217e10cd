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
    from stepsize.study.comparison import Comparison, ContenderResult

_POINTS = 60  # of a line over steps: means over so many stretches


def final_chart(found: Comparison) -> Chart:
    """Return what each contender reached at its tuned rate: rows are contenders, dots seeds."""
    values = {one.name: list(one.values.values()) for one in _trained(found)}
    group = OutcomeGroup(_panel(found), values, found.conditions.objective)
    title = f"{found.conditions.task}: each at its own tuned rate"
    return outcomes_chart(outcomes_info((group,), title=title, subtitle=found.status))


def tuning_chart(found: Comparison) -> Chart:
    """Return the loss over the rate while tuning, for each contender."""
    contenders = []
    for one in found.contenders:
        seen = sorted(one.tuning_runs, key=lambda run: run.trial.lr)
        if seen:
            lrs = [run.trial.lr for run in seen]
            losses = [run.value for run in seen]
            contenders.append(Series(one.name, lrs, losses, one.lr))
    subtitle = f"One seed while tuning; large dots are the rates that were chosen. {_panel(found)}."
    return series_chart(
        series_info(
            contenders,
            "learning rate",
            title=f"{found.conditions.task}: loss vs. learning rate",
            subtitle=subtitle,
            label=found.conditions.objective,
        )
    )


def steps_chart(found: Comparison) -> Chart:
    """Return the training loss over time at the tuned rates: means over the seeds."""
    contenders = [Series(one.name, *_course(one)) for one in _trained(found) if math.isfinite(one.train_loss)]
    info = series_info(
        contenders,
        "step",
        title=f"{found.conditions.task}: training loss at the tuned rates",
        subtitle=f"Means over {len(found.seeds)} seeds. {_panel(found)}.",
        label="training loss",
    )
    return series_chart(info)


def _trained(found: Comparison) -> list[ContenderResult]:
    return [one for one in found.contenders if one.final_runs]


def _course(one: ContenderResult) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return stretches of steps, and the mean loss over each and over the seeds that did not diverge."""
    runs = [run for run in one.final_runs if not run.diverged]
    shortest = min(len(run.losses) for run in runs)
    stretches = np.array_split(np.arange(shortest), min(_POINTS, shortest))
    steps = np.array([float(np.mean(runs[0].steps[stretch])) + 1 for stretch in stretches])
    return steps, np.array([np.mean([run.losses[stretch].mean() for run in runs]) for stretch in stretches])


def _panel(found: Comparison) -> str:
    return f"{found.conditions.task}, batch size {found.conditions.batch_size}"
