"""What is recommended, and which verdict it gets."""

from __future__ import annotations

import math

import pytest

from stepsize.curves.lr_curve import LrCurve, Observation, Prior, fit_lr_curve
from stepsize.study.trust import judge_answer, recommended

HORIZON = 800
RATES = [-3.0, -2.6, -2.2, -1.8, -1.4]


def bowl(optimum: float, rates: list[float], *, steps: int = HORIZON, depth: float = 1.0) -> list[Observation]:
    return [Observation(steps, 10**x, math.exp(depth * (x - optimum) ** 2)) for x in rates]


def fitted(runs: list[Observation], untrained: float = 30.0) -> LrCurve:
    return fit_lr_curve(runs, horizon=HORIZON, untrained=untrained, prior=Prior(drift_spread=0.05))


def code(runs: list[Observation], untrained: float = 30.0, *, has_val: bool = True) -> tuple[str, str, bool]:
    verdict = judge_answer(runs, fitted(runs, untrained), untrained, has_val=has_val)
    return verdict.code, verdict.reason, verdict.trustworthy


def test_a_bracketed_optimum_at_the_full_horizon_is_confident() -> None:
    verdict, reason, trustworthy = code(bowl(-2.2, RATES, depth=0.4))

    assert (verdict, trustworthy) == ("confident", True)
    assert "bracketed by worse rates on both sides" in reason


def test_steep_sides_far_from_the_horizon_are_uncertain_and_a_larger_budget_is_advised() -> None:
    verdict, reason, trustworthy = code(bowl(-2.2, RATES, steps=HORIZON // 16, depth=6.0), untrained=1e6)

    assert (verdict, trustworthy) == ("uncertain", True)
    assert "A larger budget narrows it" in reason


def test_a_flat_basin_at_a_long_horizon_says_that_the_choice_matters_little() -> None:
    verdict, reason, trustworthy = code(bowl(-2.2, RATES, depth=0.002))

    assert (verdict, trustworthy) == ("flat", True)
    assert "the choice matters little" in reason


def test_a_flat_basin_of_short_runs_is_not_called_flat() -> None:
    assert code(bowl(-2.2, RATES, steps=HORIZON // 16, depth=0.002))[0] != "flat"


@pytest.mark.parametrize(("rates", "edge"), [([-1.0, -0.8, -0.6], "lowest"), ([-3.4, -3.2, -3.0], "highest")])
def test_a_best_rate_without_a_worse_one_beyond_it_is_at_the_edge(rates: list[float], edge: str) -> None:
    verdict, reason, trustworthy = code(bowl(-2.2, rates, depth=0.05))

    assert (verdict, trustworthy) == ("at the edge", True)
    assert f"the {edge} one" in reason


def test_a_bracket_on_a_short_horizon_does_not_speak_for_a_longer_one() -> None:
    scouts = bowl(-1.8, RATES, steps=HORIZON // 16, depth=0.3)
    final = bowl(-2.6, [-2.2, -1.8, -1.4], steps=HORIZON // 4, depth=0.05)

    assert code([*scouts, *final])[0] == "at the edge"


def test_nothing_trained_is_no_answer() -> None:
    verdict = judge_answer([], None, 1.0, has_val=True)

    assert (verdict.code, verdict.trustworthy) == ("no answer", False)
    assert "does not pay for a single short run" in verdict.reason


def test_everything_diverged_is_no_answer_and_names_the_lowest_rate() -> None:
    runs = [Observation(50, lr, math.inf, diverged=True) for lr in (1e-2, 1e-4)]
    verdict = judge_answer(runs, None, 1.0, has_val=True)

    assert (verdict.code, verdict.trustworthy) == ("no answer", False)
    assert "down to 1e-4" in verdict.reason


def test_no_gain_over_the_untrained_model_is_no_answer() -> None:
    runs = [Observation(50, 10**x, 1.0) for x in RATES]
    verdict, reason, trustworthy = code(runs, untrained=1.0)

    assert (verdict, trustworthy) == ("no answer", False)
    assert "No rate improved on the untrained model (1)" in reason


def test_a_gain_of_a_negative_value_counts_as_one() -> None:
    runs = [Observation(HORIZON, 10**x, -2.0 + (x + 2.2) ** 2) for x in RATES]

    assert code(runs, untrained=-0.5)[2]


def test_without_unseen_data_the_verdict_says_what_judged() -> None:
    assert "does not see overfitting" in code(bowl(-2.2, RATES), has_val=False)[1]
    assert "overfitting" not in code(bowl(-2.2, RATES))[1]


def test_the_recommendation_is_never_above_the_highest_rate_that_worked() -> None:
    runs = [*bowl(-1.6, [-3.0, -2.6, -2.2]), Observation(HORIZON, 10**-0.9, math.inf, diverged=True)]
    fit = fitted(runs)

    assert fit.best(at_most=10**-0.9) > 10**-2.1
    assert recommended(runs, fit) <= 10**-2.2 * (1 + 1e-9)
