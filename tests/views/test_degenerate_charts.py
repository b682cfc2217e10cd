"""Every chart of hardly any data, or of data that say nothing, is drawn, and no part of it complains."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stepsize.curves.lr_model import Point
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
    range_test_info,
    run_info,
    save_chart,
    schedule_info,
    series_info,
)

pytestmark = pytest.mark.filterwarnings("error")

FIT = {"lr": 0.01, "as_good": (0.01, 0.01), "curve": CurveFit([0.01], [0.5], [0.4], [0.6])}
FIELDS = ("lr", "momentum", "weight_decay", "effective_lr")
GRID = [(lr, m) for lr in (1e-3, 1e-2, 1e-1, 1.0) for m in (0.0, 0.9, 0.99)]
LRS = np.logspace(-8, -2, 30)


def answer(*points: Point) -> Chart:
    return draw(answer_info(points, 125, train=points, lr=0.01))


def fitted(*points: Point) -> Chart:
    return draw(answer_info(points, 125, train=points, **FIT))  # type: ignore[arg-type]


def curves(*runs: RateCurve) -> Chart:
    return draw(curves_by_rate_info(runs))


def heat_map(*runs: MapRun) -> Chart:
    return heat_map_chart(heat_map_info(runs, MapDimension("momentum", "complement")))


def outcomes(*losses: float) -> Chart:
    return outcomes_chart(outcomes_info([OutcomeGroup("digits", {"a": losses})]))


def ranges(lrs: object, losses: object, **more: object) -> Chart:
    return draw(range_test_info(lrs, losses, **more))  # type: ignore[arg-type]


def run(losses: object, **more: object) -> Chart:
    return draw(run_info(losses, **more))  # type: ignore[arg-type]


def schedule(*lr: float) -> Chart:
    return draw(schedule_info(range(len(lr)), {"a": dict.fromkeys(FIELDS, lr) | {"timescale": np.abs(lr)}}))


def series(*several: Series) -> Chart:
    return draw(series_info(several, "cost", title="Degenerate"))


def broken(lr: float) -> RateCurve:
    return RateCurve(lr, np.append(np.logspace(0.3, 12, 29), math.nan), diverged_step=30)


CHARTS: dict[str, Callable[[], Chart]] = {
    **{
        f"{shown.__name__}: {name}": lambda shown=shown, points=points: shown(*points)  # type: ignore[misc]
        for shown in (answer, fitted)
        for name, points in {
            "single": (Point(0.01, 0.5),),
            "both diverged": tuple(Point(0.01, math.inf, seed=seed, diverged=True) for seed in (0, 1)),
            "two seeds": tuple(Point(0.01, 0.5 * seed, seed=seed) for seed in (0, 1)),
            "all diverged": tuple(Point(lr, math.inf, diverged=True) for lr in (0.01, 0.1)),
            "all not finite": (Point(0.01, math.nan), Point(0.1, math.nan)),
            "constant": tuple(Point(lr, 2.0) for lr in (0.01, 0.1, 1.0)),
            "negative": tuple(Point(lr, -0.9 - lr) for lr in (0.01, 0.02, 0.05)),
        }.items()
    },
    "curves: one step": lambda: curves(RateCurve(0.1, [1.0])),
    "curves: nothing finite": lambda: curves(RateCurve(0.1, [math.nan, math.inf], diverged_step=1)),
    "curves: all diverged": lambda: curves(broken(1.0), broken(2.0)),
    "curves: constant": lambda: curves(RateCurve(0.1, np.ones(20), 1.0), RateCurve(0.1, np.ones(20), math.inf)),
    "curves: zero": lambda: curves(RateCurve(0.1, np.zeros(20))),
    "map: single run": lambda: heat_map(MapRun(0.1, 0.9, 1.0)),
    "map: all diverged": lambda: heat_map(*(MapRun(lr, m, math.inf, True) for lr, m in GRID)),
    "map: constant": lambda: heat_map(*(MapRun(lr, m, 2.0) for lr, m in GRID)),
    "map: zero": lambda: heat_map(*(MapRun(lr, m, 0.0) for lr, m in GRID)),
    "map: one momentum, negative": lambda: heat_map(*(MapRun(lr, 0.9, -1.0 - lr) for lr, _ in GRID)),
    "outcomes: nothing": lambda: outcomes(math.nan),
    "outcomes: zero": lambda: outcomes(0.0, 0.0),
    "outcomes: both signs": lambda: outcomes(-1.0, 1.0),
    "outcomes: sixty decades": lambda: outcomes(1e-30, 1e30),
    "range test: single point": lambda: ranges([1e-3], [2.0], lr=1e-3),
    "range test: nothing finite": lambda: ranges([1e-3] * 3, [math.nan, math.inf, -math.inf], diverged_at=1e-3),
    "range test: constant": lambda: ranges(LRS, [1e3] * 30, fit_lrs=LRS, fit_losses=[1e3] * 30, start_loss=1e3),
    "range test: explosion": lambda: ranges(LRS, -1 / LRS, start_loss=math.nan, interval=(1e-7, 1e-6)),
    "range test: no fit": lambda: ranges(
        LRS, LRS * 0, fit_lrs=[1e-7, 1e-6], fit_losses=[math.nan, math.inf], high=1e-6
    ),
    "run: nothing finite": lambda: run([math.nan], lrs=[0.1], diverged_step=0),
    "run: single step": lambda: run([1.0], lrs=[0.1]),
    "run: constant": lambda: run([1.0] * 20, lrs=[0.0] * 20, val_steps=[20], val_losses=[math.nan]),
    "schedule: zero": lambda: schedule(0.0),
    "schedule: zeros": lambda: schedule(0.0, 0.0),
    "schedule: both signs": lambda: schedule(0.1, -0.1),
    "schedule: eighteen decades": lambda: schedule(1e-12, 1e6),
    "series: single run": lambda: series(best_so_far("a", [1.0], [0.5])),
    "series: nothing reached": lambda: series(best_so_far("a", [1.0, 2.0], [math.inf, math.inf])),
    "series: negative": lambda: series(Series("a", [1.0, 2.0], [0.0, 0.0]), Series("b", [1.0, 2.0], [0.0, -1.0])),
}


@pytest.mark.parametrize("name", CHARTS)
def test_hardly_any_data_are_drawn_without_a_warning(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert save_chart(CHARTS[name](), tmp_path / "a.svg").stat().st_size > 1000
    assert "WARN" not in capfd.readouterr().err
