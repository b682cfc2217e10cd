"""The chart of a range test."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.views.chart_specs import flat_layers, named, texts, values

from stepsize.views import ChartInfo, draw, range_test_info

Floats = NDArray[np.float64]

pytestmark = pytest.mark.filterwarnings("error")


def ramp(points: int = 120) -> tuple[Floats, Floats, Floats]:
    """A realistic ramp: a noisy plateau, a descent, a blow-up of six decades that ends in NaN."""
    lrs = np.logspace(-5, 0.5, points)
    x = np.log10(lrs)
    mean = 2.3 - 1.7 / (1 + np.exp(-2.6 * (x + 2.6))) + 10 ** np.clip(4 * (x + 0.9), -30, 6)
    losses = mean + 0.05 * np.random.default_rng(0).standard_normal(points)
    losses[-1] = math.nan
    return lrs, losses, mean


@pytest.fixture
def info() -> ChartInfo:
    lrs, losses, mean = ramp()
    return range_test_info(
        lrs, losses, fit_lrs=lrs, fit_losses=mean, title="Range test of a net", subtitle="Confident: because.",
        start_loss=2.3, low=1e-3, lr=0.012, high=0.05, diverged_at=0.3, interval=(0.006, 0.02),
    )  # fmt: skip


def test_the_blow_up_does_not_flatten_the_descent(info: ChartInfo) -> None:
    assert 0.3 < info.plots[0].y.low < 0.7
    assert 2.5 < info.plots[0].y.high < 5
    kinds = {point.kind for point in info.plots[0]["points"]}
    assert kinds == {"inside", "above", "not finite"}
    for point in info.plots[0]["points"]:
        if point.kind != "not finite":
            assert (point.kind == "above") == (point.value > info.plots[0].y.high)
    assert len(info.plots[0]["points"]) == 120


def test_the_rates_are_flags_with_their_texts(info: ChartInfo) -> None:
    flags = info.plots[0].flags
    assert [flag.text for flag in flags] == ["low 0.001", "lr 0.012", "high 0.05", "diverged 0.3"]
    assert [flag.role for flag in flags] == ["low", "lr", "high", "diverged"]


def test_the_lines_below_the_title_hold_the_verdict_and_say_what_is_drawn(info: ChartInfo) -> None:
    above = sum(point.kind == "above" for point in info.plots[0]["points"])
    verdict, legend, notes = info.lines
    assert verdict == "Confident: because."
    assert (
        legend == "Dots: the loss of each step. Line: smoothed, without lag. Green: the interval of lr, 0.006 to 0.02."
    )
    assert notes.startswith(f"Triangles at the top: {above} above the axis, up to ")
    assert notes.endswith("Crosses at the top: 1 not finite.")


def test_the_spec_holds_points_fit_band_rules_and_both_titled_axes(info: ChartInfo) -> None:
    spec = draw(info).to_dict()
    points, above, broken = (values(spec, named(spec, name)[0]) for name in ("points", "points_beyond", "crosses"))
    assert len(points) + len(above) + len(broken) == 120
    assert len(values(spec, named(spec, "fit")[0])) == 120
    assert values(spec, named(spec, "interval")[0]) == [{"x": 0.006, "x2": 0.02}]
    assert texts(spec) == ["low 0.001", "lr 0.012", "high 0.05", "diverged 0.3", "start"]
    assert sum(layer["mark"]["type"] == "rule" for layer in flat_layers(spec)) == 5
    encoding = named(spec, "points")[0]["encoding"]
    assert encoding["x"]["title"] == "learning rate"
    assert encoding["x"]["scale"]["type"] == "log"
    assert encoding["y"]["title"] == "training loss"
    assert encoding["y"]["scale"]["domain"] == [info.plots[0].y.low, info.plots[0].y.high]
    assert spec["title"]["text"] == "Range test of a net"
    assert above[0]["shape"] == "triangle-up"


def test_nothing_that_is_not_finite_reaches_the_spec(info: ChartInfo) -> None:
    spec = draw(info).to_dict()
    for layer in flat_layers(spec):
        for row in values(spec, layer):
            for key in ("x", "y"):
                assert key not in row or math.isfinite(row[key])


def test_several_ramps_are_told_apart_and_named() -> None:
    lrs, losses, _ = ramp(30)
    info = range_test_info(np.tile(lrs, 2), np.tile(losses, 2), ramp=[0] * 30 + [7] * 30)
    assert info.plots[0].looks.names == ("ramp 1", "ramp 2")
    assert [point.series for point in info.plots[0]["points"]] == ["ramp 1"] * 30 + ["ramp 2"] * 30
    spec = draw(info).to_dict()
    assert named(spec, "points")[0]["encoding"]["color"]["scale"]["domain"] == ["ramp 1", "ramp 2"]


@pytest.mark.parametrize(("factor", "offset"), [(1000.0, 0.0), (1.0, 1000.0), (1.0, -50.0)])
def test_the_picture_is_the_same_after_a_scale_or_a_shift_of_the_losses(factor: float, offset: float) -> None:
    lrs, losses, _ = ramp()
    kinds = [point.kind for point in range_test_info(lrs, losses).plots[0]["points"]]
    moved = range_test_info(lrs, losses * factor + offset).plots[0]["points"]
    assert [point.kind for point in moved] == kinds


def test_the_spec_is_strict_json_where_losses_are_not_finite() -> None:
    info = range_test_info([1e-3, 1e-2, 1e-1, 1.0], [1.0, 0.5, math.inf, math.nan])

    json.dumps(draw(info).to_dict(), allow_nan=False)
