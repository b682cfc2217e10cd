"""The rules that decide the statements, on made-up numbers."""

from __future__ import annotations

import itertools
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


_NUMBERS = itertools.count()


def unit(effect: Effect, *labels: str, tasks: tuple[str, ...] | None = None) -> Unit:
    """A place of a task of its own."""
    own = (f"task {next(_NUMBERS)}",) if tasks is None else tasks
    return Unit("u", (Check("t", effect, "above"),), labels, own)


def units(count: int, effect: Effect, *labels: str) -> list[Unit]:
    return [unit(effect, *labels) for _ in range(count)]


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
    ("places", "verdict"),
    [
        (units(3, YES), CONFIRMED),
        (units(2, YES) + units(2, OPEN), PARTLY),
        (units(1, YES) + units(2, OPEN), NOT_CONFIRMED),
        (units(2, YES) + units(2, NO), NOT_CONFIRMED),  # as many show the opposite
        (units(3, YES) + units(2, NO), PARTLY),
        (units(3, YES, "few") + units(5, OPEN, "many"), PARTLY),  # all with a known property
        (units(2, YES, "few") + units(5, OPEN, "many"), NOT_CONFIRMED),  # but on three tasks or more
        ([unit(YES, "few", tasks=("a",))] * 3 + units(5, OPEN), NOT_CONFIRMED),  # not three times on one
        ([unit(YES, "30", tasks=("a", "b", "c")), *units(3, OPEN)], PARTLY),
        (units(3, YES, "few") + units(1, OPEN, "few") + units(4, OPEN), NOT_CONFIRMED),
        ([], NOT_CONFIRMED),
    ],
)
def test_the_verdict_on_a_part(places: list[Unit], verdict: str) -> None:
    assert Part("p", tuple(places)).verdict == verdict


def test_a_unit_holds_only_where_all_its_tests_do() -> None:
    both = Unit("u", (Check("a", YES, "above"), Check("b", YES, "above")))
    one = Unit("u", (Check("a", YES, "above"), Check("b", OPEN, "above")))
    assert both.holds
    assert not one.holds
    assert not one.opposed


def test_the_conditions_are_named() -> None:
    part = Part("p", (*units(3, YES, "few", "adamw"), *units(4, OPEN, "many", "adamw")))
    assert part.conditions == ("few",)
    assert Part("p", tuple(units(3, YES, "few"))).conditions == ()  # what holds everywhere is no condition


def test_a_statement_is_confirmed_where_all_its_parts_are() -> None:
    yes, no = Part("yes", (unit(YES),)), Part("no", (unit(NO),))
    assert verdict_of([yes, yes]) == CONFIRMED
    assert verdict_of([no, no]) == NOT_CONFIRMED
    assert verdict_of([yes, no]) == PARTLY


def test_there_is_a_rule_for_each_of_the_fifteen() -> None:
    assert list(RULES) == list(range(1, 16))
    assert all(rule.parts and all(rule.parts.values()) for rule in RULES.values())
