from __future__ import annotations

import math

import numpy as np
import pytest
from benchmarks.fastai_rules import Smoothed, argmin_tenth, minimum, slide, steep, trimmed, valley

LRS = 10.0 ** np.linspace(-6, 2, 81)  # a tenth of a decade apart


def test_smoothing_of_a_constant_loss_has_no_bias() -> None:
    smoothed = Smoothed()
    assert [smoothed.update(3.0) for _ in range(5)] == pytest.approx([3.0] * 5)


def test_smoothing_weighs_two_losses_by_beta() -> None:
    smoothed = Smoothed(beta=0.9)
    smoothed.update(1.0)
    assert smoothed.update(2.0) == pytest.approx((0.9 * 0.1 * 1.0 + 0.1 * 2.0) / (1 - 0.9**2))


def test_trimming_drops_a_tenth_of_the_planned_steps_and_the_last_five() -> None:
    lrs, losses = trimmed(list(range(60)), [float(k) for k in range(60)], planned=100)
    assert (lrs[0], lrs[-1], losses[0]) == (10, 54, 10.0)


def test_trimming_cuts_at_the_first_nan() -> None:
    losses = [1.0] * 30 + [math.nan] * 30
    assert len(trimmed(list(range(60)), losses, planned=100)[0]) == 20


def test_a_sweep_that_stopped_at_once_leaves_no_answer() -> None:
    with pytest.raises(ValueError, match="16 steps leave 1 points"):
        trimmed([1.0] * 16, [1.0] * 16, planned=100)


def test_valley_takes_the_middle_third_of_the_falling_stretch() -> None:
    # Flat for 20 points, falling for 30 (21 with the point that it falls from), rising after.
    losses = np.concatenate([np.full(20, 5.0), 5.0 - np.arange(1, 31) * 0.1, np.full(31, 9.0)])
    # The longest fall has 31 points and ends at index 49: 49 - 31 + 31 // 3 + int(31 / 6) = 33.
    assert valley(LRS, losses) == pytest.approx(LRS[33])


def test_valley_of_a_purely_falling_curve_starts_one_point_early() -> None:
    # All n points fall, so the stretch starts at -1: -1 + 10 + 5.
    assert valley(LRS[:30], np.arange(30, 0, -1.0)) == pytest.approx(LRS[14])


def test_steep_finds_the_steepest_fall_per_decade() -> None:
    losses = 1 / (1 + np.exp(8 * (np.log10(LRS) + 2)))
    assert abs(math.log10(steep(LRS, losses)) + 2) <= 0.1


def test_steep_counts_decades_and_not_raw_rates() -> None:
    losses = 1 / (1 + np.exp(8 * (np.log10(LRS) + 2)))
    losses[0] += 0.01  # a fall of 0.01 over 3e-7 would be the steepest per rate
    assert abs(math.log10(steep(LRS, losses)) + 2) <= 0.1


def test_minimum_is_a_tenth_of_the_best_rate() -> None:
    assert minimum(LRS, (np.log10(LRS) + 1) ** 2) == pytest.approx(1e-2)


def test_argmin_passes_over_losses_that_are_not_finite() -> None:
    losses = (np.log10(LRS) + 1) ** 2
    losses[70:] = math.nan
    assert argmin_tenth(LRS, losses) == pytest.approx(1e-2)
    with pytest.raises(ValueError, match="no loss is finite"):
        argmin_tenth(LRS, np.full(81, math.inf))


def test_slide_stops_where_the_slopes_at_both_ends_agree() -> None:
    # Level until index 40, then rising ever faster: the ends of the window disagree until it lies before the rise.
    losses = np.concatenate([np.ones(41), 1 + 0.01 * np.arange(1, 41) ** 2])
    # The left end moves down from 65; it stops at the first left end whose right end has the slope of the level part.
    picked = int(np.argmin(np.abs(LRS - slide(LRS, losses))))
    slopes = np.gradient(losses)
    assert abs(slopes[picked + 15] - slopes[picked]) > 0.005
    assert abs(slopes[picked + 14] - slopes[picked - 1]) <= 0.005


def test_slide_depends_on_the_unit_of_the_loss() -> None:
    losses = np.concatenate([np.ones(41), 1 + 0.01 * np.arange(1, 41) ** 2]) + 1e-4 * np.sin(np.arange(81))
    assert slide(LRS, losses) > 10 * slide(LRS, 1000 * losses)


def test_slide_needs_a_window_of_points() -> None:
    with pytest.raises(ValueError, match="fewer than the window"):
        slide(LRS[:10], np.ones(10))
