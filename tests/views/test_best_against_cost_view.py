"""The chart of the best so far against cost."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.views.chart_specs import named, texts, values

from stepsize.errors import InputError
from stepsize.views import (
    BestAgainstCostView,
    CostSeries,
    best_against_cost_chart,
    best_against_cost_info,
    save_chart,
)

pytestmark = pytest.mark.filterwarnings("error")

RANDOM = CostSeries("random", [1, 2, 3, 4, 5], [0.5, math.inf, 0.4, 0.45, 0.3])
TPE = CostSeries("tpe", [1, 2, 3, 4], [math.nan, 0.42, 0.42, 0.35])


def test_the_best_falls_only_at_improvements_and_ends_where_the_search_did() -> None:
    info = best_against_cost_info(BestAgainstCostView((RANDOM, TPE)))
    random, tpe = info.best
    assert (random.x, random.y) == ((1, 3, 3, 5, 5, 5), (0.5, 0.5, 0.4, 0.4, 0.3, 0.3))
    assert (tpe.x, tpe.y) == ((2, 4, 4, 4), (0.42, 0.42, 0.35, 0.35))
    assert [(p.series, p.x, p.value) for p in info.improvements] == [
        ("random", 1, 0.5), ("random", 3, 0.4), ("random", 5, 0.3), ("tpe", 2, 0.42), ("tpe", 4, 0.35),
    ]  # fmt: skip


def test_an_awful_first_run_does_not_flatten_the_rest() -> None:
    series = CostSeries("random", range(1, 8), [-400.0 + 900, 0.6, 0.5, 0.45, 0.4, 0.35, 0.3])
    info = best_against_cost_info(BestAgainstCostView((series,)))
    assert info.y.high < 2
    assert [point.value for point in info.improvements if point.kind == "above"] == [500.0]
    assert info.lines == ("Triangles at the top: 1 above the axis, up to 500.",)


def test_the_target_is_in_the_plot_wherever_it_lies_and_named() -> None:
    view = BestAgainstCostView((RANDOM,), target=0.1, target_text="grid of 64")
    info = best_against_cost_info(view)
    assert info.y.low < 0.1
    assert "grid of 64 0.1" in texts(best_against_cost_chart(view).to_dict())


def test_searches_are_told_apart_by_colour_and_dash() -> None:
    spec = best_against_cost_chart(BestAgainstCostView((RANDOM, TPE))).to_dict()
    encoding = named(spec, "best")[0]["encoding"]
    for channel in ("color", "strokeDash"):
        assert encoding[channel]["scale"]["domain"] == ["random", "tpe"]
    assert len(set(encoding["color"]["scale"]["range"])) == 2
    assert encoding["strokeDash"]["scale"]["range"] == [[], [8, 3]]
    assert len(values(spec, named(spec, "improvements")[0])) == 5
    assert (encoding["x"]["title"], encoding["y"]["title"]) == ("cost in full trainings", "best validation loss")


def test_a_single_search_needs_no_legend() -> None:
    spec = best_against_cost_chart(BestAgainstCostView((RANDOM,))).to_dict()
    assert named(spec, "best")[0]["encoding"]["color"]["legend"] is None


def test_costs_begin_at_zero_or_lie_on_a_log_axis_where_asked_for() -> None:
    assert best_against_cost_info(BestAgainstCostView((RANDOM,))).x.low == 0
    x = best_against_cost_info(BestAgainstCostView((RANDOM,), log_cost=True)).x
    assert x.log
    assert 0 < x.low < 1


def test_a_search_that_reached_nothing_is_named() -> None:
    lost = CostSeries("grid", [1.0, 2.0], [math.inf, math.nan])
    info = best_against_cost_info(BestAgainstCostView((RANDOM, lost)))
    assert info.lines == ("Nothing was reached by: grid.",)
    assert {line.series for line in info.best} == {"random"}


@pytest.mark.parametrize("series", [
    (CostSeries("a", [1.0], [0.5]),),
    (CostSeries("a", [1.0, 2.0], [math.inf, math.inf]),),
    (CostSeries("a", [1.0, 2.0], [0.0, 0.0]), CostSeries("b", [1.0, 2.0], [0.0, -1.0])),
], ids=["single run", "nothing reached", "zero and negative"])  # fmt: skip
def test_degenerate_searches_are_drawn_without_a_warning(
    series: tuple[CostSeries, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for log in (False, True):
        chart = best_against_cost_chart(BestAgainstCostView(series, target=0.2, log_cost=log))
        assert save_chart(chart, tmp_path / "a.png").stat().st_size > 5000
    assert "WARN" not in capfd.readouterr().err


def test_data_that_cannot_be_drawn_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="series must hold 1 to 8 searches, since more colours cannot be told apart"):
        BestAgainstCostView(())
    with pytest.raises(InputError, match="series must have different names"):
        BestAgainstCostView((RANDOM, RANDOM))
    with pytest.raises(InputError, match="name must not be empty"):
        CostSeries("", [1.0], [1.0])
    with pytest.raises(InputError, match="costs of 'a' must hold at least one run"):
        CostSeries("a", [], [])
    with pytest.raises(InputError, match="costs of 'a' must be positive and never fall"):
        CostSeries("a", [2.0, 1.0], [1.0, 1.0])
    with pytest.raises(InputError, match="costs of 'a' must be positive and never fall"):
        CostSeries("a", [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(InputError, match="values of 'a' must be a flat array, as long as costs of 'a'"):
        CostSeries("a", [1.0], [1.0, 2.0])
