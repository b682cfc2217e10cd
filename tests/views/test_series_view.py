"""The chart of named series over rates, steps, cost or batch sizes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.errors import InputError
from stepsize.views import Series, best_so_far, draw, save_chart, series_info

pytestmark = pytest.mark.filterwarnings("error")

SGD = Series("sgd", [0.01, 0.1, 1.0], [0.9, 0.4, math.inf], marked=0.1)
ADAM = Series("adam", [1e-4, 1e-3, 1e-2], [0.8, 0.3, 0.5], marked=1e-3)
RANDOM = best_so_far("random", [1, 2, 3, 4, 5, 6], [0.5, math.inf, 0.4, 0.45, 0.3, 0.9])


def test_each_line_ends_where_it_diverged_and_its_tuned_rate_is_marked() -> None:
    info = series_info((ADAM, SGD), "learning rate", title="A net")
    adam, sgd = info.plots[0]["series"]
    assert (sgd.x, sgd.y) == ((0.01, 0.1), (0.9, 0.4))
    assert adam.x == (1e-4, 1e-3, 1e-2)
    assert [(point.series, point.x) for point in info.plots[0]["marked"]] == [("adam", 1e-3), ("sgd", 0.1)]
    assert info.plots[0].x.log
    assert info.plots[0].x.low < 1e-4
    assert info.plots[0].x.high > 1.0
    assert info.lines == ("Crosses at the top: 1 not finite.",)


def test_over_steps_there_are_lines_only() -> None:
    steps = np.arange(1.0, 60.0)
    info = series_info([Series("sgd", steps, 1 / steps)], "step", title="A net", label="training loss")
    assert info.plots[0]["points"] == ()
    assert not info.plots[0].x.log
    spec = draw(info).to_dict()
    assert len(values(spec, named(spec, "series")[0])) == 59
    assert named(spec, "series")[0]["encoding"]["y"]["title"] == "training loss"


def test_the_best_so_far_is_a_stair_that_falls_at_improvements_and_ends_where_the_search_did() -> None:
    assert (RANDOM.x, RANDOM.losses) == ([1, 3, 5, 6], [0.5, 0.4, 0.3, 0.3])
    info = series_info([RANDOM], "cost", title="A search")
    assert info.plots[0].x.low == 0
    spec = draw(info).to_dict()
    assert named(spec, "series")[0]["mark"]["interpolate"] == "step-after"
    assert named(spec, "series")[0]["encoding"]["color"]["legend"] is None  # a single series needs none


def test_an_awful_first_run_does_not_flatten_the_rest() -> None:
    series = best_so_far("random", range(1, 8), [500.0, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3])
    info = series_info([series], "cost", title="A search")
    assert info.plots[0].y.high < 2
    assert [point.value for point in info.plots[0]["points"] if point.kind == "above"] == [500.0]
    assert info.lines == ("Triangles at the top: 1 above the axis, up to 500.",)


def test_series_are_told_apart_by_color_and_dash() -> None:
    encoding = named(draw(series_info((ADAM, SGD), "learning rate", title="A net")).to_dict(), "series")[0]
    for channel in ("color", "strokeDash"):
        assert encoding["encoding"][channel]["scale"]["domain"] == ["adam", "sgd"]
    assert len(set(encoding["encoding"]["color"]["scale"]["range"])) == 2
    assert encoding["encoding"]["strokeDash"]["scale"]["range"] == [[], [8, 3]]


@pytest.mark.parametrize("noise", [100.0, math.inf, 1e9, 1e-6])
def test_over_batch_sizes_there_are_lines_and_a_flag_at_each_place_on_the_axis(noise: float) -> None:
    growth = [Series(name, [1.0, 32.0, 1000.0], [0.1, 1.0, 4.0]) for name in ("at the start", "after 64 updates")]
    places = [(32.0, "batch size 32", "lr"), (noise, "noise scale", "optimum")]
    info = series_info(growth, "batch size", title="A net", places=places)
    flags = [(flag.x, flag.text) for flag in info.plots[0].flags]
    assert flags == [(32.0, "batch size 32"), (100.0, "noise scale")][: 1 + (noise == 100.0)]
    assert [(line.series, line.x, line.y) for line in info.plots[0]["series"]] == [
        (one.name, (1.0, 32.0, 1000.0), (0.1, 1.0, 4.0)) for one in growth
    ]
    assert info.plots[0]["points"] == ()
    spec = draw(info).to_dict()
    (drawn,) = named(spec, "series")
    assert len(values(spec, drawn)) == 6
    assert drawn["encoding"]["x"]["title"] == "batch size"
    assert "batch size 32" in texts(spec)


def test_without_series_there_is_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="series must not be empty"):
        series_info((), "step", title="A net")


def test_more_than_eight_are_named_instead_of_drawn(tmp_path: Path) -> None:
    many = tuple(Series(f"c{n}", [0.1, 1.0], [1.0 + n, 2.0 + n]) for n in range(10))
    info = series_info(many, "learning rate", title="Many")
    assert info.plots[0].looks.names == tuple(f"c{n}" for n in range(8))
    assert "Not drawn, to keep lines apart: c8, c9." in info.lines
    assert save_chart(draw(info), tmp_path / "c.svg").read_text(encoding="utf-8").startswith("<svg")
