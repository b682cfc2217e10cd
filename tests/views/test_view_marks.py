"""Marks: points at their places, flags whose texts never meet, lines in finite pieces, thinning."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from stepsize.errors import InputError
from stepsize.views import (
    MapDimension,
    answer_info,
    curves_by_rate_info,
    heat_map_info,
    outcomes_info,
    range_test_info,
    run_info,
    series_info,
)
from stepsize.views.axes import Axis, lr_axis
from stepsize.views.marks import Flag, edge_notes, line_through, place_flags, place_point, thinned

Y = Axis(0.0, 10.0, False, "loss")


@pytest.mark.parametrize(("value", "kind", "y"), [
    (5.0, "inside", 5.0), (10.0, "inside", 10.0), (10.1, "above", 9.7), (-0.1, "below", 0.3),
    (math.nan, "not finite", 9.7), (math.inf, "not finite", 9.7), (-math.inf, "not finite", 9.7),
])  # fmt: skip
def test_a_point_stands_inside_or_on_the_edge_that_it_lies_beyond(value: float, kind: str, y: float) -> None:
    point = place_point(0.1, value, "s", Y)
    assert (point.kind, point.y) == (kind, y)


def test_a_diverged_point_is_a_cross_whatever_its_loss() -> None:
    point = place_point(0.1, 3.0, "s", Y, diverged=True)
    assert (point.kind, point.y, point.value) == ("diverged", 9.7, 3.0)


def test_each_kind_beyond_the_axis_has_its_sentence() -> None:
    points = [place_point(0.1, value, "s", Y) for value in (1.0, 20.0, 3e5, -4.0, math.nan)]
    assert edge_notes(points) == (
        "Triangles at the top: 2 above the axis, up to 3e5.",
        "Triangles at the bottom: 1 below the axis, down to -4.",
        "Crosses at the top: 1 not finite.",
    )
    broken = [place_point(0.1, 1.0, "s", Y, diverged=True), *points[-1:]]
    assert edge_notes(broken) == ("Crosses at the top: 1 diverged, 1 not finite.",)
    assert edge_notes(points[:1]) == ()


def spans(flags: Iterable[Flag], axis: Axis, width: float) -> Iterator[tuple[Flag, float, tuple[float, float]]]:
    """Per flag the place of its rule and what its text covers, in pixels; 6 a character is about the truth."""
    for flag in flags:
        place, length = axis.position(flag.x) * width, 6 * len(flag.text)
        yield flag, place, (place, place + length) if flag.side == "right" else (place - length, place)


@pytest.mark.parametrize("seed", range(40))
def test_no_text_of_a_flag_meets_another_text_or_a_foreign_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axis = lr_axis([1e-6, 1.0])
    spread = rng.choice([0.02, 0.3, 2.0])
    middle = rng.uniform(-6, 0)
    wanted = [(float(10 ** np.clip(middle + spread * rng.standard_normal(), -6, 0)), t, "low") for t in
              ("low 1.23e-4", "lr 0.00123", "high 0.0123", "diverged 0.236")]  # fmt: skip
    placed = list(spans(place_flags(wanted, axis, 640.0), axis, 640.0))
    assert len(placed) == 4
    for flag, _, (start, stop) in placed:
        for other, place, (begin, end) in placed:
            if other is flag:
                continue
            assert other.row != flag.row or stop <= begin or end <= start
            assert not (start < place < stop and other.row >= flag.row)


def test_flags_far_apart_share_one_row_and_those_at_the_right_edge_turn_left() -> None:
    axis = lr_axis([1e-6, 1.0])
    flags = place_flags([(1e-5, "low", "low"), (1e-3, "lr", "lr"), (0.9, "diverged 0.9", "diverged")], axis, 640.0)
    assert [flag.row for flag in flags] == [0, 0, 0]
    assert {flag.side for flag in flags} == {"left"}


def test_flags_at_one_place_are_stacked() -> None:
    flags = place_flags([(0.01, "low 0.01", "low"), (0.01, "lr 0.01", "lr")], lr_axis([1e-4, 1.0]), 640.0)
    assert sorted(flag.row for flag in flags) == [0, 1]


def test_no_flags_are_no_flags() -> None:
    assert place_flags([], lr_axis([0.1]), 640.0) == ()


def test_a_line_is_cut_into_its_finite_pieces() -> None:
    pieces = line_through("fit", [1, 2, 3, 4, 5], [1.0, 2.0, math.nan, 3.0, math.inf], Y)
    assert [piece.x for piece in pieces] == [(1.0, 2.0), (4.0,)]
    assert line_through("fit", [], [], Y) == ()


def test_a_line_ends_beyond_the_axis_and_not_at_infinity() -> None:
    (piece,) = line_through("fit", [1, 2, 3], [5.0, 1e12, -1e12], Y)
    assert piece.y == (5.0, 20.0, -10.0)
    (piece,) = line_through("fit", [1, 2], [-3.0, 5.0], Axis(1.0, 10.0, True, "loss"))
    assert piece.y == pytest.approx((0.1, 5.0))


def test_thinning_keeps_extremes_and_what_is_not_finite() -> None:
    values = np.random.default_rng(0).standard_normal(50_000)
    values[[123, 40_000]] = (90.0, math.nan)
    kept = thinned(values, 1000)
    assert len(kept) <= 1001
    assert {123, 40_000, int(np.nanargmin(values))} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()
    assert thinned(values[:1000], 1000).tolist() == list(range(1000))


@pytest.mark.parametrize(("info", "given"), [
    (answer_info, [(), 10]), (curves_by_rate_info, [()]), (heat_map_info, [(), MapDimension("clip")]),
    (outcomes_info, [()]), (range_test_info, [[], []]), (run_info, [[]]),
    (partial(series_info, title="-"), [(), "step"]),
], ids=["answer", "curves", "map", "outcomes", "range test", "run", "series"])  # fmt: skip
def test_nothing_to_draw_is_refused(info: Callable[..., object], given: list[Any]) -> None:
    with pytest.raises(InputError, match=r"must not be empty; got .*There is nothing to draw"):
        info(*given)
