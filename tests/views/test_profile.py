"""The chart of a profile."""

from __future__ import annotations

import math

import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.errors import InputError
from stepsize.views import GrowthCurve, profile_chart, profile_info
from stepsize.views.profile import ProfileInfo

pytestmark = pytest.mark.filterwarnings("error")

LAYERS = (("0 (Linear)", 0.02), ("2 (Linear)", 0.001))
SIZES = (1.0, 10.0, 32.0, 100.0, 1000.0)


def curve(name: str = "at the start", noise: float = 100.0) -> GrowthCurve:
    factors = tuple((1 + noise / 32) / (1 + noise / size) for size in SIZES)
    return GrowthCurve(name, noise, SIZES, factors)


@pytest.fixture
def info() -> ProfileInfo:
    curves = (curve(), curve("after 64 updates", 500.0))
    return profile_info(curves, 32, LAYERS, layers_at="the critical rate", title="A net", subtitle="Told.")


def test_batch_size_and_noise_scales_stand_at_their_places(info: ProfileInfo) -> None:
    assert [(flag.x, flag.text) for flag in info.flags] == [
        (32.0, "batch size 32"),
        (100.0, "noise scale 100 at the start"),
        (500.0, "noise scale 500 after 64 updates"),
    ]
    assert [line.series for line in info.curves] == ["at the start", "after 64 updates"]
    assert info.curves[0].x == SIZES
    assert info.curves[0].y[2] == 1.0
    assert info.lines == ("Told.",)


def test_a_noise_scale_beyond_the_axis_has_no_flag() -> None:
    for noise in (math.inf, 1e9, 1e-6):
        drawn = GrowthCurve("at the start", noise, SIZES, (0.1, 0.5, 1.0, 2.0, 4.0))
        assert [flag.text for flag in profile_info((drawn,), 32, ()).flags] == ["batch size 32"]


def test_the_spec_has_the_rate_above_the_layers_in_their_order(info: ProfileInfo) -> None:
    spec = profile_chart(info).to_dict()
    upper, lower = spec["vconcat"]
    (growth,) = named(upper, "growth")
    (layers,) = named(lower, "layers")
    assert len(values(spec, growth)) == 2 * len(SIZES)
    assert growth["encoding"]["x"]["title"] == "batch size"
    assert [(row["layer"], row["x"]) for row in values(spec, layers)] == list(LAYERS)
    assert layers["encoding"]["y"]["scale"]["domain"] == ["0 (Linear)", "2 (Linear)"]
    assert layers["encoding"]["x"]["title"].endswith("at the critical rate")
    assert "batch size 32" in texts(spec)


def test_either_panel_can_stand_alone() -> None:
    for alone in (profile_info((curve(),), 32, ()), profile_info((), 32, LAYERS)):
        assert "vconcat" not in profile_chart(alone).to_dict()


def test_of_very_many_layers_the_middle_is_left_out_and_told() -> None:
    info = profile_info((), 32, [(f"layer {number}", 0.1) for number in range(100)])
    assert [name for name, _ in info.layers[19:21]] == ["layer 19", "layer 80"]
    assert info.lines == ("Left out: 60 layers in the middle.",)


def test_without_curves_and_layers_there_is_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="curves must hold a curve, or layers a layer"):
        profile_info((), 32, ())
