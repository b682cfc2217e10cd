"""Axes: limits that explosions do not stretch, ticks that read well, numbers as text."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepsize.curves.numerals import number_text, span_text, wrapped
from stepsize.views.axes import clip_levels, lr_axis, step_axis, value_axis

REST = [1.0, 2.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(("values", "keep", "levels"), [
    ([*REST, 1e9], (), (1.0, 3.0)),  # an explosion is cut at twice the height of the rest
    ([*REST, 3.2], (), (1.0, 3.2)),  # a small overshoot is shown whole
    ([*REST, 1e9], [-5.0, 8.0, math.nan], (-5.0, 8.0)),
    ([2.3, 2.31, 2.3, 2.29, 2.3, 2.2, 1.5, 0.4], (), (0.4, 2.31)),  # progress is never cut
    ([], (), (0.0, 1.0)),
    ([math.nan, math.inf, -math.inf], (), (0.0, 1.0)),
    ([math.nan], (2.0, 3.0), (2.0, 3.0)),
    ([4.0], (), (4.0, 4.0)),
])  # fmt: skip
def test_levels_worth_showing(values: list[float], keep: tuple[float, ...], levels: tuple[float, float]) -> None:
    assert clip_levels(values, keep) == levels


def test_a_fall_out_of_all_proportion_is_cut() -> None:
    low, _ = clip_levels([*np.linspace(1, 2, 20), -1e12])
    assert -1e3 < low <= 1.0


def test_levels_follow_a_shift_and_a_scale_of_the_losses() -> None:
    losses = np.random.default_rng(0).standard_normal(200)
    losses[-5:] = 1e4
    low, high = clip_levels(losses)
    assert high < 20
    np.testing.assert_allclose(clip_levels(losses * 1000 - 7), (low * 1000 - 7, high * 1000 - 7), rtol=1e-9)


def test_the_largest_floats_overflow_nothing() -> None:
    axis = value_axis([1.7e308, -1.7e308, 1.0], "loss")
    assert math.isfinite(axis.low)
    assert math.isfinite(axis.high)


def test_a_constant_loss_stands_in_the_middle_of_its_axis() -> None:
    for level in (2.5, 0.0, -3.0):
        axis = value_axis([level, level], "loss")
        assert axis.low < level < axis.high
        assert axis.position(level) == pytest.approx(0.5)


def test_an_axis_without_a_finite_value_bears_no_numbers() -> None:
    assert value_axis([math.nan], "loss").empty
    assert not value_axis([math.nan, 1.0], "loss").empty


def test_losses_over_more_than_one_and_a_half_decades_get_a_log_axis_if_all_are_positive() -> None:
    wide = np.logspace(-2, 0, 20)
    assert value_axis(wide, "loss", may_log=True).log
    assert not value_axis(wide, "loss").log
    assert not value_axis(np.logspace(-1, 0, 20), "loss", may_log=True).log
    assert not value_axis([*wide, 0.0], "loss", may_log=True).log


def test_one_explosion_alone_makes_no_log_axis() -> None:
    axis = value_axis([*np.linspace(1, 2, 30), 1e8], "loss", may_log=True)
    assert not axis.log
    assert axis.high < 5


def test_a_log_axis_holds_its_values_with_air_at_both_ends() -> None:
    axis = lr_axis([1e-4, 1e-1])
    assert axis.log
    assert axis.title == "learning rate"
    assert 0 < axis.position(1e-4) < 0.1
    assert 0.9 < axis.position(1e-1) < 1
    assert axis.at(axis.position(1e-3)) == pytest.approx(1e-3)


def test_a_single_rate_is_in_the_middle() -> None:
    axis = lr_axis([0.01])
    assert axis.position(0.01) == pytest.approx(0.5)


def test_the_axis_of_steps_leaves_room_for_marks_at_both_ends() -> None:
    axis = step_axis(1000)
    assert axis.low < 0 < 1000 < axis.high
    assert step_axis(0).high > 1


@pytest.mark.parametrize(("value", "text"), [
    (0.00099996, "0.001"), (9999.6, "1e4"), (9994.0, "9990"), (-0.0123, "-0.0123"), (2.5e-9, "2.5e-9"), (100.0, "100"),
    (math.inf, "inf"), (-math.inf, "-inf"), (0.1 + 0.2, "0.3"), (1e300, "1e300"),
])  # fmt: skip
def test_numbers_have_three_digits_and_no_idle_zeros(value: float, text: str) -> None:
    assert number_text(value) == text


def test_rounding_a_number_for_the_eye_moves_it_by_less_than_one_percent() -> None:
    for value in np.random.default_rng(1).lognormal(0, 6, 300):
        assert float(number_text(value)) == pytest.approx(value, rel=5.1e-3)


def test_sentences_begin_on_lines_of_their_own_and_empty_ones_vanish() -> None:
    assert span_text((1e-5, 0.5)) == "1e-5 to 0.5"
    lines = wrapped("word " * 60, "", "Last.")
    assert max(map(len, lines)) <= 116
    assert lines[-1] == "Last."
    assert "" not in lines
