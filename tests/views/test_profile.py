"""The chart of a profile."""

from __future__ import annotations

import math

import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.errors import InputError
from stepsize.views import GrowthCurve, profile_chart, profile_info
from stepsize.views.profile import ProfileInfo

pytestmark = pytest.mark.filterwarnings("error")

SIZES = (1.0, 10.0, 32.0, 100.0, 1000.0)


def curve(name: str = "at the start", noise: float = 100.0) -> GrowthCurve:
    factors = tuple((1 + noise / 32) / (1 + noise / size) for size in SIZES)
    return GrowthCurve(name, noise, SIZES, factors)


@pytest.fixture
def info() -> ProfileInfo:
    curves = (curve(), curve("after 64 updates", 500.0))
    return profile_info(curves, 32, title="A net", subtitle="Told.")


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
        assert [flag.text for flag in profile_info((drawn,), 32).flags] == ["batch size 32"]


def test_the_spec_has_a_line_per_moment_and_the_present_batch_size(info: ProfileInfo) -> None:
    spec = profile_chart(info).to_dict()
    (growth,) = named(spec, "growth")
    assert len(values(spec, growth)) == 2 * len(SIZES)
    assert growth["encoding"]["x"]["title"] == "batch size"
    assert "batch size 32" in texts(spec)


def test_without_curves_there_is_nothing_to_draw() -> None:
    with pytest.raises(InputError, match="curves must hold a curve"):
        profile_info((), 32)
