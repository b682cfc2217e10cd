"""The fit of the lr curve: known optima are found, bounds are kept, and doubt is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, _Grid, expected_drift, fit_lr_curve, lost, rise
from stepsize.errors import InputError

HORIZON = 1600
STILL = Prior(drift=0.0, drift_spread=0.02)


def bowl(
    optimum: float, rates: list[float], *, steps: int = HORIZON, scale: float = 1.0, depth: float = 0.5
) -> list[Observation]:
    """Runs on exp(depth (x - optimum)^2), x = log10 lr."""
    return [Observation(steps, 10**x, scale * math.exp(depth * (x - optimum) ** 2)) for x in rates]


def fit(runs: list[Observation], *, untrained: float = 50.0, prior: Prior | None = STILL) -> LrCurve:
    return fit_lr_curve(runs, horizon=HORIZON, untrained=untrained, prior=prior)


@pytest.mark.parametrize("optimum", [-4.2, -2.5, -0.3])
def test_the_optimum_of_a_bowl_is_found(optimum: float) -> None:
    curve = fit(bowl(optimum, [optimum + shift for shift in (-1.1, -0.6, -0.1, 0.4, 0.9)]))

    assert math.log10(curve.quantile(0.5)) == pytest.approx(optimum, abs=0.15)
    assert curve.interval()[0] < 10**optimum < curve.interval()[1]


def test_the_recommendation_leans_to_the_low_side_of_the_optima() -> None:
    curve = fit(bowl(-2.0, [-3.0, -2.5, -2.0, -1.5, -1.0]))

    assert curve.best() <= curve.quantile(0.5)


@given(decades=st.integers(-4, 4))
def test_rates_times_ten_move_the_answer_by_a_decade(decades: int) -> None:
    rates = [-3.0, -2.4, -2.0, -1.5]
    moved = fit(bowl(-2.1 + decades, [x + decades for x in rates]))

    assert math.log10(moved.best() / fit(bowl(-2.1, rates)).best()) == pytest.approx(decades, abs=0.051)


@given(scale=st.floats(1e-6, 1e6))
def test_the_unit_of_the_loss_does_not_matter(scale: float) -> None:
    rates = [-3.0, -2.4, -2.0, -1.5]
    plain = fit(bowl(-2.1, rates))
    scaled = fit(bowl(-2.1, rates, scale=scale), untrained=50.0 * scale)

    assert scaled.best() == pytest.approx(plain.best(), rel=1e-6)
    assert scaled.quantile(0.1) == pytest.approx(plain.quantile(0.1), rel=1e-6)


def test_values_that_are_not_positive_are_compared_by_their_share_of_the_descent() -> None:
    runs = [Observation(HORIZON, 10**x, -5.0 + 3 * (x + 2) ** 2) for x in (-3.0, -2.5, -2.0, -1.5, -1.0)]
    curve = fit(runs, untrained=1.0)

    assert math.log10(curve.quantile(0.5)) == pytest.approx(-2.0, abs=0.15)


def test_a_run_that_diverged_bounds_the_optimum_from_above() -> None:
    falling = [Observation(HORIZON, 10**x, 1 - 0.1 * x) for x in (-3.0, -2.5, -2.0)]
    free = fit(falling)
    bounded = fit([*falling, Observation(HORIZON, 10**-1.5, math.inf, diverged=True)])

    assert free.quantile(0.9) > 10**-1.5
    assert bounded.quantile(0.9) < 10**-1.3
    assert bounded.best() < 10**-1.5


def test_a_known_drift_between_two_horizons_is_carried_on() -> None:
    # The optimum lies at -1.0 for T/16 and at -1.44 for T/4. With r(4) = 7.2 and r(2) = 2.8 that is a drift of
    # 0.44 / 4.4 = 0.1, so -1.44 - 0.28 = -1.72 for T.
    rates = [-0.6, -0.3, 0.0, 0.3, 0.6]
    runs = [
        *bowl(-1.0, [x - 1.0 for x in rates], steps=HORIZON // 16, depth=2.0),
        *bowl(-1.44, [x - 1.44 for x in rates], steps=HORIZON // 4, depth=2.0),
    ]
    curve = fit(runs, prior=Prior(drift=0.2, drift_spread=0.1))

    assert curve.drift == pytest.approx(0.1, abs=0.02)
    assert math.log10(curve.quantile(0.5)) == pytest.approx(-1.72, abs=0.1)
    assert curve.to_go == 2


def test_one_short_horizon_is_carried_by_the_expected_drift() -> None:
    runs = bowl(-1.0, [-1.6, -1.3, -1.0, -0.7, -0.4], steps=HORIZON // 16, depth=2.0)
    curve = fit(runs, prior=Prior(drift=0.1, drift_spread=0.01))

    assert math.log10(curve.quantile(0.5)) == pytest.approx(-1.0 - 0.1 * rise(4), abs=0.15)


def test_a_longer_way_to_the_horizon_leaves_more_doubt() -> None:
    rates = [-2.6, -2.3, -2.0, -1.7, -1.4]
    sure_of_the_drift = Prior(drift=0.0, drift_spread=1e-3)
    width = {
        steps: np.diff(np.log10(fit(bowl(-2.0, rates, steps=steps, depth=2.0), prior=sure_of_the_drift).interval()))[0]
        for steps in (HORIZON // 16, HORIZON // 4, HORIZON)
    }

    assert width[HORIZON // 16] > width[HORIZON // 4] > width[HORIZON]


def test_the_prior_decides_where_one_run_cannot() -> None:
    alone = [Observation(HORIZON, 1e-2, 1.0)]

    assert fit(alone, prior=Prior(center=-2.5, spread=0.2)).quantile(0.5) == pytest.approx(10**-2.5, rel=0.2)
    assert fit(alone, prior=Prior(center=-1.5, spread=0.2)).quantile(0.5) == pytest.approx(10**-1.5, rel=0.2)


def test_no_rate_above_the_allowed_one_is_recommended() -> None:
    curve = fit(bowl(-1.0, [-3.0, -2.5, -2.0]))

    assert curve.best(at_most=1e-2) <= 1e-2 * (1 + 1e-9)
    assert curve.best() > 1e-2
    assert curve.best(at_most=1e-9) == 1e-9


def test_quantiles_rise_and_the_table_is_a_distribution() -> None:
    curve = fit(bowl(-2.0, [-3.0, -2.5, -2.0, -1.5]))
    quantiles = [curve.quantile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)]

    assert quantiles == sorted(quantiles)
    assert curve.weights.sum() == pytest.approx(1)
    assert (curve.regret >= 0).all()
    assert (curve.regret_low <= curve.regret_high + 1e-12).all()


def test_hopeless_runs_do_not_bend_the_curve() -> None:
    near = bowl(-2.0, [-2.5, -2.0, -1.5])
    far = [Observation(HORIZON, 10**x, 49.0) for x in (-5.0, 0.5)]

    assert math.log10(fit([*near, *far]).best() / fit(near).best()) == pytest.approx(0, abs=0.11)


def test_without_a_run_there_is_no_fit() -> None:
    with pytest.raises(InputError, match=r"observations must hold at least one run; got \[\]"):
        fit([])


def test_the_vectorised_likelihood_equals_a_plain_loop() -> None:
    """The naive twin: one combination, one rung, one point at a time."""
    grid = _Grid.over(np.array([-2.4, -1.9, -1.2]))
    x = np.array([-2.6, -2.1, -1.6, -2.0, -1.5])
    y = np.array([0.5, 0.1, 0.3, 0.0, 0.2])
    doublings = np.array([4.0, 4.0, 4.0, 2.0, 2.0])
    levels = np.array([0, 0, 0, 1, 1])

    likelihood, amplitude = grid.log_likelihood(x, y, doublings, levels)

    for index in range(0, len(grid.mu), 7):
        expected = _naive(grid, index, x.tolist(), y.tolist(), doublings.tolist())
        assert (likelihood[index], amplitude[index]) == pytest.approx(expected, rel=1e-9)


def _naive(grid: _Grid, index: int, x: list[float], y: list[float], doublings: list[float]) -> tuple[float, float]:
    mu, drift, width, steeper = (float(part[index]) for part in (grid.mu, grid.drift, grid.width, grid.steeper))
    heights, shapes = [], []
    for position, doubling in zip(x, doublings, strict=True):
        z = (position - mu - drift * doubling) / width
        shapes.append((math.sqrt(1 + z * z) - 1) * (steeper if z > 0 else 1))
    for rung in (2.0, 4.0):
        inside = [i for i, doubling in enumerate(doublings) if doubling == rung]
        level, shape = sum(y[i] for i in inside) / len(inside), sum(shapes[i] for i in inside) / len(inside)
        heights += [(rung, y[i] - level, shapes[i] - shape) for i in inside]
    dot = sum(height * shape for _, height, shape in heights)
    power = sum(shape**2 for _, _, shape in heights)
    shared = max((dot + 0.01) / (power + 0.1), 1e-3)
    rest, own = 0.0, shared
    for rung in (4.0, 2.0):
        part = [(height, shape) for at, height, shape in heights if at == rung]
        own = max((sum(h * s for h, s in part) + shared) / (sum(s * s for _, s in part) + 1.0), 1e-3)
        rest += sum((h - own * s) ** 2 for h, s in part) + (own - shared) ** 2
    spread = math.sqrt(sum(height**2 for _, height, _ in heights) / len(heights))
    sigma = min(max(0.15 * spread, 0.004), 0.05)
    return -0.5 * (len(y) - 2 + 4) * math.log(4 * sigma**2 + rest), own


def test_the_drift_is_small_where_optimization_limits_and_a_fixed_product_where_data_do() -> None:
    def seen(train: float, val: float, steps: int = 100) -> Observation:
        return Observation(steps, 0.1, val, train_loss=train, val_loss=val)

    assert expected_drift([seen(1.0, 1.0)]) == pytest.approx(0.05)
    assert expected_drift([seen(1.0, 0.9)]) == pytest.approx(0.05)  # better on unseen data: dropout, say
    assert expected_drift([seen(1e-6, 1.0)]) == pytest.approx(math.log10(2), abs=0.01)
    # half way, 0.05 + (0.301 - 0.05) / 2, where the log ratio is 1/2
    assert expected_drift([seen(1.0, math.exp(0.5))]) == pytest.approx(0.05 + (math.log10(2) - 0.05) / 2)
    assert expected_drift([seen(1e-6, 1.0, 50), seen(1.0, 1.0, 100)]) == pytest.approx(0.05)  # the longest tells
    assert expected_drift([Observation(100, 0.1, 1.0)]) == Prior.drift
    assert expected_drift([seen(-1.0, -0.5)]) == Prior.drift


def learned(x: float, value: float, steps: int = HORIZON, **more: Any) -> Observation:
    return Observation(steps, 10**x, value, **more)


def test_a_rate_that_learns_nothing_above_one_that_learns_is_a_bound() -> None:
    runs = [learned(-3.0, 1.0), learned(-2.0, 0.3), learned(-1.0, 2.3)]

    assert lost(runs, 2.3) == [False, False, True]
    assert fit(runs, untrained=2.3).quantile(0.9) < 10**-1.0


def test_learning_nothing_says_nothing_where_no_lower_rate_learned_either() -> None:
    assert lost([learned(-3.0, 2.299), learned(-2.0, 2.3)], 2.3) == [False, False]
    assert lost([learned(-3.0, 0.5, 800), learned(-2.0, 2.3, 100)], 2.3) == [False, False]  # it had more time


def test_a_deep_fall_above_the_optimum_moves_the_advice_down() -> None:
    runs = bowl(-2.0, [-2.6, -2.3, -2.0, -1.7], depth=1.0, steps=HORIZON // 4)
    shallow, deep = fit(runs, untrained=3.1), fit(runs, untrained=30.0)

    assert deep.best() < shallow.best()


def test_each_seed_has_a_level_of_its_own() -> None:
    one = bowl(-2.0, [-2.6, -2.2, -1.8, -1.4])
    other = [Observation(run.steps, run.lr, 3 * run.value, seed=1) for run in one]
    mixed = [Observation(run.steps, run.lr, run.value) for run in [*one[:2], *other[2:]]]  # as if of one seed

    assert fit([*one, *other]).quantile(0.5) == pytest.approx(10**-2.0, rel=0.15)
    assert fit(mixed).quantile(0.5) < 10**-2.1


def test_an_end_that_was_lucky_is_steadied_by_the_training_loss() -> None:
    calm = [learned(x, v, val_loss=v, train_loss=v) for x, v in ((-3.0, 0.5), (-2.0, 0.1), (-1.5, 0.2))]
    lucky = learned(-1.0, 0.01, val_loss=0.01, train_loss=3.0)
    told = learned(-1.0, 0.01)

    assert fit([*calm, lucky], untrained=2.3).quantile(0.5) < fit([*calm, told], untrained=2.3).quantile(0.5)
