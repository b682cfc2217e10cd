"""The chart of every answer that is a rate."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.views.chart_specs import flat_layers, named, texts, values

from stepsize.errors import InputError
from stepsize.views import AnswerView, CurveFit, CurvePoint, answer_chart, answer_info, save_chart

pytestmark = pytest.mark.filterwarnings("error")


def loss_at(lr: float, steps: int) -> float:
    return 0.2 + 3 / math.sqrt(steps) + 0.2 * (math.log10(lr) + 2.2) ** 2


def fitted(steps: int) -> CurveFit:
    grid = np.logspace(-4, 0, 80)
    loss = np.array([loss_at(lr, steps) for lr in grid])
    return CurveFit(grid, loss, loss - 0.02, loss + 0.02)


@pytest.fixture
def view() -> AnswerView:
    rates = {500: (1e-4, 1e-3, 1e-2, 0.1, 1.0), 2000: (0.003, 0.006, 0.01)}
    points = tuple(
        CurvePoint(lr, math.inf if lr == 1.0 else loss_at(lr, steps), steps, 0, lr == 1.0)
        for steps, chosen in rates.items()
        for lr in chosen
    )
    return AnswerView(
        points,
        2000,
        "Loss vs. learning rate: a net",
        "lr 0.0052, as good from 0.003 to 0.009. Settled: because.",
        "Valid for AdamW, cosine, 2,000 steps.",
        fitted(2000),
        0.0052,
        (0.003, 0.009),
    )


def test_the_longest_runs_stand_out_and_the_others_are_faint(view: AnswerView) -> None:
    final = answer_info(view).final
    assert {point.series for point in final.points} == {"full runs (2,000 steps)"}
    assert {point.series for point in final.shorter} == {"500 steps"}
    spec = answer_chart(view).to_dict()
    longest, shorter = named(spec, "points")[0], named(spec, "shorter")[0]
    assert (len(values(spec, longest)), len(values(spec, shorter))) == (3, 1)  # the other short runs lie on the edge
    assert longest["mark"]["size"] > shorter["mark"]["size"]


def test_longer_runs_are_darker_and_the_legend_names_runs_and_curve(view: AnswerView) -> None:
    color = named(answer_chart(view).to_dict(), "points")[0]["encoding"]["color"]
    assert color["scale"]["domain"] == ["500 steps", "full runs (2,000 steps)", "estimated loss, 10–90% band"]
    lightness = [sum(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for shade in color["scale"]["range"]]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 3


def test_runs_of_which_none_is_full_are_named_by_their_steps() -> None:
    points = (CurvePoint(0.1, 1.0, 60), CurvePoint(0.2, 1.0, 1500))
    assert answer_info(AnswerView(points, 2000)).series == ("60 steps", "1,500 steps")


def test_the_axis_shows_the_surroundings_of_the_best_loss_whatever_lies_far_above(view: AnswerView) -> None:
    y = answer_info(view).final.y
    awful = (*view.points, CurvePoint(0.5, 400.0, 2000), CurvePoint(0.4, 90.0, 2000), CurvePoint(0.3, 30.0, 500))
    info = answer_info(replace(view, points=awful))
    assert info.final.y == y
    assert [point.x for point in info.final.points if point.kind == "above"] == [0.5, 0.4]
    assert info.lines[-1] == "Triangles at the top: 2 above the axis, up to 400."
    best, beside = loss_at(10**-2.2, 2000), max(loss_at(0.003 / 10**0.5, 2000), loss_at(0.009 * 10**0.5, 2000))
    assert y.position(best) < 0.1
    assert 0.8 < y.position(beside) < 1.1


def test_a_wide_band_does_not_flatten_the_curve(view: AnswerView) -> None:
    assert view.curve
    loss = np.asarray(view.curve.loss)
    wide = replace(view, curve=replace(view.curve, low=loss - 5, high=loss + 5))
    assert answer_info(wide).final.y == answer_info(view).final.y


def test_a_wall_beside_the_range_does_not_flatten_the_curve(view: AnswerView) -> None:
    grid = np.logspace(-4, 0, 80)
    loss = np.array([loss_at(lr, 2000) + (1000.0 if lr > 0.01 else 0.0) for lr in grid])
    info = answer_info(replace(view, curve=CurveFit(grid, loss, loss - 0.01, loss + 0.01)))
    assert info.final.y.high < 1.0


def test_shorter_runs_far_below_do_not_flatten_the_curve_either(view: AnswerView) -> None:
    low = tuple(replace(point, loss=0.01) if point.steps == 500 else point for point in view.points)
    info = answer_info(replace(view, points=low))
    assert info.final.y.low > 0.15
    assert {point.kind for point in info.final.shorter} == {"below", "diverged"}
    assert not [line for line in info.lines if "Triangles" in line], "only the longest runs are explained"


def test_diverged_runs_are_crosses_at_the_top_edge_with_a_text_that_stays_in_the_plot(view: AnswerView) -> None:
    final = answer_info(view).final
    assert [(point.x, point.y) for point in final.shorter if point.kind == "diverged"] == [(1.0, final.y.high)]
    assert final.broken is not None
    assert (final.broken.text, final.broken.align) == ("1 diverged", "right")


@pytest.mark.parametrize(
    ("rates", "align"),
    [((1e-4, 2e-4), "left"), ((0.5, 1.0), "right"), ((0.01, 0.02), "center"), ((1e-4, 1.0), "center")],
)
def test_the_text_of_the_crosses_turns_inwards_at_an_edge(rates: tuple[float, ...], align: str) -> None:
    points = tuple(CurvePoint(lr, 1.0, 10) for lr in (1e-4, 1.0))
    points += tuple(CurvePoint(lr, math.nan, 10, diverged=True) for lr in rates)
    broken = answer_info(AnswerView(points, 10)).final.broken
    assert broken is not None
    assert broken.align == align


@pytest.mark.parametrize(
    ("span", "lr", "low", "high", "align"),
    [
        ((1e-3, 1e-2), 2e-3, 2e-3, 1e-2, "center"),  # the part above the rate is the wider one
        ((1e-3, 1e-2), 5e-3, 1e-3, 5e-3, "center"),
        ((1e-3, 1e-2), 1e-3, 1e-3, 1e-2, "center"),
        ((1e-3, 1.1e-3), 1e-3, 1.1e-3, 1.3e-3, "left"),  # too narrow: beside it
        ((0.9, 1.0), 1.0, 0.7, 0.9, "right"),
    ],
)
def test_the_name_of_the_range_meets_no_rule_and_stays_in_the_plot(
    span: tuple[float, float], lr: float, low: float, high: float, align: str
) -> None:
    points = tuple(CurvePoint(rate, 1.0, 10) for rate in (1e-4, 1.0))
    caption = answer_info(AnswerView(points, 10, lr=lr, as_good=span)).range_name
    assert caption is not None
    assert (caption.text, caption.align) == ("as good", align)
    assert low < caption.x < high


def test_rate_and_training_optimum_are_flags(view: AnswerView) -> None:
    both = replace(view, train_optimum=0.008)
    assert [(flag.text, flag.role) for flag in answer_info(both).flags] == [
        ("lr 0.0052", "lr"),
        ("lowest training loss 0.008", "optimum"),
    ]


def test_the_lines_below_the_title_are_the_answer_and_its_conditions(view: AnswerView) -> None:
    assert answer_info(view).lines == (view.answer, view.conditions)


def test_a_long_answer_is_split_between_the_rate_and_the_verdict(view: AnswerView) -> None:
    verdict = "Open: " + " ".join(["word"] * 18) + "."
    long = replace(view, answer=f"lr 0.0052, as good from 0.003 to 0.009. {verdict}")
    assert answer_info(long).lines == ("lr 0.0052, as good from 0.003 to 0.009.", verdict, view.conditions)


def test_no_sentence_of_the_chart_is_jargon(view: AnswerView) -> None:
    spec = answer_chart(view).to_json()
    for word in ("carried to T", "interval of the best rate", "recommended", "judged", "rung"):
        assert word not in spec


def test_losses_over_decades_are_drawn_on_a_log_axis_also_where_the_band_reaches_below_zero() -> None:
    points = tuple(CurvePoint(10.0**e, 10.0 ** (-2 - e), 10) for e in range(-5, 0))
    curve = CurveFit([1e-4, 1e-2], [1.0, 1.0], [-1.0, math.nan], [2.0, 2.0])
    info = answer_info(AnswerView(points, 10, curve=curve))
    assert info.final.y.log
    assert info.band == ((1e-4, info.final.y.low, 2.0),)


def test_the_spec_holds_runs_curve_band_range_and_both_titled_axes(view: AnswerView) -> None:
    spec = answer_chart(view).to_dict()
    assert len(values(spec, named(spec, "curve")[0])) == len(values(spec, named(spec, "band")[0])) == 80
    assert values(spec, named(spec, "interval")[0]) == [{"x": 0.003, "x2": 0.009}]
    assert texts(spec) == ["as good", "lr 0.0052", "1 diverged"]
    encoding = named(spec, "points")[0]["encoding"]
    assert (encoding["x"]["title"], encoding["x"]["scale"]["type"]) == ("learning rate", "log")
    assert encoding["y"]["title"] == "validation loss"
    assert spec["title"]["text"] == "Loss vs. learning rate: a net"


def sweep_points(*, diverged: tuple[tuple[float, int], ...] = ()) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(lr, loss_at(lr, 500) + 0.01 * seed, 500, seed, (lr, seed) in diverged, train_loss=0.1 * lr + seed)
        for lr in (1e-3, 1e-2, 1e-1)
        for seed in (0, 1, 2)
    )


def test_runs_of_several_seeds_are_faint_joined_seed_by_seed_and_their_means_stand_out() -> None:
    view = AnswerView(sweep_points(), 500, seeds="joined")
    final = answer_info(view).final
    assert [line.x for line in final.seeds] == [(1e-3, 1e-2, 1e-1)] * 3
    assert [point.value for point in final.means] == pytest.approx(
        [loss_at(lr, 500) + 0.01 for lr in (1e-3, 0.01, 0.1)]
    )
    assert [line.x for line in final.joined] == [(1e-3, 1e-2, 1e-1)]
    spec = answer_chart(view).to_dict()
    runs, means = named(spec, "points")[0], named(spec, "means")[0]
    assert runs["mark"]["opacity"] < 0.5 < means["mark"]["opacity"]
    assert runs["mark"]["size"] < means["mark"]["size"]


def test_a_single_seed_needs_no_means_and_no_lines_of_seeds() -> None:
    single = tuple(point for point in sweep_points() if point.seed == 0)
    info = answer_info(AnswerView(single, 500, seeds="joined"))
    assert (info.final.means, info.final.seeds) == ((), ())
    assert len(info.final.joined) == 1


def test_a_rate_at_which_most_seeds_diverged_has_no_mean_and_parts_the_line() -> None:
    view = AnswerView(sweep_points(diverged=((1e-2, 0), (1e-2, 2), (1e-1, 1))), 500, seeds="joined")
    final = answer_info(view).final
    assert [point.x for point in final.means] == [1e-3, 1e-1]
    assert final.joined == ()  # two single rates, nothing to connect
    assert [line.x for line in final.seeds] == [(1e-3, 1e-2)]


def test_runs_that_differ_in_more_than_the_rate_are_not_joined() -> None:
    final = answer_info(AnswerView(sweep_points(), 500, seeds="means")).final
    assert final.joined == final.seeds == ()
    assert len(final.means) == 3


def test_runs_that_stand_apart_have_neither_means_nor_lines() -> None:
    final = answer_info(AnswerView(sweep_points(), 500)).final
    assert (final.joined, final.seeds, final.means) == ((), (), ())
    assert len(final.points) == 9


def test_training_losses_have_a_panel_of_their_own_below_with_both_optima_marked() -> None:
    points = sweep_points(diverged=((1e-1, 0),))
    view = AnswerView(points, 500, lr=0.006, as_good=(0.004, 0.009), train_optimum=0.02, seeds="joined")
    info = answer_info(view)
    assert info.train is not None
    assert [(point.x, point.value) for point in info.train.points][:2] == [(1e-3, 1e-4), (1e-3, 1 + 1e-4)]
    assert len(info.train.points) == 8  # the diverged one is a cross above
    upper, lower = (spec := answer_chart(view).to_dict())["vconcat"]
    for panel in (upper, lower):
        assert sum(layer["mark"]["type"] == "rule" for layer in flat_layers(panel)) == 2
        assert len(named(panel, "interval")) == 1
    assert texts(spec) == ["as good", "lr 0.006", "lowest training loss 0.02", "1 diverged"]
    assert named(lower, "points")[0]["encoding"]["y"]["title"] == "training loss"
    assert named(upper, "points")[0]["encoding"]["x"]["title"] is None


def test_who_cannot_see_the_chart_is_told_its_title_and_its_lines(view: AnswerView) -> None:
    told = answer_chart(view).to_dict()["description"]
    assert told.startswith("Loss vs. learning rate: a net. lr 0.0052, as good from 0.003 to 0.009. Settled: because.")


def test_a_sweep_of_many_rates_seeds_and_lengths_stays_small() -> None:
    points = tuple(
        CurvePoint(lr, loss_at(lr, n) + 0.01 * seed, n, seed, train_loss=0.1)
        for n in (50, 200, 800)
        for lr in np.logspace(-5, -1, 32)
        for seed in (0, 1, 2)
    )
    assert len(answer_chart(AnswerView(points, 800, seeds="joined")).to_json(indent=None)) < 400_000


@pytest.mark.parametrize(
    "points",
    [
        (CurvePoint(0.01, 0.5, 125),),
        tuple(CurvePoint(0.01, math.inf, 125, seed, True, math.inf) for seed in (0, 1)),
        tuple(CurvePoint(0.01, 0.5, 125, seed, train_loss=0.1 * seed) for seed in (0, 1)),
        tuple(CurvePoint(lr, math.inf, 125, 0, True) for lr in (0.01, 0.1)),
        (CurvePoint(0.01, math.nan, 125), CurvePoint(0.1, math.nan, 125)),
        tuple(CurvePoint(lr, 2.0, 125) for lr in (0.01, 0.1, 1.0)),
        tuple(CurvePoint(lr, -0.9 - lr, 125) for lr in (0.01, 0.02, 0.05)),
    ],
    ids=["single", "both diverged", "two seeds", "all diverged", "all not finite", "constant", "negative"],
)
@pytest.mark.parametrize("answered", [False, True])
def test_degenerate_curves_are_drawn_without_a_warning(
    points: tuple[CurvePoint, ...], answered: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    view = AnswerView(points, 1000, lr=0.01, as_good=(0.01, 0.01) if answered else None)
    if answered:
        view = replace(view, curve=CurveFit([0.01], [0.5], [0.4], [0.6]))
    assert save_chart(answer_chart(view), tmp_path / "a.png").stat().st_size > 5000
    assert "WARN" not in capfd.readouterr().err


def test_data_that_cannot_be_drawn_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"points must hold at least one run; got \(\)"):
        AnswerView((), 10)
    with pytest.raises(InputError, match="points must have positive, finite rates"):
        AnswerView((CurvePoint(0.0, 1.0, 10),), 10)
    with pytest.raises(InputError, match="high must be a flat array, as long as lrs"):
        CurveFit([0.1], [1.0], [1.0], [1.0, 2.0])
