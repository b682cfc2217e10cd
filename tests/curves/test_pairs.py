"""Paired comparison: shared seeds cancel, noise is borrowed with care, and few seeds are said to be few."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stepsize.curves.pairs import Noise, compare_pairs, pooled_noise, two_way
from stepsize.errors import InputError


def test_the_verdict_is_that_of_the_paired_t_test() -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=6), random.normal(0.4, 1.0, size=6)
    found = compare_pairs(dict(enumerate(a)), dict(enumerate(b)))
    theirs = stats.ttest_rel(a, b)

    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval(0.95)))
    assert (found.seeds, found.freedom) == (6, 5)


def test_what_a_seed_does_to_both_settings_cancels() -> None:
    seeds = {0: 0.0, 1: 5.0, 2: -3.0}
    a = {seed: 1.0 + luck + 0.01 * seed for seed, luck in seeds.items()}
    b = {seed: 1.2 + luck for seed, luck in seeds.items()}

    assert compare_pairs(a, b).distinguishable
    assert compare_pairs(a, b).difference == pytest.approx(-0.19)


def test_only_shared_and_known_seeds_count() -> None:
    found = compare_pairs({0: 1.0, 1: 2.0, 2: math.nan, 9: 5.0}, {0: 1.5, 1: 2.5, 2: 3.0, 8: 0.0})

    assert found.seeds == 2
    assert found.difference == pytest.approx(-0.5)


def test_false_alarms_come_as_often_as_the_level_says() -> None:
    random = np.random.default_rng(1)
    alarms = [
        compare_pairs(dict(enumerate(a)), dict(enumerate(b)), level=0.8).distinguishable
        for a, b in random.normal(size=(1000, 2, 3))
    ]

    assert 0.16 < np.mean(alarms) < 0.24


def test_two_seeds_that_tell_nothing_say_how_few_they_are_and_how_many_would_do() -> None:
    found = compare_pairs({0: 0.30, 1: 0.34}, {0: 0.32, 1: 0.343})

    assert not found.distinguishable
    assert found.seeds_needed is not None
    assert found.seeds_needed > 2
    assert found.sentence == (
        "The first and the second are not distinguishable on 2 shared seeds: they differ by 0.0115. With so few seeds, "
        f"differences below 0.11 at 95% do not show; about {found.seeds_needed} seeds would show this one."
    )


def test_the_sentence_names_the_better_one() -> None:
    found = compare_pairs({0: 1.0, 1: 1.1, 2: 0.9}, {0: 2.0, 1: 2.11, 2: 1.9})

    assert found.sentence.startswith("The first is better than the second by 1 ± ")
    assert (
        compare_pairs({0: 2.0, 1: 2.1}, {0: 1.0, 1: 1.1001}).told_of("A", "B").startswith("B is better than A by 1 ± ")
    )


def test_noise_of_other_settings_lets_few_seeds_tell_more() -> None:
    a, b = {0: 1.0, 1: 1.03}, {0: 1.1, 1: 1.11}

    assert not compare_pairs(a, b).distinguishable
    assert compare_pairs(a, b, noise=Noise(0.01, 20)).distinguishable


def test_a_single_shared_seed_tells_something_only_with_borrowed_noise() -> None:
    alone = compare_pairs({0: 1.0}, {0: 1.1})
    lent = compare_pairs({0: 1.0}, {0: 1.1}, noise=Noise(0.01, 20))

    assert not alone.distinguishable
    assert alone.interval == (-math.inf, math.inf)
    assert "with a single seed, noise and difference cannot be separated" in alone.sentence
    assert lent.distinguishable
    assert lent.standard_error == pytest.approx(0.01 * math.sqrt(2))


def test_an_unstable_setting_does_not_look_calm_because_others_are() -> None:
    a, b = {0: 1.0, 1: 3.0, 2: 0.5}, {0: 1.6, 1: 1.5, 2: 1.6}
    found = compare_pairs(a, b, noise=Noise(0.001, 50))

    assert found.freedom == 2
    assert not found.distinguishable


def test_the_setting_that_diverges_less_often_is_better() -> None:
    found = compare_pairs({0: 1.0, 1: 1.0}, {0: 0.5, 1: math.inf})

    assert found.distinguishable
    assert found.diverged == (0, 1)
    assert found.sentence == "The first is better on 2 shared seeds: the second diverged on 1, the first on 0."


def test_two_settings_that_always_diverge_are_no_better_than_each_other() -> None:
    found = compare_pairs({0: math.inf}, {0: math.inf})

    assert not found.distinguishable
    assert math.isnan(found.difference)
    assert "neither is better" in found.sentence


def test_settings_without_a_shared_seed_are_not_compared() -> None:
    found = compare_pairs({0: 1.0}, {1: 2.0})

    assert not found.distinguishable
    assert "share no seed" in found.sentence


def test_equal_runs_are_not_distinguishable_and_constant_gaps_are() -> None:
    assert not compare_pairs({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).distinguishable
    assert compare_pairs({0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.5}).distinguishable


def test_a_level_outside_0_and_1_is_refused() -> None:
    with pytest.raises(InputError, match=r"level must lie in \(0, 1\)"):
        compare_pairs({0: 1.0}, {0: 2.0}, level=95)


def test_levels_and_effects_equal_those_of_least_squares_on_indicator_columns() -> None:
    random = np.random.default_rng(2)
    settings, seeds = (column.ravel() for column in np.meshgrid(np.arange(6), np.arange(4)))
    kept = random.random(24) < 0.7
    kept[:9] = True
    settings, seeds = settings[kept], seeds[kept]
    values = random.normal(size=len(settings))
    levels, noise = two_way(settings, seeds, values)
    design = np.hstack([np.eye(6)[settings], np.eye(4)[seeds]])
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)

    residuals = values - design @ solution
    np.testing.assert_allclose(levels, solution[:6] + solution[6:].mean(), atol=1e-10)
    assert noise.freedom == len(values) - rank
    assert noise.sd == pytest.approx(math.sqrt(residuals @ residuals / noise.freedom))


def test_levels_correct_for_a_lucky_seed() -> None:
    # Setting 1 was trained on the lucky seed only; on equal seeds setting 0 is better.
    levels, _ = two_way(np.array([0, 0, 1]), np.array([5, 7, 7]), np.array([1.0, 0.4, 0.5]))

    assert levels[0] < levels[1]


def test_levels_are_plain_means_where_seeds_do_not_connect_the_settings() -> None:
    levels, noise = two_way(np.array([0, 0, 1]), np.array([0, 1, 2]), np.array([1.0, 3.0, 1.5]))

    np.testing.assert_allclose(levels, [2.0, 1.5])
    assert noise.freedom == 0


def test_pooled_noise_is_that_of_the_runs_and_not_of_the_seeds() -> None:
    random = np.random.default_rng(3)
    luck = 10 * random.normal(size=8)
    noise = pooled_noise([dict(enumerate(k + luck + 0.5 * random.normal(size=8))) for k in range(20)])

    assert noise.sd == pytest.approx(0.5, rel=0.15)
    assert noise.freedom == 19 * 7


def test_pooled_noise_leaves_out_what_diverged_and_knows_nothing_of_nothing() -> None:
    assert pooled_noise([{0: math.inf}, {0: math.nan}]) == Noise(0.0, 0)
    assert pooled_noise([]).freedom == 0
    assert pooled_noise([{0: 1.0, 1: 1.2}, {0: 2.0, 1: 2.3}, {0: 1.0, 1: math.inf}]).freedom == 1
