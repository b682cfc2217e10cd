"""Charts of a page that stays open: which panels there are, that runs are told apart, and that the width fits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stepsize.curves.lr_model import Point
from stepsize.errors import InputError
from stepsize.views import answer_info, draw, live_chart, page_spec, signals_info
from stepsize.views.signals import Series
from stepsize.views.theme import DARK

STEPS = np.arange(100)


def signals(**values: float) -> dict[str, Series]:
    return {
        name.replace("_0", "/0").replace("_1", "/1"): (STEPS, np.linspace(value, value / 2, 100))
        for name, value in values.items()
    }


def test_one_run_has_its_series_together_and_several_runs_one_series_a_panel() -> None:
    one = signals(loss=2.0, lr_0=0.1, lr_1=0.3, momentum_0=0.9) | {"val_loss": (STEPS, np.ones(100))}

    single = {panel.title: [series.name for series in panel.lines] for panel in signals_info({"a": one}, planned=400)}
    several = {panel.title: [series.name for series in panel.lines] for panel in signals_info({"a": one, "b": one})}

    assert single == {
        "loss": ["training", "validation"],
        "learning rate": ["group 0", "group 1"],
        "momentum": ["group 0"],
    }
    titles = ("training loss", "validation loss", "learning rate", "momentum")
    assert several == {title: ["a", "b"] for title in titles}


def test_a_rate_that_ends_at_zero_does_not_stretch_its_axis() -> None:
    for end in (1e-9, 0.0):
        rates = np.append(np.geomspace(0.1, 1e-3, 99), end)
        [panel] = signals_info({"a": {"lr/0": (STEPS, rates)}})
        assert panel.y.log
        assert 1e-4 < panel.y.low < 1e-3


def test_planned_steps_are_on_the_axis_and_an_explosion_does_not_stretch_it() -> None:
    loss = np.linspace(2.0, 1.0, 100)
    loss[50] = 1e9
    [panel] = signals_info({"a": {"loss": (STEPS, loss)}}, planned=400)
    assert panel.x.high >= 400
    assert panel.y.high < 10
    assert signals_info({"a": {"loss": (STEPS, np.full(100, np.nan))}}) == ()
    assert signals_info({}) == ()


def test_sixty_runs_differ_in_color_or_dashes_and_keep_both_in_all_panels() -> None:
    runs = {f"run {place}": signals(loss=1.0 + place, lr_0=0.1) for place in range(60)}
    loss, rate = signals_info(runs)
    looks = {(one.color, one.dash) for one in loss.lines}
    assert len(looks) == 60
    assert [(one.color, one.dash) for one in rate.lines] == [(one.color, one.dash) for one in loss.lines]


@pytest.mark.parametrize("dark", [False, True])
def test_a_chart_of_a_page_has_its_width_its_colors_and_places_for_points(dark: bool) -> None:
    [panel] = signals_info({"<b>": signals(loss=1.0)})
    spec = page_spec(live_chart(panel), 333, dark=dark)

    names = {layer["data"]["name"] for layer in spec["layer"]}
    assert names == {"line", "raw", "future", "hover", "marks"}
    assert (spec["width"], spec["autosize"]["type"]) == (333, "fit-x")
    text = json.dumps(spec).upper()
    assert any(color in text for color in map(str.upper, DARK.values())) is dark
    assert any(f'"{color}"' in text for color in DARK) is not dark


def test_two_panels_of_an_answer_fit_and_data_stay_as_they_are() -> None:
    runs = [Point(10**-place, 640.0) for place in range(1, 5)]
    spec = page_spec(draw(answer_info(runs, 100, train=runs, lr=0.01)), 300)
    assert [panel["width"] for panel in spec["vconcat"]] == [216, 216]
    assert '"value": 640' in json.dumps(spec)  # a loss, and no width
    assert "title" not in spec


def test_a_width_without_room_is_refused() -> None:
    [panel] = signals_info({"a": signals(loss=1.0)})
    with pytest.raises(InputError, match="width"):
        page_spec(live_chart(panel), 100)
