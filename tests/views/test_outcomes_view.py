"""The chart of outcomes: a panel per task, a row per schedule, a dot per seed."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.views import OutcomeGroup, outcomes_chart, outcomes_info
from stepsize.views.layers import CROSS

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture
def groups() -> tuple[OutcomeGroup, ...]:
    rng = np.random.default_rng(0)
    names = ("linear", "cosine", "constant")
    return tuple(
        OutcomeGroup(task, {name: scale * (1 + 0.1 * place + 0.02 * rng.random(5)) for place, name in enumerate(names)},
                     "validation loss")
        for task, scale in (("digits", 0.1), ("photos", 1.5))
    )  # fmt: skip


def group(*rows: tuple[str, list[float]]) -> tuple[OutcomeGroup]:
    return (OutcomeGroup("digits", dict(rows)),)


def test_each_seed_is_a_dot_in_its_row(groups: tuple[OutcomeGroup, ...]) -> None:
    panel = outcomes_info(groups).panels[0]
    losses = groups[0].losses["cosine"]
    row = [point for point in panel.points if point.series == "cosine"]
    assert [(point.x, point.y, point.kind) for point in row] == [(i, loss, "inside") for i, loss in enumerate(losses)]


def test_the_mean_stands_within_its_standard_error() -> None:
    (mean,) = outcomes_info(group(("a", [1.0, 2.0, 3.0, 6.0]))).panels[0].means
    error = np.std([1, 2, 3, 6], ddof=1) / 2
    assert mean.mean == 3.0
    np.testing.assert_allclose([mean.low, mean.high], [3 - error, 3 + error], rtol=1e-12)
    assert mean.text == "3.0 ± 1.1"


@pytest.mark.parametrize(("losses", "text"), [
    ([0.1201, 0.1203], "0.12020 ± 0.00010"),
    ([0.25], "0.25"),
    ([0.5, 0.5], "0.5 ± 0"),
    ([1e-9, 3e-9], "2e-9 ± 1e-9"),
    ([4000.0, 6000.0], "5000 ± 1000"),
    ([math.nan, 1.0, 3.0], "2.0 ± 1.0, 1 diverged"),
    ([math.inf, math.nan], "2 diverged"),
])  # fmt: skip
def test_means_are_told_as_precisely_as_they_are_known(losses: list[float], text: str) -> None:
    assert outcomes_info(group(("a", losses))).panels[0].means[0].text == text


def test_the_best_row_is_on_top_and_those_that_reached_nothing_at_the_bottom() -> None:
    rows = (("bad", [3.0]), ("nothing", [math.nan]), ("good", [1.0]), ("fair", [2.0]))
    means = outcomes_info(group(*rows)).panels[0].means
    assert [mean.name for mean in means] == ["good", "fair", "bad", "nothing"]


def test_an_outlier_stretches_nothing_and_a_whole_bad_row_is_seen() -> None:
    good = [1.0, 1.01, 1.02, 1.03, 1.04]
    rows = [(str(i), good) for i in range(6)]
    panel = outcomes_info(group(*rows, ("outlier", [1.0, 1.01, 1.02, 1.03, 30.0]))).panels[0]
    assert panel.axis.high < 1.2
    assert [point.kind for point in panel.points].count("above") == 1
    assert panel.means[-1].high == panel.axis.high
    panel = outcomes_info(group(*rows, ("constant", [1.5, 1.6, 1.55, 1.62, 1.58]))).panels[0]
    assert {point.kind for point in panel.points} == {"inside"}


def test_losses_over_decades_have_a_log_axis() -> None:
    panel = outcomes_info(group(("a", [1e-3, 2e-3]), ("b", [0.1, 0.2]), ("c", [1.0, 3.0]))).panels[0]
    assert panel.axis.log
    assert {point.kind for point in panel.points} == {"inside"}


def test_notes_name_only_the_marks_that_are_there(groups: tuple[OutcomeGroup, ...]) -> None:
    assert outcomes_info(groups, subtitle="Five seeds.").lines == (
        "Five seeds.",
        "Dots: seeds. Bars: their mean, with its standard error.",
    )
    assert outcomes_info(group(("a", [1.0]))).lines == ("Dots: seeds. Bars: their mean.",)
    assert "Crosses: diverged" in outcomes_info(group(("a", [1.0, math.nan]))).lines[0]
    wide = outcomes_info(group(("a", [1.0, 1.1, 1.2, 1.3, 90.0, 1.0]))).lines[0]
    assert "Triangles: beyond the axis." in wide
    assert "Crosses" not in wide


def test_the_spec_has_a_titled_panel_a_task_and_a_row_a_schedule(groups: tuple[OutcomeGroup, ...]) -> None:
    spec = outcomes_chart(outcomes_info(groups, title="By schedule")).to_dict()
    assert [panel["title"]["text"] for panel in spec["vconcat"]] == ["digits", "photos"]
    for panel in spec["vconcat"]:
        (dots,), (means,), (errors,) = (named(panel, name) for name in ("dots", "means", "errors"))
        assert len(values(spec, dots)) == 15
        assert len(values(spec, means)) == len(values(spec, errors)) == 3
        assert dots["encoding"]["x"]["title"] == "validation loss"
        assert dots["encoding"]["y"]["scale"]["domain"] == ["linear", "cosine", "constant"]
    assert len(texts(spec)) == 6
    assert all("±" in text for text in texts(spec))


def test_what_diverged_is_a_cross_and_what_lies_outside_a_triangle() -> None:
    rows = (("a", [1.0, 1.1, 1.2, 1.3, 1.2, 1.1]), ("b", [1.1, 1.2, 1.0, 90.0, math.nan, math.inf]))
    spec = outcomes_chart(outcomes_info(group(*rows))).to_dict()
    shapes = Counter(row["shape"] for row in values(spec, named(spec, "dots")[0]))
    assert shapes == {"circle": 9, "triangle-right": 1, CROSS: 2}
    assert [row["series"] for row in values(spec, named(spec, "means")[0])] == ["a"]
