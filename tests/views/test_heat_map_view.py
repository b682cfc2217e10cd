"""The heat map of two dimensions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.errors import InputError
from stepsize.views import MapDimension, MapRun, heat_map_chart, heat_map_info

pytestmark = pytest.mark.filterwarnings("error")

MOMENTUM = MapDimension("momentum", "complement")
CLIP = MapDimension("clip", "linear")
RATES = (1e-3, 1e-2, 1e-1, 1.0)
MOMENTA = (0.0, 0.9, 0.99)


def reached(lr: float, momentum: float) -> float:
    return 0.1 + (math.log10(lr / (1 - momentum)) + 1) ** 2


@pytest.fixture
def runs() -> tuple[MapRun, ...]:
    return tuple(
        MapRun(lr, m, math.inf, True) if lr / (1 - m) > 2 else MapRun(lr, m, reached(lr, m) + 0.01 * seed)
        for lr in RATES for m in MOMENTA for seed in (0, 1)
    )  # fmt: skip


def test_a_grid_is_cells_of_one_size_with_the_values_as_ticks(runs: tuple[MapRun, ...]) -> None:
    info = heat_map_info(runs, MOMENTUM)
    assert info.gridded
    assert len(info.places) == 12
    assert [text for _, text in info.x.texts] == ["0.001", "0.01", "0.1", "1"]
    assert [text for _, text in info.y.texts] == ["0", "0.9", "0.99"]
    cell = next(place for place in info.places if (place.x, place.y) == (1, 1))
    assert cell.name == "learning rate 0.01, momentum 0.9"
    assert cell.loss == pytest.approx(reached(0.01, 0.9) + 0.005)
    (places,) = named(heat_map_chart(info).to_dict(), "places")
    assert (places["mark"]["width"], places["mark"]["height"]) == (160, pytest.approx(320 / 3))
    assert places["encoding"]["x"]["scale"]["domain"] == [-0.5, 3.5]


def test_the_best_place_is_the_lowest_mean_of_those_where_nothing_diverged() -> None:
    runs = (
        MapRun(0.1, 1.0, 0.5), MapRun(0.1, 2.0, 0.4), MapRun(1.0, 1.0, 0.3), MapRun(1.0, 2.0, 0.1),
        MapRun(1.0, 2.0, math.inf, True),
    )  # fmt: skip
    info = heat_map_info(runs, CLIP)
    assert info.best is not None
    assert info.best.name == "learning rate 1, clip 1"
    assert info.lines[0].startswith(
        "Outlined: the best, 0.3 at learning rate 1, clip 1. Crosses: diverged, 1 of 4 cells"
    )


def test_diverged_cells_are_crossed_in_the_middle_and_partly_diverged_ones_in_a_corner() -> None:
    runs = [MapRun(x, y, 1.0 + x) for x in (1.0, 10.0) for y in (1.0, 10.0)]
    runs += [MapRun(10.0, 10.0, math.nan), MapRun(100.0, 1.0, math.inf, True), MapRun(100.0, 10.0, math.inf, True)]
    info = heat_map_info(runs, MapDimension("batch size"))
    assert [(cross.kind, cross.text) for cross in info.crosses] == [
        ("not finite", "11, 1 of 2 not finite"), ("diverged", "1 of 1 diverged"), ("diverged", "1 of 1 diverged"),
    ]  # fmt: skip
    assert (info.crosses[0].x, info.crosses[0].y) == (1.38, 1.26)
    assert info.crosses[1].x == 2
    spec = heat_map_chart(info).to_dict()
    assert len(values(spec, named(spec, "lost")[0])) == 2
    assert len(values(spec, named(spec, "places")[0])) == 4
    assert len(values(spec, named(spec, "crosses")[0])) == 3


def test_random_places_are_points_where_they_are_and_nothing_is_drawn_between() -> None:
    rng = np.random.default_rng(0)
    runs = [MapRun(float(10 ** rng.uniform(-4, 0)), float(1 - 10 ** rng.uniform(-2, 0)), 1.0) for _ in range(30)]
    info = heat_map_info(runs, MOMENTUM)
    assert not info.gridded
    spec = heat_map_chart(info).to_dict()
    assert named(spec, "places")[0]["mark"]["type"] == "circle"
    assert len(values(spec, named(spec, "places")[0])) == 30
    assert all(info.x.low < place.x < info.x.high and info.y.low < place.y < info.y.high for place in info.places)
    scale = named(spec, "places")[0]["encoding"]["y"]["scale"]
    assert (scale["type"], scale["reverse"]) == ("log", True)  # by the distance of momentum to one


def test_a_grid_with_a_few_holes_stays_a_grid(runs: tuple[MapRun, ...]) -> None:
    info = heat_map_info([run for run in runs if (run.x, run.y) not in ((1.0, 0.99), (1.0, 0.9))], MOMENTUM)
    assert info.gridded
    assert len(info.places) == 10


def test_colors_end_where_few_losses_are_far_above_and_a_note_says_so() -> None:
    losses = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.5]
    runs = [MapRun(10.0**i, y, loss) for i, loss in enumerate(losses) for y in (1.0, 2.0)]
    info = heat_map_info(runs, CLIP)
    assert info.key is not None
    assert not info.key.log
    assert (info.key.low, info.key.high) == pytest.approx((1.0, 1.7))
    assert "Colors end at 1.7: 2 are above, up to 2.5." in " ".join(info.lines)


def test_losses_over_a_wide_span_are_colored_by_ratio(runs: tuple[MapRun, ...]) -> None:
    info = heat_map_info(runs, MOMENTUM)
    assert info.key is not None
    assert info.key.log
    scale = named(heat_map_chart(info).to_dict(), "places")[0]["encoding"]["color"]["scale"]
    assert (scale["type"], scale["clamp"]) == ("log", True)
    assert scale["domain"] == pytest.approx([info.key.low, info.key.high])


def test_roomy_cells_have_their_numbers_and_small_ones_do_not(runs: tuple[MapRun, ...]) -> None:
    info = heat_map_info(runs, MOMENTUM)
    assert len(texts(heat_map_chart(info).to_dict())) == sum(place.broken == 0 for place in info.places)
    many = [MapRun(lr, m, 1.0 + lr) for lr in np.logspace(-4, 0, 21).tolist() for m in MOMENTA]
    assert not heat_map_info(many, MOMENTUM).numbered


def test_a_ridge_of_constant_effective_rate_is_a_straight_dashed_line(runs: tuple[MapRun, ...]) -> None:
    info = heat_map_info(runs, MOMENTUM, effective_lr=0.1)
    (line,) = info.guide
    assert line.x == pytest.approx((2, 1, 0))  # rates of 0.1, 0.01 and 0.001
    assert line.y == pytest.approx((0, 1, 2))
    assert " ".join(info.lines).endswith("Dashed: lr/(1−m) = 0.1.")
    assert not info.numbered  # a line through numbers could not be read
    assert len(named(heat_map_chart(info).to_dict(), "guide")) == 1


def test_values_without_distances_have_one_place_each_in_order_zero_and_words_too() -> None:
    runs = [MapRun(lr, w, 1.0) for lr in (0.1, 1.0) for w in (0.1, 0.0, "follows")]
    info = heat_map_info(runs, MapDimension("weight decay", "even"))
    assert info.y.texts == ((0.0, "0"), (1.0, "0.1"), (2.0, "follows"))
    assert info.gridded


@pytest.mark.parametrize(("runs", "message"), [
    ((MapRun(0.0, 0.9, 1.0),), "learning rate must have a place on a log scale"),
    ((MapRun(0.1, 1.0, 1.0),), "momentum must have a place on a complement scale"),
    ((MapRun(0.1, "high", 1.0),), "momentum must have a place on a complement scale; got 'high'"),
])  # fmt: skip
def test_data_that_cannot_be_drawn_are_refused_by_name(runs: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        heat_map_info(runs, MOMENTUM)
