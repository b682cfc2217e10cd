from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from benchmarks.combos import GRID
from benchmarks.runlog import Row
from benchmarks.truth_curve import TruthCurve

BEST = GRID[10]  # 1e-2


def bowl(lr: float) -> float:
    return 1.0 + abs(math.log10(lr / BEST))


def rows_of(loss: Callable[[float, int], float | None], seeds: int = 3, lrs: tuple[float, ...] = GRID) -> list[Row]:
    return [
        Row(lr, seed, 100, val := loss(lr, seed), val, None, 7 if val is None else None, 1.0)
        for seed in range(seeds)
        for lr in lrs
    ]


def curve_of(rows: list[Row], cap: float = 4.0) -> TruthCurve:
    curve = TruthCurve.of(rows, cap)
    assert curve is not None
    return curve


def test_the_best_rate_has_no_regret() -> None:
    regret = curve_of(rows_of(lambda lr, seed: bowl(lr))).regret(BEST)
    assert (regret.value, regret.error, regret.diverged, regret.outside) == (0.0, 0.0, False, False)


def test_regret_is_the_excess_over_the_best_loss_relative_to_it() -> None:
    curve = curve_of(rows_of(lambda lr, seed: 2 * bowl(lr)), cap=8.0)
    assert curve.best_loss == pytest.approx(2.0)
    assert curve.regret(BEST / 10).value == pytest.approx(1.0, abs=1e-4)


def test_between_two_rates_the_loss_is_linear_in_the_log_of_the_rate() -> None:
    curve = curve_of(rows_of(lambda lr, seed: bowl(lr) ** 2), cap=9.0)
    left, right = GRID[10], GRID[11]
    at_a_third = left * (right / left) ** (1 / 3)
    expected = 2 / 3 * bowl(left) ** 2 + 1 / 3 * bowl(right) ** 2
    assert curve.losses_at(at_a_third) == pytest.approx([expected] * 3, abs=1e-5)


def test_a_diverged_run_counts_as_an_untrained_model_and_is_counted() -> None:
    curve = curve_of(rows_of(lambda lr, seed: None if lr > 0.5 else bowl(lr)), cap=4.0)
    regret = curve.regret(1.9)
    assert regret.value == pytest.approx(3.0)
    assert regret.diverged
    assert not curve.regret(0.3).diverged


def test_beside_a_divergence_the_loss_rises_towards_the_cap() -> None:
    curve = curve_of(rows_of(lambda lr, seed: None if lr > 0.02 else bowl(lr)), cap=4.0)
    # Half-way between the last rate that trains (regret 0.3 decades = 0.30) and the first that does not (3.0).
    last, first = curve.lrs[~curve.diverged.any(axis=0)][-1], curve.lrs[curve.diverged.any(axis=0)][0]
    assert curve.regret(math.sqrt(last * first)).value == pytest.approx((bowl(last) - 1 + 3.0) / 2, abs=1e-4)


def test_a_finite_loss_worse_than_untrained_counts_as_untrained() -> None:
    curve = curve_of(rows_of(lambda lr, seed: 1e6 if lr > 1 else bowl(lr)), cap=4.0)
    assert curve.regret(10.0).value == pytest.approx(3.0)
    assert not curve.regret(10.0).diverged


def test_a_rate_at_which_one_seed_diverges_is_never_the_best() -> None:
    curve = curve_of(rows_of(lambda lr, seed: None if lr == BEST and seed == 1 else bowl(lr)), cap=1.1)
    assert curve.best_lr != BEST
    assert not curve.regret(BEST).diverged  # two seeds of three do not


def test_outside_the_grid_its_end_counts() -> None:
    curve = curve_of(rows_of(lambda lr, seed: bowl(lr)))
    regret = curve.regret(1e-9)
    assert regret.outside
    assert regret.value == curve.regret(GRID[0]).value


def test_the_standard_error_comes_from_the_spread_between_seeds() -> None:
    # At a tenth of the best rate the seeds differ by ±0.3; at the best rate they agree.
    curve = curve_of(rows_of(lambda lr, seed: bowl(lr) * (1 + 0.15 * (seed - 1) * (lr != BEST))))
    assert curve.regret(BEST / 10).error == pytest.approx(0.3 / math.sqrt(3), rel=1e-3)
    assert curve.best_error == 0.0


def test_one_seed_gives_no_standard_error() -> None:
    assert math.isnan(curve_of(rows_of(lambda lr, seed: bowl(lr), seeds=1)).regret(BEST).error)


def test_only_seeds_with_the_whole_grid_count() -> None:
    rows = rows_of(lambda lr, seed: bowl(lr) + seed, seeds=2)
    assert curve_of(rows[:-1]).seeds == 1
    assert TruthCurve.of(rows[: len(GRID) - 1], 4.0) is None


def test_midpoints_count_where_every_seed_has_them() -> None:
    half = BEST * 10**0.15
    rows = rows_of(lambda lr, seed: bowl(lr), seeds=2)
    rows += rows_of(lambda lr, seed: 0.5, seeds=1, lrs=(half,))
    assert curve_of(rows).best_lr == BEST
    rows += [Row(half, 1, 100, 0.5, 0.5, None, None, 1.0)]
    assert curve_of(rows).best_lr == half


def test_an_optimum_at_the_end_of_the_grid_says_so() -> None:
    assert curve_of(rows_of(lambda lr, seed: 1 / (1 + lr))).at_edge
    assert not curve_of(rows_of(lambda lr, seed: bowl(lr))).at_edge


def test_good_rates_reach_as_far_as_the_tolerance() -> None:
    low, high = curve_of(rows_of(lambda lr, seed: bowl(lr))).good(0.61)
    assert (low, high) == (GRID[8], GRID[12])
