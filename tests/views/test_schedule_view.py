"""The charts of schedules: values that hold until the next step, panels, key points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.views.chart_specs import flat_layers, texts, values

from stepsize.errors import InputError
from stepsize.views import draw, schedule_info
from stepsize.views.marks import Line
from stepsize.views.plot import Plot
from stepsize.views.schedule import Curve

pytestmark = pytest.mark.filterwarnings("error")

Floats = NDArray[np.floating[Any]]


def warmup_cosine(steps: int, warmup: int) -> NDArray[np.float64]:
    t = np.arange(steps)
    down = 0.5 * (1 + np.cos(np.pi * np.clip((t - warmup) / (steps - warmup), 0, 1)))
    return np.asarray(np.minimum((t + 1) / (warmup + 1), 1.0) * down, dtype=np.float64)


@pytest.fixture
def curve() -> Curve:
    lr = 0.01 * warmup_cosine(1000, 50)
    momentum, decay = 0.95 - 10 * lr, np.full(1000, 0.1)
    effective, scale = lr / (1 - momentum), 1 / (lr * decay)
    return {"lr": lr, "momentum": momentum, "weight_decay": decay, "effective_lr": effective, "timescale": scale}


def lines_of(plot: Plot) -> list[Line]:
    return [line for mark in plot.marks for line in plot[mark.name]]


def titles(*plots: Plot) -> list[str]:
    return [plot.y.title for plot in plots]


def lr_line(lr: Floats | list[float], *, log_lr: bool = False, steps: list[float] | None = None) -> Line:
    at = np.arange(len(lr), dtype=np.float64) if steps is None else steps
    [plot] = schedule_info(at, {"a": {"lr": np.asarray(lr, dtype=np.float64)}}, log_lr=log_lr).plots
    [line] = lines_of(plot)
    return line


def drawn_at(line: Line, x: float) -> float:
    """The height of the line at ``x``: that of the last place where it changed."""
    return line.y[int(np.searchsorted(line.x, x, side="right")) - 1]


def test_a_value_holds_until_the_next_step_and_the_last_one_to_the_end() -> None:
    line = lr_line([1.0, 1.0, 0.5, 0.4])
    assert (line.x, line.y) == ((0.0, 2.0, 3.0, 4.0), (1.0, 0.5, 0.4, 0.4))
    assert (lr_line([0.3]).x, lr_line([0.3]).y) == ((0.0, 1.0), (0.3, 0.3))
    last = lr_line([3.0, 2.0, 1.0], steps=[100.0, 110.0, 130.0])
    assert (last.x[0], last.x[-1]) == (100.0, 150.0)


@pytest.mark.parametrize("steps", [9, 1000, 50_000])
def test_a_staircase_has_a_point_for_each_of_its_treads_however_long_it_is(steps: int) -> None:
    lr = 0.1 * 0.5 ** (np.arange(steps) // (steps // 9))
    line = lr_line(lr)
    assert line.x[:-2] == tuple(float(step) for step in [0, *(np.flatnonzero(np.diff(lr)) + 1)])[: len(line.x) - 2]
    assert [drawn_at(line, step) for step in range(0, steps, max(1, steps // 500))] == lr[
        :: max(1, steps // 500)
    ].tolist()


@pytest.mark.parametrize(("jumps", "log_lr"), [(3, True), (200, False)])
def test_very_many_steps_are_thinned_without_losing_jumps_peaks_or_ends(jumps: int, log_lr: bool) -> None:
    rng = np.random.default_rng(0)
    lr = np.ones(100_000)
    places = np.sort(rng.choice(np.arange(500, 99_500, 97), jumps, replace=False))
    for place in places:
        lr[place:] *= 0.9 if place % 2 else 1 / 0.9
    lr[77_777] = 2 * lr.max()
    lr *= 1 - 1e-7 * np.arange(100_000)  # which changes at every step
    lr[0], lr[-1] = 1.234, 0.321
    line = lr_line(lr, log_lr=log_lr)
    assert len(line.x) <= 2100
    assert (max(line.y), min(line.y)) == (lr.max(), lr.min())
    assert (line.y[0], line.y[-1]) == (1.234, 0.321)
    assert 77_777 in line.x
    at = np.arange(0, 100_000, 7)
    off = at[np.abs(np.array([drawn_at(line, float(x)) for x in at]) / lr[at] - 1) > 0.02]
    beside = np.abs(off[:, None] - np.array([0, 77_777, *places])).min(axis=1)
    assert (beside <= 200).all()  # a jump shows within its own thousandth of the width, which is half a pixel


def test_every_peak_of_cycles_is_kept_in_place() -> None:
    t = np.arange(100_000)
    line = lr_line(0.1 + 0.9 * (1 - np.abs((t % 2000) / 1000 - 1)))
    peaks = {x for x, y in zip(line.x, line.y, strict=True) if y == 1.0}
    assert peaks == set(range(1000, 100_000, 2000))


def test_only_panels_with_something_to_show_are_there(curve: Curve) -> None:
    plain: Curve = {"lr": curve["lr"]}
    assert titles(*schedule_info(np.arange(1000), {"plain": plain}).plots) == ["learning rate"]
    plots = schedule_info(np.arange(1000), {"plain": plain, "cosine": curve}).plots
    assert titles(*plots) == ["learning rate", "momentum", "weight decay", "lr/(1−m)", "1/(lr·wd)"]
    assert [len(lines_of(plot)) for plot in plots] == [2, 1, 1, 1, 1]
    assert plots[0].looks.names == ("plain", "cosine")


def test_nothing_of_a_linear_axis_is_clipped() -> None:
    spike = np.full(1000, 1e-4)
    spike[3:5] = 1.0
    curve = dict.fromkeys(("lr", "momentum", "weight_decay", "effective_lr"), spike)
    plots = schedule_info(np.arange(1000), {"spike": curve}).plots
    assert len(plots) == 4
    assert all(plot.y.low <= min(lines_of(plot)[0].y) and plot.y.high >= 1.0 for plot in plots)
    assert plots[0].y.low <= 0
    assert not plots[0].y.log


def test_infinite_time_scales_are_left_out_with_a_note() -> None:
    scale = [math.inf, 1e3, 2e3, math.inf, math.inf, 4e3]
    info = schedule_info(np.arange(6), {"a": {"lr": np.ones(6), "timescale": scale}})
    assert info.plots[1].y.log
    assert [line.x for line in lines_of(info.plots[1])] == [(1.0, 2.0, 3.0), (5.0, 6.0)]
    assert "Left out because infinite: 3 of 6 values of 1/(lr·wd)." in " ".join(info.lines)


def test_a_time_scale_that_is_infinite_throughout_is_a_note_and_no_panel() -> None:
    info = schedule_info([0, 1], {"a": {"lr": [1, 1], "timescale": [math.inf, math.inf]}})
    assert titles(*info.plots) == ["learning rate"]
    assert info.lines == ("1/(lr·wd) is infinite throughout.",)


def test_the_last_updates_of_a_decay_do_not_stretch_the_time_scale(curve: Curve) -> None:
    scales = np.asarray(curve["timescale"])
    info = schedule_info(np.arange(1000), {"cosine": curve})
    axis = info.plots[-1].y
    assert math.log10(axis.high / axis.low) < 4.5 < math.log10(max(scales) / min(scales))
    assert axis.count == 3
    assert "Its axis ends 4 decades above the lowest." in info.lines[0]


def test_a_log_axis_leaves_zeros_out_and_ends_six_decades_below_the_peak() -> None:
    lr = [1.0, 1e-3, 1e-9, 0.0]
    info = schedule_info(np.arange(4), {"a": {"lr": lr}}, log_lr=True)
    [plot] = info.plots
    assert plot.y.log
    assert 1e-7 < plot.y.low < 1e-3
    assert lines_of(plot)[0].x[-1] == 3.0
    assert info.lines == ("Left out because not positive: 1 of 4 values. The axis ends 6 decades below the peak.",)


def test_key_points_are_flags_whose_texts_stand_once_and_whose_rules_stand_in_all_panels(curve: Curve) -> None:
    marks = ((50, "warm-up ends"), (1000, "end"))
    view = schedule_info(np.arange(1000), {"cosine": curve}, marks=marks)
    assert [(flag.x, flag.text) for flag in view.plots[0].flags] == [(50.0, "warm-up ends"), (1000.0, "end")]
    spec = draw(view).to_dict()
    assert texts(spec) == ["warm-up ends", "end"]
    for panel in spec["vconcat"]:
        assert sum(layer["mark"]["type"] == "rule" for layer in flat_layers(panel)) == 2


def test_the_spec_stacks_panels_on_one_titled_axis_of_steps(curve: Curve) -> None:
    view = schedule_info(np.arange(1000), {"cosine": curve}, title="Cosine", subtitle="Peak 0.01.", lr_label="factor")
    spec = draw(view).to_dict()
    layers = [flat_layers(panel)[0] for panel in spec["vconcat"]]
    assert [layer["encoding"]["y"]["title"] for layer in layers] == [
        "factor", "momentum", "weight decay", "lr/(1−m)", "1/(lr·wd)",
    ]  # fmt: skip
    assert [layer["encoding"]["x"]["title"] for layer in layers] == [None] * 4 + ["step"]
    assert len({str(layer["encoding"]["x"]["scale"]["domain"]) for layer in layers}) == 1
    assert spec["vconcat"][0]["height"] > 2 * spec["vconcat"][1]["height"]
    assert spec["title"]["text"] == "Cosine"
    assert spec["title"]["subtitle"][0] == "Peak 0.01."
    assert layers[0]["encoding"]["color"]["legend"] is None


def test_eight_schedules_have_eight_colors_and_a_legend_in_their_order() -> None:
    names = [f"schedule number {number}" for number in range(8)]
    curves: dict[str, Curve] = {name: {"lr": np.linspace(1, i / 8, 30)} for i, name in enumerate(names)}
    spec = draw(schedule_info(np.arange(30), curves)).to_dict()
    layers = flat_layers(spec)
    color = layers[0]["encoding"]["color"]
    assert color["scale"]["domain"] == names
    assert len(set(color["scale"]["range"])) == 8
    assert 1 <= color["legend"]["columns"] < 8
    widths = [layer["mark"]["strokeWidth"] for layer in layers]
    assert widths == sorted(set(widths), reverse=True)
    assert [values(spec, layer)[0]["series"] for layer in layers] == names


def test_a_log_axis_needs_a_positive_rate() -> None:
    with pytest.raises(InputError, match="log_lr must be False if no learning rate is positive"):
        schedule_info([0, 1], {"a": {"lr": [0.0, 0.0]}}, log_lr=True)
