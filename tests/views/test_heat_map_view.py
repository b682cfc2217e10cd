"""The heat map of two dimensions, and the rulers that they are laid out with."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.errors import InputError
from stepsize.views import (
    HeatMapView,
    MapDimension,
    MapGuide,
    MapRun,
    constant_effective_lr,
    heat_map_chart,
    heat_map_info,
    save_chart,
)
from stepsize.views.rulers import ruler

pytestmark = pytest.mark.filterwarnings("error")

RATE = MapDimension("learning rate")
MOMENTUM = MapDimension("momentum", "complement")
RATES = (1e-3, 1e-2, 1e-1, 1.0)
MOMENTA = (0.0, 0.9, 0.99)


def reached(lr: float, momentum: float) -> float:
    return 0.1 + (math.log10(lr / (1 - momentum)) + 1) ** 2


@pytest.fixture
def view() -> HeatMapView:
    runs = tuple(
        MapRun(lr, m, math.inf, True) if lr / (1 - m) > 2 else MapRun(lr, m, reached(lr, m) + 0.01 * seed)
        for lr in RATES for m in MOMENTA for seed in (0, 1)
    )  # fmt: skip
    return HeatMapView(RATE, MOMENTUM, runs, title="A net", verdict="Because.")


def test_a_grid_is_cells_that_reach_halfway_to_their_neighbours(view: HeatMapView) -> None:
    info = heat_map_info(view)
    assert info.gridded
    assert len(info.places) == 12
    cell = next(place for place in info.places if (place.x, round(place.y, 9)) == (1e-2, 0.1))
    assert cell.x_span == pytest.approx((10**-2.5, 10**-1.5))
    assert cell.y_span == pytest.approx((10**-0.5, 10**-1.5))
    assert cell.loss == pytest.approx(reached(0.01, 0.9) + 0.005)
    assert (info.x.low, info.x.high) == pytest.approx((10**-3.5, 10**0.5))


def test_momentum_is_laid_out_by_its_distance_to_one_with_its_own_numbers(view: HeatMapView) -> None:
    y = heat_map_info(view).y
    assert [tick.text for tick in y.ticks] == ["0", "0.9", "0.99"]
    assert [round(y.position(tick.value), 3) for tick in y.ticks] == [0.167, 0.5, 0.833]
    encoding = named(heat_map_chart(view).to_dict(), "places")[0]["encoding"]["y"]
    assert encoding["scale"]["reverse"]
    assert encoding["scale"]["type"] == "log"


def test_the_best_place_is_the_lowest_mean_of_those_where_nothing_diverged() -> None:
    runs = (
        MapRun(0.1, 1.0, 0.5), MapRun(0.1, 2.0, 0.4), MapRun(1.0, 1.0, 0.3), MapRun(1.0, 2.0, 0.1),
        MapRun(1.0, 2.0, math.inf, True),
    )  # fmt: skip
    info = heat_map_info(HeatMapView(RATE, MapDimension("clip", "linear"), runs))
    assert info.best is not None
    assert info.best.name == "learning rate 1, clip 1"
    assert info.lines[0].startswith(
        "Outlined: the best, 0.3 at learning rate 1, clip 1. Crosses: diverged, 1 of 4 cells"
    )


def test_diverged_cells_are_crossed_in_the_middle_and_partly_diverged_ones_in_a_corner() -> None:
    runs = [MapRun(x, y, 1.0 + x) for x in (1.0, 10.0) for y in (1.0, 10.0)]
    runs += [MapRun(10.0, 10.0, math.nan), MapRun(100.0, 1.0, math.inf, True), MapRun(100.0, 10.0, math.inf, True)]
    info = heat_map_info(HeatMapView(RATE, MapDimension("batch size"), tuple(runs)))
    assert [(cross.kind, cross.text) for cross in info.crosses] == [
        ("not finite", "11, 1 of 2 not finite"), ("diverged", "1 of 1 diverged"), ("diverged", "1 of 1 diverged"),
    ]  # fmt: skip
    assert info.crosses[0].x > 20
    assert info.crosses[1].x == 100
    spec = heat_map_chart(HeatMapView(RATE, MapDimension("batch size"), tuple(runs))).to_dict()
    assert len(values(spec, named(spec, "lost")[0])) == 2
    assert len(values(spec, named(spec, "places")[0])) == 4
    assert len(values(spec, named(spec, "crosses")[0])) == 3


def test_random_places_are_points_where_they_lie_and_nothing_is_drawn_between() -> None:
    rng = np.random.default_rng(0)
    runs = tuple(MapRun(float(10 ** rng.uniform(-4, 0)), float(1 - 10 ** rng.uniform(-2, 0)), 1.0) for _ in range(30))
    view = HeatMapView(RATE, MOMENTUM, runs)
    info = heat_map_info(view)
    assert not info.gridded
    assert all(place.x_span == (place.x, place.x) for place in info.places)
    spec = heat_map_chart(view).to_dict()
    assert named(spec, "places")[0]["mark"]["type"] == "circle"
    assert len(values(spec, named(spec, "places")[0])) == 30
    assert all(info.x.low < place.x < info.x.high and info.y.low < place.y < info.y.high for place in info.places)


def test_a_grid_with_a_few_holes_stays_a_grid(view: HeatMapView) -> None:
    holes = tuple(run for run in view.runs if (run.x, run.y) not in ((1.0, 0.99), (1.0, 0.9)))
    info = heat_map_info(HeatMapView(RATE, MOMENTUM, holes))
    assert info.gridded
    assert len(info.places) == 10


def test_colours_end_where_few_losses_lie_far_above_and_the_legend_tells() -> None:
    losses = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 2.5]
    runs = tuple(MapRun(10.0**i, y, loss) for i, loss in enumerate(losses) for y in (1.0, 2.0))
    info = heat_map_info(HeatMapView(RATE, MapDimension("clip", "linear"), runs))
    assert info.key is not None
    assert not info.key.log
    assert (info.key.low, info.key.high) == pytest.approx((1.0, 1.7))
    assert info.key.ticks[-1][1] == "≥ 1.7"
    assert "Colours end at 1.7: 2 lie above, up to 2.5." in " ".join(info.lines)
    assert info.key.share(1.35) == pytest.approx(0.5)
    assert info.key.share(9.0) == 1.0


def test_losses_over_a_wide_span_are_coloured_by_ratio(view: HeatMapView) -> None:
    info = heat_map_info(view)
    assert info.key is not None
    assert info.key.log
    scale = named(heat_map_chart(view).to_dict(), "places")[0]["encoding"]["color"]["scale"]
    assert (scale["type"], scale["clamp"]) == ("log", True)
    assert scale["domain"] == pytest.approx([info.key.low, info.key.high])


def test_roomy_cells_bear_their_numbers_and_small_ones_do_not(view: HeatMapView) -> None:
    told = texts(heat_map_chart(view).to_dict())
    assert len(told) == sum(place.broken == 0 for place in heat_map_info(view).places)
    many = tuple(MapRun(lr, m, 1.0 + lr) for lr in np.logspace(-4, 0, 21).tolist() for m in MOMENTA)
    assert not heat_map_info(HeatMapView(RATE, MOMENTUM, many)).numbered


def test_a_ridge_of_constant_effective_rate_is_a_straight_dashed_line(view: HeatMapView) -> None:
    guided = HeatMapView(view.x, view.y, view.runs, (constant_effective_lr(0.1, MOMENTA),))
    info = heat_map_info(guided)
    (line,) = info.guides
    places = [(info.x.position(x), info.y.position(y)) for x, y in zip(line.x, line.y, strict=True)]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(places)]
    assert slopes[0] == pytest.approx(slopes[1])
    assert slopes[0] < 0
    assert " ".join(info.lines).endswith("Dashed: lr/(1−m) = 0.1.")
    assert not info.numbered  # a line through numbers could not be read
    assert len(named(heat_map_chart(guided).to_dict(), "guides")) == 1


def test_values_without_distances_have_one_place_each_in_order_zero_and_words_too() -> None:
    runs = tuple(MapRun(lr, w, 1.0) for lr in (0.1, 1.0) for w in (0.1, 0.0, "follows"))
    info = heat_map_info(HeatMapView(RATE, MapDimension("weight decay", "even"), runs))
    assert [(tick.value, tick.text) for tick in info.y.ticks] == [(0.0, "0"), (1.0, "0.1"), (2.0, "follows")]
    assert info.gridded


def test_texts_of_values_are_left_to_round_numbers_where_they_would_overlap() -> None:
    rates = np.logspace(-4, 0, 21).tolist()
    many = ruler(RATE, rates, pixels=640, upright=False, cells=True)
    assert [tick.text for tick in many.axis.ticks if tick.text] == ["1e-4", "0.001", "0.01", "0.1", "1"]
    few = ruler(RATE, rates[::4], pixels=640, upright=False, cells=True)
    assert [tick.value for tick in few.axis.ticks] == pytest.approx(rates[::4])


@pytest.mark.parametrize("runs", [
    (MapRun(0.1, 0.9, 1.0),),
    tuple(MapRun(lr, m, math.inf, True) for lr in RATES for m in MOMENTA),
    tuple(MapRun(lr, m, 2.0) for lr in RATES for m in MOMENTA),
    tuple(MapRun(lr, m, 0.0) for lr in RATES for m in MOMENTA),
    tuple(MapRun(lr, 0.9, -1.0 - lr) for lr in RATES),
], ids=["single run", "all diverged", "constant", "zero", "one momentum, negative"])  # fmt: skip
def test_degenerate_maps_are_drawn_without_a_warning(
    runs: tuple[MapRun, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert save_chart(heat_map_chart(HeatMapView(RATE, MOMENTUM, runs)), tmp_path / "a.png").stat().st_size > 5000
    assert "WARN" not in capfd.readouterr().err


def test_data_that_cannot_be_drawn_are_refused_by_name() -> None:
    run = MapRun(0.1, 0.9, 1.0)
    with pytest.raises(InputError, match="runs must hold at least one run"):
        HeatMapView(RATE, MOMENTUM, ())
    with pytest.raises(InputError, match="learning rate must be positive on a log scale"):
        HeatMapView(RATE, MOMENTUM, (MapRun(0.0, 0.9, 1.0),))
    with pytest.raises(InputError, match="momentum must lie below 1 on a complement scale"):
        HeatMapView(RATE, MOMENTUM, (MapRun(0.1, 1.0, 1.0),))
    with pytest.raises(InputError, match="momentum must be finite numbers on a complement scale; got 'high'"):
        HeatMapView(RATE, MOMENTUM, (MapRun(0.1, "high", 1.0),))
    with pytest.raises(InputError, match="scale must be 'log', 'linear', 'complement' or 'even'; got 'cubic'"):
        MapDimension("momentum", "cubic")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="guide must have two points or more"):
        MapGuide("a", (0.1,), (0.9,))
    with pytest.raises(InputError, match="guides must be left out where a dimension has no distances"):
        HeatMapView(RATE, MapDimension("momentum", "even"), (run,), (constant_effective_lr(0.1, MOMENTA),))
