"""How a rung ranks settings against the end: correlations with ties and diverged runs, and what trusting it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from stepsize.curves.ranks import rank_agreement
from stepsize.errors import InputError

INF = math.inf


def numbered(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_correlations_with_ties_are_those_of_scipy() -> None:
    random = np.random.default_rng(0)
    early, late = random.integers(0, 6, size=(2, 15)).astype(float)
    found = rank_agreement(numbered(*early), numbered(*(early + late)))

    assert found.spearman == pytest.approx(stats.spearmanr(early, early + late).statistic)
    assert found.kendall == pytest.approx(stats.kendalltau(early, early + late).statistic)


def test_an_order_that_is_kept_agrees_fully_and_costs_nothing() -> None:
    found = rank_agreement(numbered(5, 4, 3, 2, 1, 6), numbered(0.5, 0.4, 0.3, 0.2, 0.1, 0.6))

    assert found.spearman == pytest.approx(1)
    assert found.kendall == pytest.approx(1)
    assert found.interval == pytest.approx((1, 1))
    assert found.regret == 0
    assert found.sentence == (
        "Rank correlation with the end 1.00 (1.00 to 1.00 at 80%) over 6 configurations; it chooses as well as "
        "the end: its first choice is 0% above the best."
    )


def test_a_setting_that_diverged_is_the_worst_and_ties_with_others_that_did() -> None:
    lost = rank_agreement(numbered(1, 2, 3, INF, INF), numbered(1, 2, 3, INF, INF))
    huge = rank_agreement(numbered(1, 2, 3, 99, 99), numbered(1, 2, 3, 99, 99))

    assert lost.spearman == pytest.approx(huge.spearman)
    assert lost.kendall == pytest.approx(huge.kendall)


def test_only_settings_that_both_know_count() -> None:
    found = rank_agreement({"a": 1.0, "b": 2.0, "c": 0.1, "d": math.nan}, {"a": 1.0, "b": 2.0, "d": 0.0})

    assert found.settings == 2
    assert found.regret == 0


def test_the_regret_is_that_of_the_rungs_own_choice_at_the_end() -> None:
    assert rank_agreement(numbered(1, 2, 3), numbered(0.6, 0.5, 0.9)).regret == pytest.approx(0.2)
    assert rank_agreement(numbered(1, 2), numbered(-0.5, -0.9), untrained=-0.1).regret == pytest.approx(0.5)
    assert rank_agreement(numbered(1, 2), numbered(INF, 0.5)).regret == INF
    assert rank_agreement(numbered(1, 1, 2), numbered(0.5, 0.8, 0.9)).regret == pytest.approx(0.6)


def test_a_choice_that_diverges_at_the_end_is_said() -> None:
    found = rank_agreement(numbered(1, 2, 3, 4, 5, 6), numbered(INF, 0.5, 0.6, 0.7, 0.8, 0.9))

    assert "worse than the end: the configuration it ranks first diverged at the end." in found.sentence


def test_the_interval_holds_the_correlation_of_the_population_about_as_often_as_it_says() -> None:
    held = []
    for trial in range(60):
        random = np.random.default_rng(trial)
        a = random.normal(size=25)
        b = 0.8 * a + 0.6 * random.normal(size=25)
        low, high = rank_agreement(numbered(*a), numbered(*b)).interval
        held.append(low <= 6 / math.pi * math.asin(0.8 / 2) <= high)

    assert 0.65 <= np.mean(held) <= 0.95


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_too_few_settings_say_so(count: int) -> None:
    found = rank_agreement(numbered(*range(count)), numbered(*range(1, count + 1)))

    assert found.interval == (-1.0, 1.0)
    assert ("Too few" if count else "All runs diverged") in found.sentence


def test_a_rung_that_ties_everything_has_no_correlation() -> None:
    found = rank_agreement(numbered(1, 1, 1, 1, 1, 1), numbered(1, 2, 3, 4, 5, 6))

    assert math.isnan(found.spearman)
    assert math.isnan(found.kendall)
    assert found.regret == pytest.approx(5)


def test_nothing_that_survived_has_no_regret() -> None:
    assert math.isnan(rank_agreement(numbered(1, 2), numbered(INF, INF)).regret)
    assert rank_agreement(numbered(INF, INF), numbered(1, 2)).regret == INF


def test_the_same_seed_gives_the_same_interval() -> None:
    random = np.random.default_rng(1)
    a, b = numbered(*random.normal(size=12)), numbered(*random.normal(size=12))

    assert rank_agreement(a, b, seed=1) == rank_agreement(a, b, seed=1)
    assert rank_agreement(a, b, seed=1).interval != rank_agreement(a, b, seed=2).interval


def test_a_level_outside_0_and_1_is_refused() -> None:
    with pytest.raises(InputError, match=r"level must lie in \(0, 1\)"):
        rank_agreement(numbered(1), numbered(1), level=0)
