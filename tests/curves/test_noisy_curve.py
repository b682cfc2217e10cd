"""The fit of one horizon through noise: known optima lie in the interval as often as it says, and bounds are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stepsize.curves.noisy_curve import (
    NoisyCurve,
    _evidence,
    _Noise,
    _Prior,
    _Runs,
    _Scale,
    _solve,
    _spread,
    fit_noisy_curve,
)
from stepsize.errors import InputError

Array = NDArray[np.float64]


def bowl(x: Array, optimum: float, *, left: float = 0.5, right: float = 1.0, width: float = 0.4) -> Array:
    """log loss with slopes left and right of a rounded bottom whose lowest point is at ``optimum``."""
    z = (x - optimum) / width + math.log(left / right)
    return np.asarray(width * (left * np.logaddexp(0, -z) + right * np.logaddexp(0, z)))


def runs(
    x: Array,
    seeds: int,
    *,
    optimum: float = -2.3,
    noise: float = 0.0,
    level: float = 0.0,
    growth: float = 0.0,
    rng: int = 0,
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Rates, values and seeds of a full design on the bowl; ``level`` is what a seed does at every rate."""
    random = np.random.default_rng(rng)
    luck = level * random.standard_normal((seeds, 1))
    spread = noise * np.exp(growth * (x - optimum))
    values = np.exp(bowl(x, optimum) + luck + spread * random.standard_normal((seeds, len(x))))
    return np.tile(10**x, seeds), values.ravel(), np.repeat(np.arange(seeds), len(x))


def fit(lrs: Array, values: Array, seeds: NDArray[np.int64], *, untrained: float | None = None) -> NoisyCurve:
    return fit_noisy_curve(lrs.tolist(), values.tolist(), seeds.tolist(), untrained=untrained)


@pytest.mark.parametrize("optimum", [-4.1, -2.3, -0.6])
def test_the_optimum_of_a_noisy_bowl_lies_in_the_interval_and_the_curve_follows_it(optimum: float) -> None:
    x = np.linspace(optimum - 1.7, optimum + 1.3, 11)
    curve = fit(*runs(x, 3, optimum=optimum, noise=0.02))

    low, high = curve.interval()
    assert low < 10**optimum < high
    assert math.log10(high / low) < 0.8
    assert curve.loss_at(10**optimum) == pytest.approx(math.exp(bowl(np.array([optimum]), optimum)[0]), rel=0.03)
    assert np.all(curve.low <= curve.loss)
    assert np.all(curve.loss <= curve.high)


def test_an_interval_of_higher_level_is_wider_and_a_level_of_one_is_refused() -> None:
    curve = fit(*runs(np.linspace(-4, -1, 9), 2, noise=0.03))

    assert curve.interval(0.95)[0] < curve.interval(0.8)[0] < curve.interval(0.8)[1] < curve.interval(0.95)[1]
    with pytest.raises(InputError, match=r"level must lie in \(0, 1\)"):
        curve.interval(1.0)


def wavy(x: Array, optimum: float, random: np.random.Generator) -> Array:
    """A bowl with slopes of its own and a wave on it, which no parabola follows; its lowest point is near."""
    left = 10 ** random.uniform(-0.8, 0.2)
    phase, size = random.uniform(0, 6), random.choice([0.0, 0.06]) * left
    plain = bowl(x, optimum, left=left, right=left * 10 ** random.uniform(-0.2, 0.6), width=random.uniform(0.2, 0.8))
    return np.asarray(plain + size * np.sin(3.0 * x + phase))


@pytest.mark.parametrize(("rates", "seeds"), [(6, 1), (9, 3)])
def test_eighty_percent_intervals_hold_the_truth_about_that_often(rates: int, seeds: int) -> None:
    held, expected, real = [], [], []
    for trial in range(30):
        random = np.random.default_rng(trial)
        dense = np.linspace(-5, 1, 1201)
        truth = wavy(dense, random.uniform(-3, -1), random)
        optimum = float(dense[truth.argmin()])
        x = np.linspace(0, 3, rates) + optimum - 3 * random.uniform(0.25, 0.75)
        noise = 10 ** random.uniform(-2, -1)
        levels = noise * random.standard_normal((seeds, 1))  # what a seed does at every rate
        spread = noise * np.exp(0.5 * (x - optimum)) * random.standard_normal((seeds, rates))
        values = np.exp(np.interp(x, dense, truth) + levels + spread)
        curve = fit(np.tile(10**x, seeds), values.ravel(), np.repeat(np.arange(seeds), rates))
        low, high = np.log10(curve.interval())
        held.append(low - 0.025 <= optimum <= high + 0.025)  # half a step of the table
        expected.append(curve.expected_regret(curve.best))
        real.append(math.expm1(float(np.interp(math.log10(curve.best), dense, truth)) - truth.min()))

    assert 0.7 <= np.mean(held) < 1.0
    assert np.mean(real) < 1.5 * np.mean(expected)  # what it promises is no smaller than what comes
    assert np.mean(expected) < 0.06


def test_more_seeds_narrow_the_interval() -> None:
    x = np.linspace(-4, -0.5, 10)
    few, many = (fit(*runs(x, seeds, noise=0.08)).interval() for seeds in (2, 9))

    assert math.log(many[1] / many[0]) < 0.8 * math.log(few[1] / few[0])


def test_what_a_seed_does_at_every_rate_cancels_when_seeds_are_shared() -> None:
    x = np.linspace(-4, -0.5, 10)
    lrs, values, seeds = runs(x, 4, noise=0.005, level=0.3)
    paired = fit(lrs, values, seeds).interval()
    unpaired = fit(lrs, values, np.arange(len(seeds))).interval()

    assert math.log(paired[1] / paired[0]) < 0.6 * math.log(unpaired[1] / unpaired[0])


def test_the_noise_is_found_in_the_unit_of_the_values_and_where_it_grows() -> None:
    x = np.linspace(-3.5, -1, 14)
    curve = fit(*runs(x, 9, noise=0.03, growth=1.2, level=0.1))
    places = np.array([-2.3, -1.1])
    at = np.interp(places, np.log10(curve.lrs), curve.noise)
    truth = 0.03 * np.exp(1.2 * (places + 2.3) + bowl(places, -2.3))

    assert at[1] > 4 * at[0]
    np.testing.assert_allclose(at, truth, rtol=0.5)


def test_noise_is_pooled_from_rates_nearby_and_not_from_all() -> None:
    x = np.repeat(np.linspace(-4, -1, 13), 6)
    random = np.random.default_rng(0)
    u = np.where(x < -2.4, 0.01, 0.1) * random.standard_normal(len(x)) + (x + 4)
    table = _Runs(x, u, np.tile(np.arange(6), 13))
    low, high = _Noise.of(table, u, 0).unscaled(np.array([-3.8, -1.2]), _spread(table, u))

    assert low == pytest.approx(0.01, rel=0.7)
    assert high == pytest.approx(0.1, rel=0.4)


def test_luck_is_taken_from_the_heights_before_they_are_flattened() -> None:
    x = np.linspace(-4, -1, 9)
    lrs, values, seeds = runs(x, 3, level=0.3)
    table = _Runs.checked(lrs.tolist(), values.tolist(), seeds.tolist())
    heights = _Scale.of(table, None).flattened(table).reshape(3, 9)

    np.testing.assert_allclose(heights, np.broadcast_to(heights[0], (3, 9)), atol=1e-9)


def test_diverged_runs_bound_the_rate_and_leave_the_curve_below_alone() -> None:
    x = np.linspace(-4, -1, 7)
    lrs, values, seeds = runs(x, 3, noise=0.01, optimum=-1.6)  # would be best at the sixth, were it not lost
    lost = lrs > 10**-2.2
    bounded = fit(lrs, np.where(lost, math.inf, values), seeds, untrained=5.0)
    free = fit(lrs[~lost], values[~lost], seeds[~lost], untrained=5.0)

    assert bounded.interval(0.95)[1] < 10**-2.0
    assert bounded.best <= 10**-2.5 * 1.001
    assert free.interval(0.95)[1] > bounded.interval(0.95)[1]
    inside = np.log10(bounded.lrs) < -2.5
    below = np.interp(np.log10(bounded.lrs[inside]), np.log10(free.lrs), free.loss)
    np.testing.assert_allclose(bounded.loss[inside], below, rtol=0.02)


def test_a_rate_at_which_one_seed_of_three_diverged_is_avoided_for_a_slightly_worse_safe_one() -> None:
    x = np.array([-3.0, -2.5, -2.0, -1.5])
    values = np.array([[0.5, 0.42, 0.41, 0.40], [0.51, 0.42, 0.41, math.inf], [0.5, 0.43, 0.41, math.inf]])
    curve = fit(np.tile(10**x, 3), values.ravel(), np.repeat(np.arange(3), 4), untrained=2.0)

    assert curve.best < 10**-1.7
    assert curve.expected_regret(10**-1.5) > 0.2


def test_a_cliff_above_the_optimum_does_not_push_the_answer_away() -> None:
    x = np.linspace(-4, -1, 11)
    values = np.where(x > -2.0, 8.0, 0.3 * np.exp(0.15 * (x + 2.2) ** 2))
    curve = fit(np.tile(10**x, 2), np.concatenate([values, 1.01 * values]), np.repeat([0, 1], 11))

    assert -2.8 < math.log10(curve.best) < -2.0
    assert curve.loss_at(10**-2.5) == pytest.approx(0.304, rel=0.03)


def test_a_flat_basin_gives_a_wide_interval_and_little_regret_anywhere() -> None:
    x = np.linspace(-4, -1, 10)
    random = np.random.default_rng(3)
    values = np.exp(0.01 * random.standard_normal((3, 10)))
    curve = fit(np.tile(10**x, 3), values.ravel(), np.repeat(np.arange(3), 10))
    low, high = curve.interval()

    assert math.log10(high / low) > 1.5
    assert curve.expected_regret(1e-2) < 0.03


def test_losses_that_are_all_equal_give_an_answer_that_says_nothing() -> None:
    curve = fit_noisy_curve([1e-3, 1e-2, 1e-1], [0.5, 0.5, 0.5])

    assert curve.loss_at(1e-2) == pytest.approx(0.5)
    assert math.log10(curve.interval()[1] / curve.interval()[0]) > 1


def test_three_rates_of_one_seed_give_a_wide_interval_around_the_middle_one() -> None:
    curve = fit_noisy_curve([1e-3, 1e-2, 1e-1], [0.6, 0.4, 0.7])
    low, high = curve.interval()

    assert low < 1e-2 < high
    assert 0.5 < math.log10(high / low) < 2.5


@given(shift=st.floats(-3, 3), scale=st.floats(1e-5, 1e5))
@settings(max_examples=6, deadline=None)
def test_the_units_of_rate_and_loss_do_not_matter(shift: float, scale: float) -> None:
    lrs, values, seeds = runs(np.linspace(-4, -1, 7), 2, noise=0.02)
    plain, moved = fit(lrs, values, seeds), fit(lrs * 10**shift, values * scale, seeds)

    moved_low, moved_high = moved.interval()
    assert math.log10(moved_low / plain.interval()[0]) == pytest.approx(shift, abs=0.02)
    assert math.log10(moved_high / plain.interval()[1]) == pytest.approx(shift, abs=0.02)
    assert moved.loss_at(1e-2 * 10**shift) == pytest.approx(scale * plain.loss_at(1e-2), rel=1e-3)


def test_a_negated_metric_is_fitted_and_its_regret_is_relative_to_what_training_gained() -> None:
    x = np.linspace(-4, -1, 9)
    accuracy = 0.9 - 0.2 * (x + 2.4) ** 2
    curve = fit(10**x, -accuracy, np.zeros(9, np.int64), untrained=-0.1)

    low, high = curve.interval()
    assert low < 10**-2.4 < high
    assert curve.loss_at(10**-2.4) == pytest.approx(-0.9, abs=0.01)
    assert curve.expected_regret(10**-3.4) == pytest.approx(0.2 / 0.8, rel=0.15)


def test_values_on_both_sides_of_zero_and_no_untrained_value_are_taken() -> None:
    x = np.linspace(-4, -1, 7)
    curve = fit(10**x, (x + 2.5) ** 2 - 0.5, np.zeros(7, np.int64))

    assert curve.interval()[0] < 10**-2.5 < curve.interval()[1]


def test_a_curve_that_still_falls_at_its_highest_rate_leaves_the_optimum_outside() -> None:
    x = np.linspace(-4, -2, 7)
    below, above = fit(*runs(x, 2, noise=0.01, optimum=-0.5)).outside()

    assert above > 0.5
    assert below < 0.01


def test_the_best_rate_is_never_one_beyond_those_trained() -> None:
    curve = fit(*runs(np.linspace(-4, -2, 7), 2, noise=0.01, optimum=-0.5))

    assert curve.trained[0] <= curve.best <= curve.trained[1] * (1 + 1e-9)


def test_hundreds_of_rates_and_huge_losses_are_taken_without_a_warning() -> None:
    lrs, values, seeds = runs(np.linspace(-4, -1, 400), 2, noise=0.05)
    values[-3:] = (1e30, 1e300, math.nan)
    curve = fit(lrs, values, seeds)

    assert curve.interval()[0] < 10**-2.3 < curve.interval()[1]
    assert np.isfinite(curve.loss).all()
    assert np.isfinite(curve.noise).all()


def test_the_same_seed_draws_the_same_answer() -> None:
    lrs, values, seeds = (column.tolist() for column in runs(np.linspace(-4, -1, 6), 2, noise=0.05))
    first, again = (fit_noisy_curve(lrs, values, seeds, seed=4) for _ in range(2))
    other = fit_noisy_curve(lrs, values, seeds, seed=5)

    assert np.array_equal(first.posterior.regret, again.posterior.regret)
    assert not np.array_equal(first.posterior.regret, other.posterior.regret)


def test_the_posterior_equals_that_of_the_joint_normal_distribution_of_all_runs() -> None:
    lrs, values, seeds = (column.tolist() for column in runs(np.linspace(-4, -1, 5), 3, noise=0.05, level=0.1))
    table = _Runs.checked(lrs[:-1], values[:-1], seeds[:-1])  # not a full design
    x, index = np.unique(table.x, return_inverse=True)
    u = np.log(table.value)
    noise, spread = _Noise.of(table, u, 0), _spread(table, u)
    prior = _Prior.of(x, np.array([-2.2, -0.8]), 0.6, 0.5, spread)
    evidence = list(_evidence(table, u, noise, x))
    seen = next(e for e in evidence if e.factor == 1.0)  # the first of that factor has independent noise
    _, pull, inner = _solve(prior.here, seen)

    covariance = prior.here[np.ix_(index, index)] + noise.shared**2 * (table.seed[:, None] == table.seed[None, :])
    covariance += np.diag(noise.unscaled(table.x, spread) ** 2)
    across = prior.across[:, index]
    mean = across @ np.linalg.solve(covariance, u - u.mean())
    posterior = prior.there - across @ np.linalg.solve(covariance, across.T)
    np.testing.assert_allclose(prior.across @ pull, mean, rtol=1e-5)
    np.testing.assert_allclose(prior.there - prior.across @ inner @ prior.across.T, posterior, rtol=1e-4, atol=1e-9)


def test_marginal_likelihoods_differ_as_those_of_the_joint_normal_distribution() -> None:
    lrs, values, seeds = (column.tolist() for column in runs(np.linspace(-4, -1, 5), 2, noise=0.05))
    table = _Runs.checked(lrs, values, seeds)
    x, index = np.unique(table.x, return_inverse=True)
    u = np.log(table.value)
    noise, spread = _Noise.of(table, u, 0), _spread(table, u)
    seen = [e for e in _evidence(table, u, noise, x) if e.factor in (0.4, 2.5)]
    found, naive = [], []
    for length, e in ((0.3, seen[0]), (1.2, seen[3])):
        prior = _Prior.of(x, x, length, 0.5, spread)
        found.append(_solve(prior.here, e)[0])
        covariance = prior.here[np.ix_(index, index)] + noise.shared**2 * (table.seed[:, None] == table.seed[None, :])
        covariance += np.diag((e.factor * noise.unscaled(table.x, spread)) ** 2)
        centred = u - u.mean()
        sign, log = np.linalg.slogdet(covariance)
        assert sign > 0
        naive.append(-0.5 * float(centred @ np.linalg.solve(covariance, centred)) - 0.5 * log)

    assert found[0] - found[1] == pytest.approx(naive[0] - naive[1], rel=1e-4)


@pytest.mark.parametrize(
    ("lrs", "values", "seeds", "message"),
    [
        ([1e-3, 1e-2, 0.0], [1, 2, 3], None, "lrs must all be positive"),
        ([1e-3, 1e-2], [1, 2, 3], None, "values must be as many as lrs, 2"),
        ([1e-3, 1e-2, 1e-1], [1, 2, 3], [0], "seeds must be as many as lrs, 3"),
        ([1e-3, 1e-2, 1e-1], [1, 2, math.inf], None, "finite at three rates or more"),
        ([1e-3, 1e-2, 1e-2], [1, 2, 3], None, "finite at three rates or more"),
        ([], [], None, "finite at three rates or more"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    lrs: list[float], values: list[float], seeds: list[int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit_noisy_curve(lrs, values, seeds)
