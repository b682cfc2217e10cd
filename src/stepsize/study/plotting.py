"""From the result of a sweep to its charts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.errors import InputError
from stepsize.study.space import Dimension, Range, scale_of
from stepsize.training.runs import Value
from stepsize.views import (
    AnswerView,
    BestAgainstCostView,
    Chart,
    CostSeries,
    CurveFit,
    CurvePoint,
    CurvesByRateView,
    HeatMapView,
    MapDimension,
    MapGuide,
    MapRun,
    RateCurve,
    answer_chart,
    best_against_cost_chart,
    constant_effective_lr,
    curves_by_rate_chart,
    heat_map_chart,
)

if TYPE_CHECKING:
    from stepsize.curves.lr_model import LrModel
    from stepsize.study.found import Found
    from stepsize.study.result import SweepResult
    from stepsize.training.conditions import Conditions

_ROUNDING = 1e-9  # of a rate, in decades


def found_chart(found: Found) -> Chart:
    """Return the chart of loss against learning rate of a search: runs, curve, the range that is as good, the answer.

    Raises:
        InputError: If no run has ended.
    """
    conditions = found.conditions
    view = AnswerView(
        points=tuple(CurvePoint(run.lr, run.value, run.setting.steps, run.seed, run.diverged) for run in found.runs),
        horizon=conditions.horizon,
        title=f"Loss vs. learning rate: {conditions.task}",
        answer=str(found.answer),
        conditions=_valid_for(conditions),
        curve=_fit(found.lr, found.curve, [run.lr for run in found.runs]),
        lr=found.lr,
        as_good=found.as_good,
        loss_label=conditions.judge,
    )
    return answer_chart(view)


def _fit(lr: float | None, curve: LrModel | None, tried: Sequence[float]) -> CurveFit | None:
    """Return the curve between the lowest and the highest rate tried; None without an answer."""
    if lr is None or curve is None:
        return None
    low, high = math.log10(min(tried)), math.log10(max(tried))
    shown = (curve.x >= low - _ROUNDING) & (curve.x <= high + _ROUNDING)
    return CurveFit(10 ** curve.x[shown], *(curve.loss(quantile)[shown] for quantile in (0.5, 0.1, 0.9)))


def _valid_for(conditions: Conditions) -> str:
    size = "" if conditions.batch_size is None else f", batch size {conditions.batch_size}"
    return f"Valid for {conditions.optimizer}, {conditions.schedule}, {conditions.horizon:,} steps{size}."


def rates_chart(found: SweepResult) -> Chart:
    """Return the chart of loss against learning rate: every run, the curve, and the range that is as good."""
    conditions = found.conditions
    points = tuple(
        CurvePoint(
            seen.trial.lr,
            seen.value,
            max(1, round(seen.share * conditions.horizon)),
            seen.seed,
            seen.diverged,
            seen.train_loss,
        )
        for seen in found.runs
    )
    view = AnswerView(
        points=points,
        horizon=conditions.horizon,
        title=f"Loss vs. learning rate: {conditions.task}",
        answer=found.status,
        conditions=_valid_for(conditions),
        curve=_fit(found.lr, found.curve, [run.lr for run in found.runs]),
        lr=found.lr,
        as_good=found.as_good,
        train_optimum=None if found.summary.train_optimum is None else found.summary.train_optimum.lr,
        loss_label=conditions.judge,
        seeds="joined" if len(found.space.free) <= 1 else "means",
    )
    return answer_chart(view)


def map_chart(found: SweepResult) -> Chart:
    """Return the loss over the rate and the first dimension that was searched beside it, on the longest horizon.

    Raises:
        InputError: If nothing was searched beside the rate.
    """
    beside = next((one for one in found.space.free if one.name != "lr"), None)
    if beside is None:
        raise InputError("kind", "map", "needs a second dimension, and only lr was searched", "Take kind='rates'")
    longest = max(run.share for run in found.runs)
    runs = tuple(
        MapRun(seen.trial.lr, seen.trial.values[beside.name], seen.value, diverged=seen.diverged)
        for seen in found.runs
        if seen.share == longest
    )
    name = beside.name.replace("_", " ")
    view = HeatMapView(
        x=MapDimension("learning rate"),
        y=MapDimension(name, _map_scale(beside, [run.y for run in runs])),
        runs=runs,
        guides=_ridge(found, [run.y for run in runs]) if beside.name == "momentum" else (),
        title=f"{found.conditions.task}: learning rate by {name}",
        verdict=found.status,
        loss_label=found.conditions.judge,
    )
    return heat_map_chart(view)


def _map_scale(dimension: Dimension, values: Sequence[Value]) -> Literal["log", "linear", "complement", "even"]:
    scale = dimension.scale if isinstance(dimension, Range) else scale_of(dimension.name)
    has_place = all(not isinstance(value, str) and (value > 0 or scale != "log") for value in values)
    return scale if has_place else "even"


def _ridge(found: SweepResult, momenta: Sequence[Value]) -> tuple[MapGuide, ...]:
    """Return the line along which lr / (1 - m) is that of the best setting."""
    known = [float(value) for value in momenta]
    if found.best is None or not min(known) < max(known) < 1:
        return ()
    effective = found.best.lr / (1 - float(found.best.values["momentum"]))
    least, most = 1 - max(known), 1 - min(known)
    return (constant_effective_lr(effective, [1 - least ** (k / 20) * most ** (1 - k / 20) for k in range(21)]),)


def curves_chart(found: SweepResult) -> Chart:
    """Return the training loss over time of every run on the longest horizon, coloured by rate."""
    longest = max(run.share for run in found.runs)
    curves = tuple(
        RateCurve(
            lr=run.trial.lr,
            losses=run.losses,
            val_loss=run.val_loss,
            diverged_step=len(run.losses) - 1 if run.diverged else None,
            seed=run.seed,
        )
        for run in found.runs
        if run.share == longest and len(run.losses)
    )
    return curves_by_rate_chart(CurvesByRateView(curves=curves, title=f"Training {found.conditions.task} by rate"))


def _cost_subtitle(found: SweepResult, longest: float) -> str:
    if all(run.share == longest for run in found.runs):
        return f"{len(found.runs)} runs."
    of = "the full horizon" if longest == 1 else f"{number_text(longest)} of the horizon"
    return f"Runs of {of}; what shorter ones cost is counted."


def cost_chart(found: SweepResult) -> Chart:
    """Return the best value so far against what was spent, over the runs of the longest horizon."""
    longest = max(run.share for run in found.runs)
    spent = np.cumsum([run.cost for run in found.runs])
    there = [index for index, run in enumerate(found.runs) if run.share == longest]
    values = [found.runs[index].value for index in there]
    series = CostSeries(found.name, spent[there], [value if math.isfinite(value) else math.inf for value in values])
    view = BestAgainstCostView(
        series=(series,),
        title=f"Best so far against cost: {found.conditions.task}",
        subtitle=_cost_subtitle(found, longest),
        loss_label=f"best {found.conditions.judge}",
    )
    return best_against_cost_chart(view)
