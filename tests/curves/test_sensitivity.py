"""LR sensitivity as in its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepsize.curves.sensitivity import lr_sensitivity

INF = math.inf


def test_the_mean_excess_over_an_even_grid_is_that_of_a_fine_average() -> None:
    x = np.linspace(-4, -1, 7)
    values = 0.2 + (x + 2.5) ** 2
    found = lr_sensitivity((10**x).tolist(), values.tolist(), untrained=100.0)
    fine = np.interp(np.linspace(-4, -1, 100_001), x, values)

    assert found is not None
    assert found.value == pytest.approx(np.mean(fine - 0.2), rel=1e-4)
    assert found.best_lr == pytest.approx(10**-2.5)
    assert found.share == pytest.approx(1.0)


def test_a_diverged_run_and_one_far_above_count_as_much_as_an_untrained_model() -> None:
    lrs = [1e-3, 1e-2, 1e-1]
    lost, high, capped = (lr_sensitivity(lrs, [0.5, 0.1, last], untrained=0.9) for last in (INF, 50.0, 0.9))

    assert lost == high == capped
    assert capped is not None
    assert capped.value == pytest.approx(0.3)


def test_each_seed_is_capped_before_seeds_are_averaged() -> None:
    lrs = [1e-3, 1e-2, 1e-1, 1e-1]
    found = lr_sensitivity(lrs, [0.2, 0.1, 0.1, INF], untrained=0.9)

    assert found is not None
    assert found.value == pytest.approx((0.05 + 0.2) / 2)


def test_every_rate_alike_has_no_sensitivity() -> None:
    found = lr_sensitivity([1e-3, 1e-2, 1e-1], [0.3] * 3, untrained=2.0)

    assert found is not None
    assert found.value == 0


def test_the_default_range_is_three_decades_about_the_best_rate_and_nothing_is_extrapolated() -> None:
    found = lr_sensitivity([1e-3, 1e-2, 1e-1], [0.5, 0.1, 0.4], untrained=1.0)

    assert found is not None
    assert found.asked == pytest.approx((10**-3.5, 10**-0.5))
    assert found.covered == pytest.approx((1e-3, 1e-1))
    assert found.share == pytest.approx(2 / 3)
    assert found.value == pytest.approx((0.2 + 0.15) / 2)


def test_the_range_is_cut_by_interpolation() -> None:
    found = lr_sensitivity([1e-4, 1e-2, 1e-0], [3.0, 1.0, 3.0], untrained=10.0)

    assert found is not None
    assert found.value == pytest.approx(0.75)


def test_uneven_rates_are_weighed_by_the_decades_they_stand_for() -> None:
    even = lr_sensitivity([1e-3, 1e-2, 1e-1], [0.5, 0.1, 0.5], untrained=1.0)
    crowded = lr_sensitivity([1e-3, 1e-2, 3e-2, 9e-2, 1e-1], [0.5, 0.1, 0.29, 0.48, 0.5], untrained=1.0)

    assert even is not None
    assert crowded is not None
    assert crowded.value == pytest.approx(even.value, abs=0.01)


@pytest.mark.parametrize(
    ("lrs", "values"), [([], []), ([1e-2], [0.5]), ([1e-2, 1e-1], [INF, INF]), ([1e-2, 1e-1], [math.nan, 0.5])]
)
def test_without_two_rates_or_a_survivor_there_is_no_sensitivity(lrs: list[float], values: list[float]) -> None:
    assert lr_sensitivity(lrs, values, untrained=1.0) is None
