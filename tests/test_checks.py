"""Checks name argument, value and rule; a catalog suggests the nearest name."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from stepsize.catalog import Catalog
from stepsize.checks import check_lr, check_number, check_positive, check_whole, is_number, is_whole
from stepsize.errors import InputError, TaskError, UnknownNameError


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, np.int64(3), -1])
def test_what_is_not_a_whole_number_is_refused(value: Any) -> None:
    assert not is_whole(value)


@pytest.mark.parametrize("value", [True, "1", None, math.nan, 1j, [1], 10**400])
def test_what_is_not_a_number_is_refused(value: Any) -> None:
    assert not is_number(value)


@pytest.mark.parametrize("value", [0, 2.5, -math.inf, np.float32(0.5), Fraction(1, 3)])
def test_any_real_number_is_a_number(value: Any) -> None:
    assert is_number(value)


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (lambda: check_whole("n", 0), "n must be a whole number, at least 1; got 0"),
        (lambda: check_whole("n", True, 0, unit="steps"), "n must be a whole number of steps, at least 0; got True"),
        (lambda: check_whole("n", 2.0, remedy="Round it"), "n must be a whole number, at least 1; got 2.0. Round it"),
        (lambda: check_number("x", math.inf), "x must be a finite number; got inf"),
        (lambda: check_number("x", 0, above=0, most=1), "x must be a finite number, above 0, at most 1; got 0"),
        (lambda: check_number("x", 1, least=0, below=1), "x must be a finite number, at least 0, below 1; got 1"),
        (lambda: check_positive("x", math.inf, "rate"), "x must be a positive, finite rate; got inf"),
        (lambda: check_lr("lr", "0.1"), "lr must be a positive, finite learning rate; got '0.1'"),
    ],
)
def test_a_broken_rule_is_an_error_that_names_it(check: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        check()
    assert str(caught.value) == said


def test_a_value_that_keeps_the_rule_comes_back_and_the_kind_of_error_can_be_chosen() -> None:
    assert check_whole("n", 3) == 3
    assert check_number("x", 1, least=1, most=1) == 1.0
    assert isinstance(check_positive("x", np.float32(2)), float)
    with pytest.raises(TaskError):
        check_whole("n", 0, error=TaskError)


@dataclass(frozen=True)
class Fruit:
    name: str


def test_a_catalog_is_a_dictionary_whose_missing_names_suggest_the_nearest() -> None:
    fruits = Catalog("fruit", [Fruit("pear"), Fruit("apple")])

    assert list(fruits) == ["pear", "apple"]
    assert fruits["apple"] == Fruit("apple")
    assert fruits.get("peach") is None
    assert "peach" not in fruits
    with pytest.raises(UnknownNameError, match=r"^fruit is not a known name; got 'aple'. Did you mean 'apple'\?"):
        fruits["aple"]
    with pytest.raises(UnknownNameError, match=r"^fruit is not a known name; got 3. Known: apple, pear"):
        fruits[3]  # type: ignore[index]
    assert pickle.loads(pickle.dumps(fruits)) == fruits
