"""The chart of a run."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from tests.views.chart_specs import flat_layers, named, texts, values

from stepsize.views import draw, run_info

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def view() -> dict[str, Any]:
    steps = np.arange(200)
    mean = 0.3 + 2 * np.exp(-steps / 40)
    losses = mean + 0.05 * np.random.default_rng(0).standard_normal(200)
    rates = 0.01 * (1 - steps / 200)
    return {"losses": losses, "lrs": rates, "val_steps": [100, 200], "val_losses": [0.6, 0.4]}


def test_losses_marks_and_rates_stand_at_their_steps(view: dict[str, Any]) -> None:
    info = run_info(**view)
    assert [point.x for point in info.plots[0]["points"]] == list(range(200))
    assert [(point.x, point.value) for point in info.plots[0]["evals"]] == [(100.0, 0.6), (200.0, 0.4)]
    assert info.plots[1]["lr"][0].y[0] == 0.01
    assert info.plots[1].y.low <= 0 < 0.01 <= info.plots[1].y.high
    assert info.plots[0].flags == ()


def test_the_beginning_of_a_training_is_seen_however_short_it_was() -> None:
    steps = np.arange(2000)
    losses = 0.3 + 2 * np.exp(-steps / 40) + 0.02 * np.random.default_rng(0).standard_normal(2000)
    losses[1000] = 1e6
    assert [point.x for point in run_info(losses).plots[0]["points"] if point.kind == "above"] == [1000]


def test_a_divergence_is_a_flag_and_its_blow_up_flattens_nothing(view: dict[str, Any]) -> None:
    losses = np.concatenate([view["losses"], np.logspace(1, 9, 20), [math.nan]])
    info = run_info(losses, diverged_step=220)
    assert info.plots[0].y.high < 10
    assert [flag.text for flag in info.plots[0].flags] == ["diverged at step 220"]
    assert info.plots[0]["points"][-1].kind == "not finite"
    assert sum(point.kind == "above" for point in info.plots[0]["points"]) >= 18


def test_very_long_runs_are_thinned_to_what_the_eye_can_see() -> None:
    losses = 1 + np.random.default_rng(0).random(100_000)
    losses[77_777] = 2.4
    info = run_info(losses, lrs=np.full(100_000, 0.1))
    assert len(info.plots[0]["points"]) <= 3001
    assert 2.4 in [point.value for point in info.plots[0]["points"]]
    assert len(info.plots[0]["smoothed"][0].x) == len(info.plots[0]["points"])
    assert len(info.plots[1]["lr"][0].x) <= 3001


def test_the_smoothed_line_follows_the_losses_without_their_noise_up_to_the_first_that_is_not_finite() -> None:
    losses = 0.3 + 2 * np.exp(-np.arange(500) / 80) + 0.1 * np.random.default_rng(0).standard_normal(500)
    [line] = run_info(losses).plots[0]["smoothed"]
    assert len(line.y) == 500  # more steps than the smoother is given points
    assert np.std(np.diff(line.y[-100:])) < 0.2 * np.std(np.diff(losses[-100:]))
    assert np.mean(line.y[-100:]) == pytest.approx(losses[-100:].mean(), rel=0.1)
    [ended] = run_info(np.append(losses[:40], [math.inf] * 460)).plots[0]["smoothed"]
    assert list(ended.x) == list(range(40))
    assert not run_info(losses[:10]).plots[0]["smoothed"]


def test_losses_of_some_steps_stand_at_these_steps() -> None:
    info = run_info([3.0, 2.0, 1.0], steps=[0, 500, 999], lrs=[0.3, 0.2, 0.1], val_steps=[1_000], val_losses=[2.0])
    assert [point.x for point in info.plots[0]["points"]] == [0, 500, 999]
    assert list(info.plots[1]["lr"][0].x) == [0, 500, 999]
    assert info.plots[0].x.high == pytest.approx(1_012)


def test_the_spec_has_the_losses_above_the_rates_and_one_titled_axis_of_steps(view: dict[str, Any]) -> None:
    spec = draw(run_info(**view, title="A net")).to_dict()
    upper, lower = spec["vconcat"]
    (points,) = named(upper, "points")
    (rates,) = named(lower, "lr")
    assert len(values(spec, points)) == len(values(spec, rates)) == 200
    assert len(values(spec, named(upper, "evals")[0])) == 2
    assert len(values(spec, named(upper, "smoothed")[0])) == 200
    assert points["encoding"]["y"]["title"] == "loss"
    assert points["encoding"]["x"]["title"] is None
    assert rates["encoding"]["x"]["title"] == "step"
    assert rates["encoding"]["y"]["title"] == "learning rate"
    assert points["encoding"]["x"]["scale"]["domain"] == rates["encoding"]["x"]["scale"]["domain"]
    assert spec["title"]["text"] == "A net"


def test_the_divergence_is_ruled_in_both_panels_and_told_once(view: dict[str, Any]) -> None:
    spec = draw(run_info(view["losses"], lrs=view["lrs"], diverged_step=150)).to_dict()
    for panel in spec["vconcat"]:
        assert sum(layer["mark"]["type"] == "rule" for layer in flat_layers(panel)) == 1
    assert texts(spec) == ["diverged at step 150"]


def test_without_rates_there_is_one_panel() -> None:
    spec = draw(run_info([3.0, 2.0])).to_dict()
    assert "vconcat" not in spec
    assert named(spec, "points")[0]["encoding"]["x"]["title"] == "step"
