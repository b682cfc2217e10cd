"""Local lines: no lag, spikes ignored, the noise told, and a naive twin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stepsize.curves.smoothing import Smooth, _kernel, _lines, smooth

Array = NDArray[np.float64]
X = np.linspace(-6, 1, 225)  # 32 points a decade
INSIDE = np.linspace(-5, 0, 51)


def noisy(y: Array, sigma: Array | float, seed: int = 0) -> Array:
    return np.asarray(y + sigma * np.random.default_rng(seed).standard_normal(len(y)))


def test_a_line_is_reproduced_up_to_both_ends() -> None:
    curve = smooth(X, 3 - 2 * X, at=X, half_width=0.3)
    assert np.allclose(curve.y, 3 - 2 * X, atol=1e-9)
    assert curve.outliers == 0


def test_the_vertex_of_a_parabola_stays_where_it_is() -> None:
    at = np.arange(-4, -1, 0.001)
    curve = smooth(X, (X + 2.5) ** 2, at=at, half_width=0.3)
    assert abs(at[np.argmin(curve.y)] + 2.5) < 0.005


def test_a_step_is_crossed_at_its_middle() -> None:
    at = np.arange(-4, -1, 0.001)
    curve = smooth(X, np.tanh((X + 2.5) / 0.2), at=at, half_width=0.3)
    assert abs(at[np.argmin(np.abs(curve.y))] + 2.5) < 0.005


def test_turning_the_curve_around_turns_the_smooth_around() -> None:
    y = noisy(np.sin(X), 0.2)
    there = smooth(X, y, at=INSIDE, half_width=0.3)
    back = smooth(-X[::-1], y[::-1], at=-INSIDE[::-1], half_width=0.3)
    assert np.allclose(there.y, back.y[::-1])
    assert np.allclose(there.noise, back.noise[::-1])


@pytest.mark.parametrize("position", [0, 1, 100, 223, 224])
@pytest.mark.parametrize("height", [50.0, -1e6])
def test_a_spike_is_ignored_wherever_it_stands(position: int, height: float) -> None:
    y = noisy(2 * X, 0.05)
    spiked = y.copy()
    spiked[position] += height
    clean, curve = (smooth(X, values, at=X, half_width=0.3) for values in (y, spiked))
    assert np.max(np.abs(curve.y - clean.y)) < 0.15  # the error at an end; the spike is hundreds of times as high
    assert curve.outliers >= 1


def test_two_spikes_side_by_side_are_ignored() -> None:
    y = noisy(2 * X, 0.05)
    y[60:62] += 1e5
    assert np.max(np.abs(smooth(X, y, at=X, half_width=0.3).y - 2 * X)) < 0.15


def test_spikes_on_an_exact_curve_are_ignored_too() -> None:
    y = 2 * X
    y[[20, 100]] += 5
    curve = smooth(X, y, at=X, half_width=0.3)
    assert np.allclose(curve.y, 2 * X, atol=1e-6)
    assert curve.outliers == 2


@pytest.mark.parametrize("sigma", [1e-3, 0.3, 50.0])
def test_the_noise_is_told_within_15_percent(sigma: float) -> None:
    told = [np.median(smooth(X, noisy(1 - X, sigma, s), at=INSIDE, half_width=0.3).noise) for s in range(40)]
    assert np.mean(told) == pytest.approx(sigma, rel=0.15)


def test_noise_that_grows_along_the_curve_is_told_where_it_is() -> None:
    sigma = np.where(X < -2.5, 0.05, 0.5)
    curves = [smooth(X, noisy(X, sigma, s), at=np.array([-4.0, -1.0]), half_width=0.3) for s in range(40)]
    low, high = np.mean([curve.noise for curve in curves], axis=0)
    assert low == pytest.approx(0.05, rel=0.15)
    assert high == pytest.approx(0.5, rel=0.15)


def test_the_standard_error_is_what_the_curve_really_strays_by() -> None:
    curves = [smooth(X, noisy(X, 0.3, s), at=INSIDE, half_width=0.3) for s in range(60)]
    strays = np.sqrt(np.mean([(curve.y - INSIDE) ** 2 for curve in curves]))
    assert np.mean([curve.error for curve in curves]) == pytest.approx(strays, rel=0.2)


def test_the_weights_are_the_operator_that_made_the_curve() -> None:
    y = noisy(np.sin(X), 0.1)
    curve = smooth(X, y, at=INSIDE, half_width=0.3)
    assert curve.weights.shape == (len(INSIDE), len(X))
    assert np.allclose(curve.weights @ y, curve.y)
    assert np.allclose(curve.weights.sum(axis=1), 1)


def test_duplicated_positions_do_no_harm() -> None:
    doubled = np.repeat(X, 3)
    assert np.allclose(smooth(doubled, 2 * doubled, at=INSIDE, half_width=0.3).y, 2 * INSIDE, atol=1e-9)


def test_points_at_one_position_give_their_level() -> None:
    curve = smooth(np.full(30, -2.0), noisy(np.full(30, 5.0), 0.1), at=np.array([-2.0]), half_width=0.3)
    assert curve.y[0] == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_few_points_give_finite_curves(count: int) -> None:
    x = np.linspace(0, 1, count)
    curve = smooth(x, 1 + x, at=np.linspace(0, 1, 7), half_width=0.3)
    assert all(np.isfinite(part).all() for part in (curve.y, curve.error, curve.noise))
    if count > 1:
        assert np.allclose(curve.y, 1 + np.linspace(0, 1, 7), atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 2.3, -1e6, 1e-300, 1e100])
def test_a_level_is_a_level_without_outliers_or_warnings(level: float) -> None:
    curve = smooth(X, np.full_like(X, level), at=X, half_width=0.3)
    assert np.allclose(curve.y, level, rtol=1e-12, atol=0)
    assert curve.outliers == 0


def test_scale_and_offset_go_straight_through() -> None:
    y = noisy(np.sin(X), 0.1)

    def of(values: Array) -> Smooth:
        return smooth(X, values, at=INSIDE, half_width=0.3)

    assert np.allclose(of(1000 * y).y, 1000 * of(y).y)
    assert np.allclose(of(1000 * y).noise, 1000 * of(y).noise)
    assert np.allclose(of(y + 1000).y, of(y).y + 1000)
    assert np.allclose(of(y + 1000).noise, of(y).noise)


# The naive twin: at each position a weighted fit of its own.


def tricube(distance: float, width: float) -> float:
    return max(0.0, 1 - (distance / width) ** 3) ** 3


def naive_lines(x: Array, y: Array, at: Array, half_width: float) -> Array:
    fitted = []
    for x0 in at:
        fifth = sorted(abs(x - x0))[min(4, len(x) - 1)]
        weights = np.array([tricube(abs(xi - x0), max(half_width, 1.001 * fifth)) for xi in x])
        fitted.append(np.polyfit(x - x0, y, 1, w=np.sqrt(weights))[-1])
    return np.array(fitted)


@pytest.mark.parametrize("count", [12, 60])
@pytest.mark.parametrize("half_width", [0.05, 0.3, 2.0])
@pytest.mark.parametrize("even", [True, False])
def test_the_local_lines_are_those_of_separate_weighted_fits(count: int, half_width: float, even: bool) -> None:
    generator = np.random.default_rng(count)
    x = np.linspace(-3, 0, count) if even else np.sort(generator.uniform(-3, 0, count))
    y = generator.standard_normal(count)
    at = np.linspace(-3, 0, 23)
    fast = _lines(x, at, _kernel(x, at, half_width)) @ y
    assert np.allclose(fast, naive_lines(x, y, at, half_width), rtol=1e-6, atol=1e-6)
