"""Rates carried from one setting to another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stepsize.errors import InputError, UnknownNameError
from stepsize.optimizers import OPTIMIZERS, Conditions, translate

names = st.sampled_from(list(OPTIMIZERS))
sizes = st.integers(1, 10_000)
rates = st.floats(1e-6, 10)


@given(names, names, rates, sizes, sizes, sizes, sizes)
def test_there_and_back_is_where_it_began(
    one: str, other: str, lr: float, batch: int, other_batch: int, horizon: int, other_horizon: int
) -> None:
    before = Conditions(one, batch_size=batch, horizon=horizon)
    after = Conditions(other, batch_size=other_batch, horizon=other_horizon)

    there = translate(lr, from_=before, to=after)
    if there.lr is None:
        assert (there.low, there.high) == OPTIMIZERS[other].lr_range
        assert translate(lr, from_=after, to=before).lr is None
        return

    assert there.low <= there.lr * (1 + 1e-12)
    assert there.lr <= there.high * (1 + 1e-12)
    back = translate(there.lr, from_=after, to=before)
    family = {"sgd", "momentum", "nesterov"}
    if (one in family) == (other in family):  # the rule of the batch is that of the side it leads to
        assert back.lr == pytest.approx(lr)


@given(names, rates)
def test_the_same_conditions_are_the_same_rate(name: str, lr: float) -> None:
    found = translate(lr, from_=name, to=name)

    assert (found.lr, found.low, found.high, found.rules, found.warnings) == (lr, lr, lr, (), ())


def movement(lr: float, momentum: float) -> float:
    """Return how far a steady gradient of 1 moves a weight in one update in the end."""
    weight = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight], lr=lr, momentum=momentum)
    places = [0.0]
    for _ in range(500):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        places.append(weight.item())
    return places[-2] - places[-1]


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.9), (0.9, 0.95), (0.95, 0.5)])
def test_a_steady_gradient_moves_as_far_after_a_change_of_momentum(before: float, after: float) -> None:
    found = translate(0.1, from_=Conditions("momentum", before), to=Conditions("momentum", after))

    assert found.lr is not None
    assert movement(found.lr, after) == pytest.approx(movement(0.1, before))


# By hand: the factor of each rule alone.
@pytest.mark.parametrize(
    ("before", "after", "factor", "low", "high"),
    [
        ("sgd", "momentum", 0.1, 0.05, 0.2),  # 1 − 0.9
        ("momentum", "nesterov", 1, 1, 1),
        ("adam", "adamw", 1, 1 / 3, 3),
        ("adamw", "lion", 0.2, 0.1, 1 / 3),
        ("lion", "adamw", 5, 3, 10),
        ("sgd", "schedule-free-sgd", 20, 10, 50),
        (Conditions("momentum", batch_size=32), Conditions("momentum", batch_size=128), 4, 2, 4),
        (Conditions("momentum", batch_size=128), Conditions("momentum", batch_size=32), 1 / 4, 1 / 4, 1 / 2),
        (Conditions("adamw", batch_size=32), Conditions("adamw", batch_size=128), 2, 1, 4),
        (Conditions("adamw", horizon=100), Conditions("adamw", horizon=1_600), 1 / 2, 1 / 4, 1),  # 16^−¼
        (Conditions("adamw", horizon=1_600), Conditions("adamw", horizon=100), 2, 1, 4),
        (Conditions("adamw", 0.9), Conditions("adamw", 0.95), 1, 1, 1),  # averaged: β₁ does not scale
    ],
)
def test_each_rule(before: Any, after: Any, factor: float, low: float, high: float) -> None:
    found = translate(0.01, from_=before, to=after)

    assert found.lr == pytest.approx(0.01 * factor)
    assert (found.low, found.high) == pytest.approx((0.01 * low, 0.01 * high))


def test_every_rule_says_what_it_holds_and_where_it_is_from() -> None:
    before = Conditions("momentum", 0.9, batch_size=32, horizon=100)
    found = translate(0.1, from_=before, to=Conditions("momentum", 0.95, batch_size=64, horizon=400))

    assert [rule.what for rule in found.rules] == [
        "movement of a steady gradient × 2",
        "batch size × 2",
        "horizon × 4",
    ]
    assert all(rule.held and rule.source.rpartition(", ")[2].isdigit() for rule in found.rules)
    assert found.lr == pytest.approx(0.1 / 2 * 2 * 4**-0.25)
    assert any("√k is the other rule" in warning for warning in found.warnings)


def test_adam_and_sgd_have_no_rule() -> None:
    found = translate(0.1, from_="momentum", to="adam")

    assert found.lr is None
    assert found.warnings == (
        "No scaling rule is known from SGD, momentum 0.9 to Adam. Search, for example with stepsize.find",
    )
    assert str(found) == "no scaling rule known: search 1e-05 to 0.1"


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: translate(0.0, from_="sgd", to="adam"), InputError, "^lr must be a positive, finite learning rate"),
        (lambda: translate(math.nan, from_="sgd", to="adam"), InputError, "^lr must be a positive"),
        (lambda: translate(0.1, from_="sdg", to="adam"), UnknownNameError, "Did you mean 'sgd'"),
        (
            lambda: translate(0.1, from_=Conditions("sgd", batch_size=32), to="sgd"),
            InputError,
            r"^batch_size must be given on both sides or on neither; got \(32, None\)",
        ),
        (lambda: Conditions("sgd", momentum=1.0), InputError, r"^momentum must lie in \[0, 1\); got 1.0"),
        (lambda: Conditions("adagrad", momentum=0.5), InputError, "^momentum has no meaning to Adagrad; got 0.5"),
        (lambda: Conditions("sgd", batch_size=0), InputError, "^batch_size must be a whole number, at least 1; got 0"),
        (lambda: Conditions("sgd", horizon=1.5), InputError, "^horizon must be a whole number"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_named(call: Callable[[], Any], error: type[InputError], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
