"""The rules that decide the statements, on made-up numbers."""

from __future__ import annotations

import math

import pytest
from benchmarks.claims.effects import (
    CONFIRMED,
    NOT_CONFIRMED,
    PARTLY,
    Check,
    Effect,
    Part,
    Unit,
    Wanted,
    log_ratio,
    paired,
    verdict_of,
)
from benchmarks.claims.rules import RULES

YES, NO, OPEN = Effect(1.0, 0.5, 1.5, 5), Effect(-1.0, -1.5, -0.5, 5), Effect(0.1, -0.5, 0.7, 5)


def unit(effect: Effect, *labels: str, tasks: int = 1) -> Unit:
    return Unit("u", (Check("t", effect, "above"),), labels, tasks)


def test_the_interval_is_that_of_student() -> None:
    effect = paired([1.0, 2.0, 3.0, 4.0, 5.0], [0.0] * 5)
    # mean 3, standard deviation 1.5811, t(0.975, 4) = 2.7764
    assert effect.mean == pytest.approx(3.0)
    assert effect.high - effect.mean == pytest.approx(2.7764 * 1.5811 / math.sqrt(5), rel=1e-4)


def test_one_seed_decides_nothing() -> None:
    effect = paired([1.0])
    assert not Check("t", effect, "above").holds
    assert not Check("t", effect, "below").holds


def test_losses_are_compared_as_logarithms_seed_by_seed() -> None:
    effect = log_ratio([2.0, 20.0, 200.0], [1.0, 10.0, 100.0])
    assert (effect.low, effect.mean, effect.high) == pytest.approx((math.log(2),) * 3)


@pytest.mark.parametrize(
    ("wanted", "holds", "opposed"),
    [
        ("above", (True, False, False), (False, True, False)),
        ("below", (False, True, False), (True, False, False)),
        ("not above", (False, True, True), (True, False, False)),
        ("apart", (True, True, False), (False, False, False)),
    ],
)
def test_where_the_interval_has_to_lie(wanted: Wanted, holds: tuple[bool, ...], opposed: tuple[bool, ...]) -> None:
    tests = [Check("t", effect, wanted) for effect in (YES, NO, OPEN)]
    assert tuple(test.holds for test in tests) == holds
    assert tuple(test.opposed for test in tests) == opposed


def test_an_interval_that_ends_at_the_threshold_does_not_hold() -> None:
    assert not Check("t", Effect(1.0, 0.0, 2.0, 5), "above").holds


@pytest.mark.parametrize(
    ("units", "verdict"),
    [
        ([unit(YES)] * 3, CONFIRMED),
        ([unit(YES)] * 2 + [unit(OPEN)] * 2, PARTLY),
        ([unit(YES)] + [unit(OPEN)] * 2, NOT_CONFIRMED),
        ([unit(YES)] * 2 + [unit(NO)] * 2, NOT_CONFIRMED),  # as many show the opposite
        ([unit(YES)] * 3 + [unit(NO)] * 2, PARTLY),
        ([unit(YES, "few")] * 3 + [unit(OPEN, "many")] * 5, PARTLY),  # all with a known property
        ([unit(YES, "few")] * 2 + [unit(OPEN, "many")] * 5, NOT_CONFIRMED),  # but on three tasks or more
        ([unit(YES, "30", tasks=12)] + [unit(OPEN, "3", tasks=12)] * 3, PARTLY),
        ([unit(YES, "few")] * 3 + [unit(OPEN, "few")] + [unit(OPEN)] * 4, NOT_CONFIRMED),
        ([], NOT_CONFIRMED),
    ],
)
def test_the_verdict_on_a_part(units: list[Unit], verdict: str) -> None:
    assert Part("p", tuple(units)).verdict == verdict


def test_a_unit_holds_only_where_all_its_tests_do() -> None:
    both = Unit("u", (Check("a", YES, "above"), Check("b", YES, "above")))
    one = Unit("u", (Check("a", YES, "above"), Check("b", OPEN, "above")))
    assert both.holds
    assert not one.holds
    assert not one.opposed


def test_the_conditions_are_named() -> None:
    part = Part("p", (*[unit(YES, "few", "adamw")] * 3, *[unit(OPEN, "many", "adamw")] * 4))
    assert part.conditions == ("few",)
    assert Part("p", (unit(YES, "few"),) * 3).conditions == ()  # what holds everywhere is no condition


def test_a_statement_is_confirmed_where_all_its_parts_are() -> None:
    yes, no = Part("yes", (unit(YES),)), Part("no", (unit(NO),))
    assert verdict_of([yes, yes]) == CONFIRMED
    assert verdict_of([no, no]) == NOT_CONFIRMED
    assert verdict_of([yes, no]) == PARTLY


def test_there_is_a_rule_for_each_of_the_fifteen() -> None:
    assert list(RULES) == list(range(1, 16))
    assert all(rule.parts and all(rule.parts.values()) for rule in RULES.values())
