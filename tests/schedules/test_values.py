"""Schedules are values: compared, hashed, copied, pickled and printed by what they are made of."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from tests.schedules.strategies import leaves, open_schedules, settled_schedules

from stepsize.errors import InputError
from stepsize.schedules import (
    SCHEDULES,
    HyperparameterSchedule,
    Schedule,
    Shape,
    Span,
    constant,
    cosine,
    function,
    linear,
    multi_step,
    one_cycle,
    points,
    triangular,
    warm_restarts,
    warmup,
    write,
)

names = pytest.mark.parametrize("name", sorted(SCHEDULES))


@names
def test_what_is_made_of_the_same_parts_or_copied_is_equal_and_has_one_hash(name: str) -> None:
    eta = SCHEDULES[name].typical(500)

    for same in (SCHEDULES[name].typical(500), copy.copy(eta), copy.deepcopy(eta), pickle.loads(pickle.dumps(eta))):
        assert same == eta
        assert hash(same) == hash(eta)
        assert same.factors().tolist() == eta.factors().tolist()
    assert eta != SCHEDULES[name].typical(501)
    assert eta != eta.scaled(2.0)


@given(settled_schedules(max_length=50) | open_schedules() | leaves())
def test_random_ones_survive_a_pickle(eta: Schedule) -> None:
    if eta.resolved and eta.length is not None:
        eta(0)  # what it has worked out is no part of its value

    assert pickle.loads(pickle.dumps(eta)) == eta


def test_every_parameter_tells_schedules_apart() -> None:
    different = [
        linear(10), linear(11), linear(10, end=0.1), linear(10, start=0.9), linear(10, warmup=2), linear("10%"),
        cosine(10), cosine(10, power=2.0), warmup(10), warmup(10, endpoints="start"), warmup(10, shape="cosine"),
        triangular(5), triangular(5, 6), triangular(5, low=0.2), triangular(5, per_step=0.9),
        one_cycle(10), one_cycle(10, three_phase=True), one_cycle(10, endpoints="both"),
        warm_restarts(5), warm_restarts(5, growth=2), warm_restarts(5, end=0.1),
        points({0: 1.0, 5: 0.5}), points({0: 1.0, 5: 0.5}, between=None),
        linear(10).extended(to=20, at=5), linear(10).extended(to=20, at=5, by="holding"),

    ]  # fmt: skip

    assert len(set(different)) == len(different)


def test_numbers_of_another_type_make_no_other_schedule() -> None:
    assert warm_restarts(5, growth=2, per_cycle=1) == warm_restarts(5, growth=2.0, per_cycle=1.0)
    assert linear(10, end=0) == linear(10, end=-0.0)
    assert linear("500 steps") == linear(500)
    assert linear("5%") == linear(Span(0.05, "share"))
    assert cosine(10, power=1) == cosine(10)


def test_functions_are_equal_if_they_are_the_same_object() -> None:
    def half(step: int) -> float:
        return 0.5

    assert function(half, 9) == function(half, 9)
    assert function(half, 9) != function(lambda step: 0.5, 9)


@pytest.mark.parametrize(
    "value", [linear(9), linear(9).node, Shape("rex"), Span(0.1, "share"), HyperparameterSchedule(linear(9))]
)
def test_nothing_of_a_value_can_be_changed(value: object) -> None:
    assert dataclasses.is_dataclass(value)
    for field in dataclasses.fields(value):
        with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field"):
            setattr(value, field.name, None)


def test_its_text_is_its_written_form() -> None:
    eta = cosine(10_000, warmup=500).floored(0.1)

    assert str(eta) == write(eta) == "(warmup 500, cosine 9500) | floored 0.1"
    assert repr(eta) == f"Schedule('{eta}')"
    assert str(function(abs, 9).then(constant(1))) == "function abs 9, constant 1"


@names
def test_every_text_is_one_short_line(name: str) -> None:
    text = repr(SCHEDULES[name].typical(1_000))

    assert "\n" not in text
    assert len(text) < 160
    assert "object at 0x" not in text
    assert "Ramp(" not in text


def test_a_step_that_is_no_number_is_refused() -> None:
    with pytest.raises(InputError, match="step must be a number, or an array of numbers; got 'x'"):
        linear(4)("x")


def test_milestones_behind_the_end_are_refused_when_the_schedule_is_made() -> None:
    with pytest.raises(InputError, match=r"milestones must be before the end at step 50; got \(100,\)"):
        multi_step([100], steps=50)
