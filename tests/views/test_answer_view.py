"""The chart of an lr curve."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.views.chart_specs import flat_layers, named, texts, values

from stepsize.errors import InputError
from stepsize.views import CurveFit, CurvePoint, LrCurveView, lr_curve_chart, lr_curve_info, save_chart

pytestmark = pytest.mark.filterwarnings("error")


def loss_at(lr: float, steps: int) -> float:
    return 0.2 + 3 / math.sqrt(steps) + 0.2 * (math.log10(lr) + 2.2) ** 2


@pytest.fixture
def view() -> LrCurveView:
    rates = {125: (1e-4, 1e-3, 1e-2, 0.1, 1.0), 250: (1e-3, 1e-2, 0.1), 500: (0.003, 0.01)}
    points = tuple(
        CurvePoint(lr, math.inf if lr == 1.0 else loss_at(lr, steps) + 0.01 * seed, steps, seed, lr == 1.0)
        for steps, chosen in rates.items() for lr in chosen for seed in (0, 1)
    )  # fmt: skip
    grid = np.logspace(-3, -1, 40)
    mean = np.array([loss_at(lr, 500) for lr in grid])
    fit = CurveFit(grid, mean, mean - 0.05, mean + 0.05)
    return LrCurveView(
        points, "adamw", "warmup_cosine", 2000, 64, fit, 0.0052, (0.003, 0.009), 0.008,
        title="Learning rate for a net", verdict="Confident: because.",
    )  # fmt: skip


def test_rungs_are_named_by_their_steps_and_their_share_of_the_horizon(view: LrCurveView) -> None:
    assert lr_curve_info(view).series == ("125 steps (T/16)", "250 steps (T/8)", "500 steps (T/4)")
    odd = tuple(CurvePoint(0.1, 1.0, steps) for steps in (60, 1000, 2000))
    assert lr_curve_info(LrCurveView(odd, "sgd", "constant", 1000)).series == (
        "60 steps (T/17)", "1000 steps (T)", "2000 steps",
    )  # fmt: skip


def test_a_rung_is_connected_through_the_means_of_its_seeds_without_the_diverged(view: LrCurveView) -> None:
    lines = {line.series: line for line in lr_curve_info(view).judged.rungs}
    assert lines["125 steps (T/16)"].x == (1e-4, 1e-3, 1e-2, 0.1)
    assert lines["500 steps (T/4)"].y == pytest.approx([loss_at(lr, 500) + 0.005 for lr in (0.003, 0.01)])


def test_diverged_runs_are_crosses_at_the_top_edge_with_a_text_that_stays_in_the_plot(view: LrCurveView) -> None:
    info = lr_curve_info(view)
    assert [point.x for point in info.judged.points if point.kind == "diverged"] == [1.0, 1.0]
    assert all(point.y == info.judged.y.high for point in info.judged.points if point.kind == "diverged")
    assert info.judged.broken is not None
    assert (info.judged.broken.text, info.judged.broken.align) == ("2 diverged", "right")


@pytest.mark.parametrize(("rates", "align"), [
    ((1e-4, 2e-4), "left"), ((0.5, 1.0), "right"), ((0.01, 0.02), "center"), ((1e-4, 1.0), "center"),
])  # fmt: skip
def test_the_text_of_the_crosses_turns_inwards_at_an_edge(rates: tuple[float, ...], align: str) -> None:
    points = tuple(CurvePoint(lr, 1.0, 10) for lr in (1e-4, 1.0))
    points += tuple(CurvePoint(lr, math.nan, 10, diverged=True) for lr in rates)
    broken = lr_curve_info(LrCurveView(points, "sgd", "constant", 10)).judged.broken
    assert broken is not None
    assert broken.align == align


def test_recommendation_and_training_optimum_are_flags(view: LrCurveView) -> None:
    assert [(flag.text, flag.role) for flag in lr_curve_info(view).flags] == [
        ("recommended 0.0052", "lr"), ("best training loss 0.008", "optimum"),
    ]  # fmt: skip


def test_the_lines_below_the_title_say_what_the_answer_is_for(view: LrCurveView) -> None:
    assert lr_curve_info(view).lines == (
        "Confident: because.",
        "For adamw, warmup_cosine, T = 2000 steps, batch size 64.",
        "Faint: single runs, joined seed by seed; large: their means. Dark line: fit, carried to T, with its "
        "uncertainty.",
        "Green: the interval of the best rate, 0.003 to 0.009.",
    )


def test_a_run_that_ended_far_up_does_not_flatten_the_rest(view: LrCurveView) -> None:
    worse = LrCurveView((*view.points, CurvePoint(0.5, 400.0, 125)), "adamw", "c", 2000)
    info = lr_curve_info(worse)
    assert info.judged.y.high < 5
    assert [point.x for point in info.judged.points if point.kind == "above"] == [0.5]
    assert info.lines[-1] == "Triangles at the top: 1 above the axis, up to 400."


def test_losses_over_decades_are_drawn_on_a_log_axis_also_where_the_band_reaches_below_zero() -> None:
    points = tuple(CurvePoint(10.0**e, 10.0 ** (-2 - e), 10) for e in range(-5, 0))
    fit = CurveFit([1e-4, 1e-2], [1.0, 1.0], [-1.0, math.nan], [2.0, 2.0])
    info = lr_curve_info(LrCurveView(points, "sgd", "constant", 10, fit=fit))
    assert info.judged.y.log
    assert info.edges == ((1e-4, info.judged.y.low, 2.0),)


def test_the_spec_holds_runs_rungs_fit_band_interval_and_both_titled_axes(view: LrCurveView) -> None:
    spec = lr_curve_chart(view).to_dict()
    assert len(values(spec, named(spec, "points")[0])) == 18
    assert len(values(spec, named(spec, "points_diverged")[0])) == 2
    assert len(values(spec, named(spec, "fit_band")[0])) == 40
    assert values(spec, named(spec, "interval")[0]) == [{"x": 0.003, "x2": 0.009}]
    assert texts(spec) == ["recommended 0.0052", "best training loss 0.008", "2 diverged"]
    encoding = named(spec, "points")[0]["encoding"]
    assert (encoding["x"]["title"], encoding["x"]["scale"]["type"]) == ("learning rate", "log")
    assert encoding["y"]["title"] == "validation loss"
    assert encoding["shape"]["scale"]["domain"] == list(lr_curve_info(view).series)
    assert len(set(encoding["shape"]["scale"]["range"])) == 3
    assert len(set(encoding["color"]["scale"]["range"])) == 3
    dashed = [layer["mark"]["strokeDash"] for layer in flat_layers(spec) if layer["mark"]["type"] == "rule"]
    assert dashed == [[], [6, 4]]


def sweep_points(*, diverged: tuple[tuple[float, int], ...] = ()) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(lr, loss_at(lr, 500) + 0.01 * seed, 500, seed, (lr, seed) in diverged, train_loss=0.1 * lr + seed)
        for lr in (1e-3, 1e-2, 1e-1)
        for seed in (0, 1, 2)
    )


def test_runs_of_several_seeds_are_faint_joined_seed_by_seed_and_their_means_stand_out() -> None:
    view = LrCurveView(sweep_points(), "adamw", "cosine", 500)
    judged = lr_curve_info(view).judged
    assert [line.x for line in judged.seeds] == [(1e-3, 1e-2, 1e-1)] * 3
    assert [point.value for point in judged.means] == pytest.approx(
        [loss_at(lr, 500) + 0.01 for lr in (1e-3, 0.01, 0.1)]
    )
    spec = lr_curve_chart(view).to_dict()
    runs, means = named(spec, "points")[0], named(spec, "means")[0]
    assert runs["mark"]["opacity"] < 0.5 < means["mark"]["opacity"]
    assert runs["mark"]["size"] < means["mark"]["size"]


def test_a_single_seed_needs_no_means_and_no_lines_of_seeds() -> None:
    info = lr_curve_info(LrCurveView(tuple(p for p in sweep_points() if p.seed == 0), "adamw", "cosine", 500))
    assert (info.judged.means, info.judged.seeds) == ((), ())
    assert len(info.judged.rungs) == 1


def test_a_rate_that_most_seeds_did_not_survive_has_no_mean_and_parts_the_line() -> None:
    view = LrCurveView(sweep_points(diverged=((1e-2, 0), (1e-2, 2), (1e-1, 1))), "adamw", "cosine", 500)
    judged = lr_curve_info(view).judged
    assert [point.x for point in judged.means] == [1e-3, 1e-1]
    assert judged.rungs == ()  # two single rates, nothing to connect
    assert [line.x for line in judged.seeds] == [(1e-3, 1e-2)]


def test_runs_that_differ_in_more_than_the_rate_are_not_joined() -> None:
    judged = lr_curve_info(LrCurveView(sweep_points(), "adamw", "cosine", 500, joined=False)).judged
    assert judged.rungs == judged.seeds == ()
    assert len(judged.means) == 3


def test_training_losses_have_a_panel_of_their_own_below_with_both_optima_marked() -> None:
    points = sweep_points(diverged=((1e-1, 0),))
    view = LrCurveView(points, "adamw", "cosine", 500, lr=0.006, interval=(0.004, 0.009), train_optimum=0.02)
    info = lr_curve_info(view)
    assert info.train is not None
    assert [(point.x, point.value) for point in info.train.points][:2] == [(1e-3, 1e-4), (1e-3, 1 + 1e-4)]
    assert len(info.train.points) == 8  # the diverged one is told above
    upper, lower = (spec := lr_curve_chart(view).to_dict())["vconcat"]
    for panel in (upper, lower):
        assert sum(layer["mark"]["type"] == "rule" for layer in flat_layers(panel)) == 2
        assert len(named(panel, "interval")) == 1
    assert texts(spec) == ["recommended 0.006", "best training loss 0.02", "1 diverged"]
    assert named(lower, "points")[0]["encoding"]["y"]["title"] == "training loss"
    assert named(upper, "points")[0]["encoding"]["x"]["title"] is None


def test_longer_rungs_are_darker(view: LrCurveView) -> None:
    colours = named(lr_curve_chart(view).to_dict(), "points")[0]["encoding"]["color"]["scale"]["range"]
    lightness = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in colours]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 3


def test_the_confidence_of_the_interval_is_told(view: LrCurveView) -> None:
    sure = replace(view, confidence=0.8)
    assert "Green: the 80 % interval of the best rate, 0.003 to 0.009." in lr_curve_info(sure).lines
    with pytest.raises(InputError, match=r"confidence must lie between 0 and 1; got 80\. Write 80 % as 0.8"):
        replace(view, confidence=80)


def test_who_cannot_see_the_chart_is_told_its_title_and_its_lines(view: LrCurveView) -> None:
    told = lr_curve_chart(view).to_dict()["description"]
    assert told.startswith("Learning rate for a net. Confident: because. For adamw, warmup_cosine")


def test_a_sweep_of_many_rates_seeds_and_rungs_stays_small() -> None:
    points = tuple(
        CurvePoint(lr, loss_at(lr, n) + 0.01 * seed, n, seed, train_loss=0.1)
        for n in (50, 200, 800) for lr in np.logspace(-5, -1, 32) for seed in (0, 1, 2)
    )  # fmt: skip
    assert len(lr_curve_chart(LrCurveView(points, "adamw", "c", 800)).to_json(indent=None)) < 400_000


@pytest.mark.parametrize("points", [
    (CurvePoint(0.01, 0.5, 125),),
    tuple(CurvePoint(0.01, math.inf, 125, seed, True, math.inf) for seed in (0, 1)),
    tuple(CurvePoint(0.01, 0.5, 125, seed, train_loss=0.1 * seed) for seed in (0, 1)),
    tuple(CurvePoint(lr, math.inf, 125, 0, True) for lr in (0.01, 0.1)),
    (CurvePoint(0.01, math.nan, 125), CurvePoint(0.1, math.nan, 125)),
    tuple(CurvePoint(lr, 2.0, 125) for lr in (0.01, 0.1, 1.0)),
], ids=["single", "both diverged", "two seeds", "all diverged", "all not finite", "constant"])  # fmt: skip
def test_degenerate_curves_are_drawn_without_a_warning(
    points: tuple[CurvePoint, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    view = LrCurveView(points, "sgd", "constant", 1000, lr=0.01)
    assert save_chart(lr_curve_chart(view), tmp_path / "a.png").stat().st_size > 5000
    assert "WARN" not in capfd.readouterr().err


def test_data_that_cannot_be_drawn_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"points must hold at least one run; got \(\)"):
        LrCurveView((), "sgd", "constant", 10)
    with pytest.raises(InputError, match="points must have positive, finite rates"):
        LrCurveView((CurvePoint(0.0, 1.0, 10),), "sgd", "constant", 10)
    with pytest.raises(InputError, match="high must be a flat array, as long as lrs"):
        CurveFit([0.1], [1.0], [1.0], [1.0, 2.0])
