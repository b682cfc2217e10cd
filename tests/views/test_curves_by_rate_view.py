"""The chart of training curves by rate."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from tests.views.chart_specs import named, values

from stepsize.views import RateCurve, curves_by_rate_info, draw, save_chart

pytestmark = pytest.mark.filterwarnings("error")


def falling(lr: float, steps: int = 800, seed: int = 0) -> RateCurve:
    noise = 0.01 * np.random.default_rng(seed).random(steps)
    return RateCurve(lr, 0.01 + 2.3 * np.exp(-np.arange(steps) * lr) + noise, 0.05 + lr)


def broken(lr: float, step: int = 30) -> RateCurve:
    return RateCurve(lr, np.append(np.logspace(0.3, 12, step - 1), math.nan), diverged_step=step)


def test_a_curve_begins_where_the_run_did_and_is_smooth_on_its_way() -> None:
    noisy = RateCurve(0.1, 2.0 - np.arange(1000) / 1000 + 0.3 * np.random.default_rng(0).standard_normal(1000))
    (line,) = curves_by_rate_info((noisy,)).plots[0]["curves"]
    assert line.y[0] == pytest.approx(float(noisy.losses[0]), rel=1e-4)
    late = [abs(level - (2.0 - step / 1000)) for step, level in zip(line.x, line.y, strict=True) if step > 50]
    assert max(late) < 0.2


def test_curves_of_very_many_long_runs_stay_small() -> None:
    curves = tuple(falling(lr, seed=seed) for lr in np.logspace(-5, -1, 32) for seed in (0, 1, 2))
    info = curves_by_rate_info(curves)
    assert sum(len(line.x) for line in info.plots[0]["curves"]) <= 6000
    assert len(draw(info).to_json(indent=None)) < 600_000


def test_shorter_runs_end_at_their_own_step() -> None:
    info = curves_by_rate_info((falling(0.01, 800), falling(0.1, 50)))
    assert [line.x[-1] for line in info.plots[0]["curves"]] == [799, 49]
    assert [point.x for point in info.plots[0]["ends"]] == [800, 50]
    assert [point.series for point in info.plots[0]["ends"]] == [0.01, 0.1]


def test_a_diverged_run_ends_in_a_cross_within_the_plot_and_stretches_nothing() -> None:
    info = curves_by_rate_info((falling(0.01), broken(10.0)))
    end, cross = info.plots[0]["ends"]  # the diverged one has no end
    assert (end.kind, cross.x, cross.series, cross.text) == ("inside", 29.0, 10.0, "diverged at step 30")
    assert info.plots[0].y.high < 20
    assert cross.y == info.plots[0].y.high
    assert "Crosses: 1 of 2 runs diverged." in " ".join(info.lines)


def test_a_run_that_came_back_from_far_above_does_not_take_the_height_of_the_others() -> None:
    levels = np.where(np.arange(800) < 300, 1e5, 0.5)
    levels[0] = 2.3
    info = curves_by_rate_info((*(falling(0.01, seed=s) for s in range(3)), RateCurve(1.0, levels)))
    assert info.plots[0].y.position(2.3) > 0.7


def test_losses_are_drawn_on_a_log_axis_where_positive_and_spread_and_zeros_do_not_hinder() -> None:
    assert curves_by_rate_info((falling(0.01),)).plots[0].y.log
    zero = RateCurve(0.1, np.maximum(0.0, 2.0 - np.arange(800) / 500))
    info = curves_by_rate_info((falling(0.01), zero))
    assert info.plots[0].y.log
    assert info.plots[0].y.low > 1e-5
    assert not curves_by_rate_info((RateCurve(0.1, [-1.0, -2.0, -3.0]),)).plots[0].y.log


def test_colors_go_by_the_logarithm_of_the_rate() -> None:
    info = curves_by_rate_info(tuple(falling(lr) for lr in (0.1, 0.001, 0.01)))
    spec = draw(info).to_dict()
    rates = info.plots[0].looks.gradient
    assert rates is not None
    for name in ("curves", "ends"):
        color = named(spec, name)[0]["encoding"]["color"]
        assert (color["field"], color["type"], color["legend"]["title"]) == ("series", "quantitative", "learning rate")
        assert (color["scale"]["type"], color["scale"]["domain"]) == ("log", [rates.low, rates.high])


def test_the_spec_holds_curves_ends_and_crosses_with_titled_axes() -> None:
    spec = draw(curves_by_rate_info((falling(0.01), falling(0.1), broken(10.0)))).to_dict()
    assert len(values(spec, named(spec, "ends")[0])) == 2
    assert len(values(spec, named(spec, "crosses")[0])) == 1
    assert {row["series"] for row in values(spec, named(spec, "curves")[0])} == {0.01, 0.1, 10.0}
    encoding = named(spec, "curves")[0]["encoding"]
    assert (encoding["x"]["title"], encoding["y"]["title"]) == ("step", "loss")
    assert spec["description"].startswith("Training loss vs. step. Lines: smoothed training loss")


def test_the_legend_is_one_gradient_and_not_a_symbol_for_each_rate(tmp_path: Path) -> None:
    curves = [falling(lr, steps=50) for lr in (1e-4, 1e-3, 0.01, 0.1, 1.0)]

    save_chart(draw(curves_by_rate_info(curves)), tmp_path / "drawn.svg")

    drawn = (tmp_path / "drawn.svg").read_text(encoding="utf-8")
    assert "role-legend-gradient" in drawn
    assert "role-legend-symbol" not in drawn
