"""From the result of a sweep to its charts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from stepsize.curves.numerals import number_text
from stepsize.views import (
    BestAgainstCostView,
    Chart,
    CostSeries,
    CurveFit,
    CurvePoint,
    CurvesByRateView,
    LrCurveView,
    RateCurve,
    best_against_cost_chart,
    curves_by_rate_chart,
    lr_curve_chart,
)

if TYPE_CHECKING:
    from stepsize.search.result import SweepResult

__all__ = ["cost_chart", "curves_chart", "rates_chart"]

_CONFIDENCE = 0.8  # of a summary's interval


def rates_chart(found: SweepResult) -> Chart:
    """Return the lr curve: every run, the fit, and the interval of the best rate."""
    conditions, curve = found.conditions, found.curve
    fit = None if curve is None else CurveFit(curve.lrs, curve.loss, curve.low, curve.high)
    points = tuple(
        CurvePoint(
            seen.job.trial.lr,
            seen.value,
            max(1, round(seen.job.share * conditions.horizon)),
            seen.job.seed,
            seen.diverged,
            seen.train_loss,
        )
        for seen in found.outcomes
    )
    view = LrCurveView(
        points=points,
        optimizer=conditions.optimizer,
        schedule=conditions.schedule,
        horizon=conditions.horizon,
        batch_size=conditions.batch_size,
        fit=fit,
        lr=found.lr,
        interval=found.interval,
        train_optimum=None if found.summary.train_optimum is None else found.summary.train_optimum.lr,
        title=f"lr curve of {conditions.task}",
        verdict=found.status,
        loss_label=conditions.judge,
        confidence=None if found.interval is None else _CONFIDENCE,
        joined=len(found.space.free) <= 1,
    )
    return lr_curve_chart(view)


def curves_chart(found: SweepResult) -> Chart:
    """Return the training loss over time of every run on the longest horizon, coloured by rate."""
    longest = max(run.outcome.job.share for run in found.runs)
    curves = tuple(
        RateCurve(
            lr=run.outcome.job.trial.lr,
            losses=run.losses,
            val_loss=run.outcome.val_loss,
            diverged_step=len(run.losses) - 1 if run.outcome.diverged else None,
            seed=run.outcome.job.seed,
        )
        for run in found.runs
        if run.outcome.job.share == longest and len(run.losses)
    )
    return curves_by_rate_chart(CurvesByRateView(curves=curves, title=f"Training {found.conditions.task} by rate"))


def cost_chart(found: SweepResult) -> Chart:
    """Return the best value so far against what was spent, over the runs of the longest horizon."""
    longest = max(outcome.job.share for outcome in found.outcomes)
    spent = np.cumsum([outcome.cost for outcome in found.outcomes])
    there = [index for index, outcome in enumerate(found.outcomes) if outcome.job.share == longest]
    values = [found.outcomes[index].value for index in there]
    series = CostSeries(found.name, spent[there], [value if math.isfinite(value) else math.inf for value in values])
    view = BestAgainstCostView(
        series=(series,),
        title=f"Best so far against cost: {found.conditions.task}",
        subtitle=f"Runs of {number_text(longest)} of the horizon; what shorter ones cost is counted.",
        loss_label=f"best {found.conditions.judge}",
    )
    return best_against_cost_chart(view)
