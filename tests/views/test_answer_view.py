"""The chart of every answer that is a rate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.views.chart_specs import flat_layers, named, texts, values

from stepsize.curves.lr_model import Point
from stepsize.views import CurveFit, answer_info, draw

pytestmark = pytest.mark.filterwarnings("error")


def loss_at(lr: float, steps: int) -> float:
    return 0.2 + 3 / math.sqrt(steps) + 0.2 * (math.log10(lr) + 2.2) ** 2


def fitted(steps: int) -> CurveFit:
    grid = np.logspace(-4, 0, 80)
    loss = np.array([loss_at(lr, steps) for lr in grid])
    return CurveFit(grid, loss, loss - 0.02, loss + 0.02)


@pytest.fixture
def view() -> dict[str, Any]:
    rates = {500: (1e-4, 1e-3, 1e-2, 0.1, 1.0), 2000: (0.003, 0.006, 0.01)}
    points = tuple(
        Point(lr, math.inf if lr == 1.0 else loss_at(lr, steps), steps / 2000, 0, lr == 1.0)
        for steps, chosen in rates.items()
        for lr in chosen
    )
    return {
        "runs": points,
        "horizon": 2000,
        "title": "Loss vs. learning rate: a net",
        "answer": "lr 0.0052, as good from 0.003 to 0.009. Settled: because.",
        "conditions": "Valid for AdamW, cosine, 2,000 steps.",
        "curve": fitted(2000),
        "lr": 0.0052,
        "as_good": (0.003, 0.009),
    }


def test_the_longest_runs_stand_out_and_the_others_are_faint(view: dict[str, Any]) -> None:
    [final] = answer_info(**view).plots
    assert {point.series for point in final["points"]} == {"full runs (2,000 steps)"}
    assert {point.series for point in final["shorter"]} == {"500 steps"}
    spec = draw(answer_info(**view)).to_dict()
    longest, shorter = named(spec, "points")[0], named(spec, "shorter")[0]
    assert (len(values(spec, longest)), len(values(spec, shorter))) == (3, 1)  # the other short runs lie on the edge
    assert longest["mark"]["size"] > shorter["mark"]["size"]


def test_longer_runs_are_darker_and_the_legend_names_runs_and_curve(view: dict[str, Any]) -> None:
    color = named(draw(answer_info(**view)).to_dict(), "points")[0]["encoding"]["color"]
    assert color["scale"]["domain"] == ["500 steps", "full runs (2,000 steps)", "estimated loss, 10–90% band"]
    lightness = [sum(int(shade[i : i + 2], 16) for i in (1, 3, 5)) for shade in color["scale"]["range"]]
    assert lightness == sorted(lightness, reverse=True)
    assert len(set(lightness)) == 3


def test_runs_of_which_none_is_full_are_named_by_their_steps() -> None:
    points = (Point(0.1, 1.0, 0.03), Point(0.2, 1.0, 0.75))
    assert answer_info(points, 2000).plots[0].looks.names == ("60 steps", "1,500 steps")


def test_the_axis_shows_the_surroundings_of_the_best_loss_whatever_lies_far_above(view: dict[str, Any]) -> None:
    y = answer_info(**view).plots[0].y
    awful = (*view["runs"], Point(0.5, 400.0), Point(0.4, 90.0), Point(0.3, 30.0, 0.25))
    info = answer_info(**view | {"runs": awful})
    assert info.plots[0].y == y
    assert [point.x for point in info.plots[0]["points"] if point.kind == "above"] == [0.5, 0.4]
    assert info.lines[-1].endswith("Triangles at the top: 2 above the axis, up to 400.")
    best, beside = loss_at(10**-2.2, 2000), max(loss_at(0.003 / 10**0.5, 2000), loss_at(0.009 * 10**0.5, 2000))
    assert y.position(best) < 0.1
    assert 0.8 < y.position(beside) < 1.1


def test_a_wide_band_does_not_flatten_the_curve(view: dict[str, Any]) -> None:
    loss = np.asarray(view["curve"].loss)
    wide = replace(view["curve"], low=loss - 5, high=loss + 5)
    assert answer_info(**view | {"curve": wide}).plots[0].y == answer_info(**view).plots[0].y


def test_a_wall_beside_the_range_does_not_flatten_the_curve(view: dict[str, Any]) -> None:
    grid = np.logspace(-4, 0, 80)
    loss = np.array([loss_at(lr, 2000) + (1000.0 if lr > 0.01 else 0.0) for lr in grid])
    info = answer_info(**view | {"curve": CurveFit(grid, loss, loss - 0.01, loss + 0.01)})
    assert info.plots[0].y.high < 1.0


def test_shorter_runs_far_below_do_not_flatten_the_curve_either(view: dict[str, Any]) -> None:
    low = tuple(replace(point, value=0.01) if point.share < 1 else point for point in view["runs"])
    info = answer_info(**view | {"runs": low})
    assert info.plots[0].y.low > 0.15
    assert {point.kind for point in info.plots[0]["shorter"]} == {"below", "diverged"}
    assert not [line for line in info.lines if "Triangles" in line], "only the longest runs are explained"


def test_diverged_runs_are_crosses_at_the_top_edge_whatever_their_loss() -> None:
    runs = (Point(1e-2, 1.0), Point(1e-1, 2.0), Point(1.0, 1.5, diverged=True))
    info = answer_info(runs, 10)
    assert [(point.x, point.kind) for point in info.plots[0]["points"]] == [
        (0.01, "inside"),
        (0.1, "inside"),
        (1.0, "diverged"),
    ]
    assert info.plots[0].y.position(info.plots[0]["points"][-1].y) > 0.9
    assert info.lines == ("Crosses at the top: 1 diverged.",)
    spec = draw(info).to_dict()
    assert [row["x"] for row in values(spec, named(spec, "crosses")[0])] == [1.0]


def test_rate_and_training_optimum_are_flags(view: dict[str, Any]) -> None:
    both = answer_info(**view, train_optimum=0.008)
    assert [(flag.text, flag.role) for flag in both.plots[0].flags] == [
        ("lr 0.0052", "lr"),
        ("lowest training loss 0.008", "optimum"),
    ]


def test_the_lines_below_the_title_are_the_answer_and_its_conditions(view: dict[str, Any]) -> None:
    lines = answer_info(**view).lines
    assert lines == (view["answer"], view["conditions"], "Green: the range that is as good.")


def test_a_long_answer_is_split_between_the_rate_and_the_verdict(view: dict[str, Any]) -> None:
    verdict = "Open: " + " ".join(["word"] * 18) + "."
    long = answer_info(**view | {"answer": f"lr 0.0052, as good from 0.003 to 0.009. {verdict}"})
    assert long.lines[:3] == ("lr 0.0052, as good from 0.003 to 0.009.", verdict, view["conditions"])


def test_losses_over_decades_are_drawn_on_a_log_axis_also_where_the_band_reaches_below_zero() -> None:
    points = tuple(Point(10.0**e, 10.0 ** (-2 - e)) for e in range(-5, 0))
    curve = CurveFit([1e-4, 1e-2], [1.0, 1.0], [-1.0, math.nan], [2.0, 2.0])
    info = answer_info(points, 10, curve=curve)
    assert info.plots[0].y.log
    assert info.plots[0].area == ((1e-4, info.plots[0].y.low, 2.0),)


def test_the_spec_holds_runs_curve_band_range_and_both_titled_axes(view: dict[str, Any]) -> None:
    spec = draw(answer_info(**view)).to_dict()
    assert len(values(spec, named(spec, "curve")[0])) == len(values(spec, named(spec, "band")[0])) == 80
    assert values(spec, named(spec, "interval")[0]) == [{"x": 0.003, "x2": 0.009}]
    assert texts(spec) == ["lr 0.0052"]
    encoding = named(spec, "points")[0]["encoding"]
    assert (encoding["x"]["title"], encoding["x"]["scale"]["type"]) == ("learning rate", "log")
    assert encoding["y"]["title"] == "validation loss"
    assert spec["title"]["text"] == "Loss vs. learning rate: a net"


def sweep_points(*, diverged: tuple[tuple[float, int], ...] = ()) -> tuple[Point, ...]:
    return tuple(
        Point(lr, loss_at(lr, 500) + 0.01 * seed, 1.0, seed, (lr, seed) in diverged)
        for lr in (1e-3, 1e-2, 1e-1)
        for seed in (0, 1, 2)
    )


def test_runs_of_several_seeds_are_faint_and_their_means_stand_out_joined_from_rate_to_rate() -> None:
    info = answer_info(sweep_points(), 500, joined=True)
    assert [point.value for point in info.plots[0]["means"]] == pytest.approx(
        [loss_at(lr, 500) + 0.01 for lr in (1e-3, 0.01, 0.1)]
    )
    assert [line.x for line in info.plots[0]["joined"]] == [(1e-3, 1e-2, 1e-1)]
    spec = draw(info).to_dict()
    runs, means = named(spec, "points")[0], named(spec, "means")[0]
    assert runs["mark"]["opacity"] < 0.5 < means["mark"]["opacity"]
    assert runs["mark"]["size"] < means["mark"]["size"]


def test_a_single_seed_needs_no_means() -> None:
    single = tuple(point for point in sweep_points() if point.seed == 0)
    [final] = answer_info(single, 500, joined=True).plots
    assert (final["means"], len(final["joined"])) == ((), 1)


def test_a_rate_at_which_most_seeds_diverged_has_no_mean_and_interrupts_the_line() -> None:
    points = sweep_points(diverged=((1e-2, 0), (1e-2, 2), (1e-1, 1)))
    [final] = answer_info(points, 500, joined=True).plots
    assert [point.x for point in final["means"]] == [1e-3, 1e-1]
    assert final["joined"] == ()  # two single rates, nothing to connect


def test_means_are_not_joined_beside_a_fitted_curve_or_if_runs_differ_in_more_than_the_rate() -> None:
    for final in (answer_info(sweep_points(), 500, joined=True, curve=fitted(500)).plots[0],
                  answer_info(sweep_points(), 500).plots[0]):  # fmt: skip
        assert final["joined"] == ()
        assert len(final["means"]) == 3


def test_training_losses_have_a_panel_of_their_own_below_with_both_optima_marked() -> None:
    points = sweep_points(diverged=((1e-1, 0),))
    train = [replace(one, value=0.1 * one.lr + one.seed) for one in points if not one.diverged]
    info = answer_info(points, 500, train=train, lr=0.006, as_good=(0.004, 0.009), train_optimum=0.02, joined=True)
    assert [(point.x, point.value) for point in info.plots[1]["points"]][:2] == [(1e-3, 1e-4), (1e-3, 1 + 1e-4)]
    assert len(info.plots[1]["points"]) == 8  # the diverged one is a cross above
    upper, lower = (spec := draw(info).to_dict())["vconcat"]
    for panel in (upper, lower):
        assert sum(layer["mark"]["type"] == "rule" for layer in flat_layers(panel)) == 2
        assert len(named(panel, "interval")) == 1
    assert texts(spec) == ["lr 0.006", "lowest training loss 0.02"]
    assert named(lower, "points")[0]["encoding"]["y"]["title"] == "training loss"
    assert named(upper, "points")[0]["encoding"]["x"]["title"] is None


def test_a_sweep_of_many_rates_seeds_and_lengths_stays_small() -> None:
    points = tuple(
        Point(lr, loss_at(lr, n) + 0.01 * seed, n / 800, seed)
        for n in (50, 200, 800)
        for lr in np.logspace(-5, -1, 32)
        for seed in (0, 1, 2)
    )
    assert len(draw(answer_info(points, 800, train=points, joined=True)).to_json(indent=None)) < 400_000


def test_rates_being_tried_are_dotted_and_on_the_axis(view: dict[str, Any]) -> None:
    info = answer_info(**view, tried=(30.0, 0.002, 0.002))

    assert [flag.x for flag in info.plots[0].flags if flag.role == "tried"] == [0.002, 30.0]
    assert info.plots[0].x.high > 30
    assert "Dotted: rates being tried." in " ".join(info.lines)
    assert "Dotted" not in " ".join(answer_info(**view).lines)
    spec = draw(info).to_dict()
    dotted = [layer for layer in flat_layers(spec) if layer["mark"].get("strokeDash") == [1, 4]]
    assert [row["x"] for layer in dotted for row in values(spec, layer)] == [0.002, 30.0]
