"""From the results of `find`, `sweep` and `compare` to their charts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stepsize.errors import InputError
from stepsize.study.space import Dimension, Range, scale_of
from stepsize.study.strategy import point_of
from stepsize.training.runs import Value
from stepsize.views import (
    Chart,
    CurveFit,
    MapDimension,
    MapRun,
    OutcomeGroup,
    RateCurve,
    Series,
    answer_info,
    best_so_far,
    curves_by_rate_info,
    draw,
    heat_map_chart,
    heat_map_info,
    outcomes_chart,
    outcomes_info,
    series_info,
)

if TYPE_CHECKING:
    from stepsize.curves.lr_model import LrModel
    from stepsize.study.comparison import Comparison, ContenderResult
    from stepsize.study.finding import Found
    from stepsize.study.result import SweepResult
    from stepsize.training.conditions import RunConditions

_ROUNDING = 1e-9  # of a rate, in decades
_POINTS = 60  # of a line over steps: means over so many stretches


def found_chart(found: Found, tried: Sequence[float] = ()) -> Chart:
    """Return the chart of loss against learning rate of a search: runs, curve, what is as good, the answer.

    ``tried`` are the rates of runs that have not ended.
    """
    return _answer_chart(found, str(found.answer), tried=tried)


def _answer_chart(found: Found | SweepResult, answer: str, **more: Any) -> Chart:
    conditions = found.conditions
    info = answer_info(
        [point_of(run) for run in found.runs],
        conditions.horizon,
        title=f"Loss vs. learning rate: {conditions.task}",
        answer=answer,
        conditions=_valid_for(conditions),
        curve=_fit(found.lr, found.curve, [run.lr for run in found.runs]),
        lr=found.lr,
        as_good=found.as_good,
        loss_label=conditions.objective,
        **more,
    )
    return draw(info)


def _fit(lr: float | None, curve: LrModel | None, tried: Sequence[float]) -> CurveFit | None:
    """Return the curve between the lowest and the highest rate tried; None without an answer."""
    if lr is None or curve is None:
        return None
    low, high = math.log10(min(tried)), math.log10(max(tried))
    shown = (curve.x >= low - _ROUNDING) & (curve.x <= high + _ROUNDING)
    return CurveFit(10 ** curve.x[shown], *(curve.loss(quantile)[shown] for quantile in (0.5, 0.1, 0.9)))


def _valid_for(conditions: RunConditions) -> str:
    size = "" if conditions.batch_size is None else f", batch size {conditions.batch_size}"
    return f"Valid for {conditions.optimizer}, {conditions.schedule}, {conditions.horizon:,} steps{size}."


def rates_chart(found: SweepResult, tried: Sequence[float] = ()) -> Chart:
    """Return the chart of loss against learning rate: every run, the curve, and the range that is as good.

    ``tried`` are the rates of runs that have not ended.
    """
    optimum = found.summary.train_optimum
    return _answer_chart(
        found,
        found.status,
        train=[replace(point_of(run), value=run.train_loss) for run in found.runs if not run.diverged],
        train_optimum=None if optimum is None else optimum.lr,
        joined=len(found.space.free) <= 1,
        tried=tried,
    )


def map_chart(found: SweepResult) -> Chart:
    """Return the loss over the rate and the first dimension that was searched beside it."""
    beside = next((one for one in found.space.free if one.name != "lr"), None)
    if beside is None:
        raise InputError("kind", "map", "needs a second dimension, and only lr was searched", "Take kind='rates'")
    runs = tuple(
        MapRun(run.trial.lr, run.trial.values[beside.name], run.value, diverged=run.diverged) for run in found.runs
    )
    name = beside.name.replace("_", " ")
    info = heat_map_info(
        runs,
        MapDimension(name, _map_scale(beside, [run.y for run in runs])),
        effective_lr=_ridge(found, [run.y for run in runs]) if beside.name == "momentum" else None,
        title=f"{found.conditions.objective.capitalize()} vs. learning rate and {name}: {found.conditions.task}",
        answer=found.status,
        loss_label=found.conditions.objective,
    )
    return heat_map_chart(info)


def _map_scale(dimension: Dimension, values: Sequence[Value]) -> Literal["log", "linear", "complement", "even"]:
    scale = dimension.scale if isinstance(dimension, Range) else scale_of(dimension.name)
    has_place = all(not isinstance(value, str) and (value > 0 or scale != "log") for value in values)
    return scale if has_place else "even"


def _ridge(found: SweepResult, momenta: Sequence[Value]) -> float | None:
    """Return lr / (1 - m) of the best configuration, if momentum varies."""
    known = [float(value) for value in momenta]
    if found.best is None or not min(known) < max(known) < 1:
        return None
    return found.best.lr / (1 - float(found.best.values["momentum"]))


def curves_chart(found: SweepResult) -> Chart:
    """Return the training loss over time of every run, colored by rate."""
    curves = tuple(
        RateCurve(
            lr=run.trial.lr,
            losses=run.losses,
            val_loss=run.val_loss,
            diverged_step=len(run.losses) - 1 if run.diverged else None,
        )
        for run in found.runs
        if len(run.losses)
    )
    title = f"Training loss vs. step, by learning rate: {found.conditions.task}"
    return draw(curves_by_rate_info(curves, title=title))


def cost_chart(found: SweepResult) -> Chart:
    """Return the best value so far against what was spent."""
    spent = [*itertools.accumulate(run.cost for run in found.runs)]
    info = series_info(
        [best_so_far(found.name, spent, [run.value for run in found.runs])],
        "cost",
        title=f"Best so far vs. cost: {found.conditions.task}",
        subtitle=f"{len(found.runs)} runs.",
        label=f"best {found.conditions.objective}",
    )
    return draw(info)


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
    return draw(
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
    return draw(info)


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
