"""Spaces: how they are read, how each dimension maps onto [0, 1], and what they refuse."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.study.landscapes import SPACES, holds, units_of

from stepsize import schedules
from stepsize.errors import InputError, ScheduleSyntaxError, UnknownNameError
from stepsize.plain import builder
from stepsize.study.space import Choice, Range, Space, as_space


@given(SPACES, st.data())
def test_a_point_goes_to_units_and_back(space: Space, data: st.DataObject) -> None:
    values = space.from_units([data.draw(st.floats(0, 1)) for _ in space.dimensions])

    assert holds(space, values)
    again = space.from_units(units_of(space, values))
    assert [type(value) for value in again.values()] == [type(value) for value in values.values()]
    for name, value in values.items():
        assert again[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-9, abs=1e-10))


@given(SPACES)
def test_the_ends_are_met_without_rounding(space: Space) -> None:
    for dimension in space.dimensions:
        if isinstance(dimension, Range):
            assert (dimension.from_unit(0.0), dimension.from_unit(1.0)) == (dimension.low, dimension.high)
            assert (dimension.to_unit(dimension.low), dimension.to_unit(dimension.high)) == (0.0, 1.0)


@given(SPACES, st.integers(1, 30))
def test_a_grid_rises_within_its_dimension(space: Space, points: int) -> None:
    for dimension in space.dimensions:
        grid = dimension.grid(points)

        assert 1 <= len(grid) <= max(points, 1)
        assert len(set(grid)) == len(grid)
        if isinstance(dimension, Range):
            units = [dimension.to_unit(value) for value in grid]
            assert units == sorted(units)
            assert points == 1 or (units[0], units[-1]) == (0.0, 1.0)


@given(SPACES)
def test_a_space_goes_through_json(space: Space) -> None:
    assert builder(Space)(json.loads(json.dumps(space.to_json()))) == space


@pytest.mark.parametrize(
    ("dimension", "middle"),
    [
        (Range("lr", 1e-4, 1e-2), 1e-3),
        (Range("momentum", 0.9, 0.999, "complement"), 0.99),
        (Range("warmup", 0.0, 0.2, "linear"), 0.1),
        (Range("batch_size", 16, 256, whole=True), 64),
    ],
)
def test_the_middle_is_that_of_the_scale(dimension: Range, middle: float) -> None:
    assert dimension.from_unit(0.5) == pytest.approx(middle)
    assert dimension.to_unit(middle) == pytest.approx(0.5)
    assert dimension.grid(1)[0] == pytest.approx(middle)


def test_each_name_has_the_scale_that_people_vary_it_on() -> None:
    space = as_space(
        lr=(1e-4, 1),
        momentum=(0, 0.99),
        beta2=(0.9, 0.999),
        weight_decay=(1e-5, 0.1),
        warmup=(0.0, 0.2),
        batch_size=(16, 64),
        clip=(0.1, 1),
    )

    found = {one.name: (one.scale, one.whole) for one in space.dimensions if isinstance(one, Range)}
    assert found == {
        "lr": ("log", False),
        "momentum": ("complement", False),
        "beta2": ("complement", False),
        "weight_decay": ("log", False),
        "warmup": ("linear", False),
        "batch_size": ("log", True),
        "clip": ("log", False),
    }


def test_a_warm_up_between_whole_numbers_counts_updates() -> None:
    assert as_space(lr=(1e-4, 1.0), warmup=(0, 100))["warmup"] == Range("warmup", 0, 100, "linear", whole=True)


def test_what_is_none_is_left_to_the_task() -> None:
    assert as_space(lr=(1e-4, 1.0), momentum=None).names == ("lr",)


def test_numbers_of_numpy_and_schedules_are_taken() -> None:
    space = as_space(
        lr=(np.float64(1e-4), np.float32(1)),
        batch_size=[np.int64(32)],
        schedule=[schedules.cosine(warmup="5%"), "linear"],
    )

    assert space["batch_size"] == Choice("batch_size", (32,))
    assert space["schedule"] == Choice("schedule", ("warmup 5%, cosine", "linear"))
    json.dumps(space.to_json())


def test_free_are_the_dimensions_with_something_to_choose() -> None:
    space = as_space(lr=(1e-4, 1.0), momentum=0.9, optimizer=["sgd", "adam"])

    assert [one.name for one in space.free] == ["lr", "optimizer"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": (0.1, 0.1)}, "lr must be a range with low < high"),
        ({"lr": (0.1, 0.01)}, r"lr must be a range with low < high; got \(0.1, 0.01\). Write \(0.01, 0.1\)"),
        ({"lr": (0.0, 0.1)}, "lr must be a range of positive numbers"),
        ({"lr": (-1.0, 0.1)}, "lr must be a range of positive numbers"),
        ({"lr": (0.1, math.inf)}, "lr must be a range between finite numbers"),
        ({"lr": (0.1, math.nan)}, "lr must be a range between finite numbers"),
        ({"lr": (0.1, 0.2, 0.3)}, r"lr must be a range of two numbers, \(low, high\)"),
        ({"lr": ("a", "b")}, "lr must be a range of two numbers"),
        ({"lr": (False, True)}, "lr must be a range of two numbers"),
        ({"lr": [0.1, -0.1]}, "lr must be a positive, finite learning rate; got -0.1"),
        ({"lr": [0.1, "0.2"]}, "lr must be a positive, finite learning rate; got '0.2'"),
        ({"lr": [0.1, math.inf]}, "lr must be a positive, finite learning rate"),
        ({"lr": [0.1, 0.1]}, "lr must not have the same value twice"),
        ({"lr": []}, "lr must have at least one value"),
        ({"lr": 0.1}, "lr must be a range or a list of rates to search"),
        ({"lr": None}, "lr must be a range or a list of rates to search"),
        ({"lr": {0.1}}, "lr must be a number, a list of them or a range"),
        ({"momentum": (0.5, 1.0)}, "momentum must be a range below 1"),
        ({"momentum": 1.0}, "momentum must be a finite number, at least 0, below 1; got 1.0"),
        ({"momentum": (-0.1, 0.9)}, "momentum must be a finite number, at least 0, below 1; got -0.1"),
        ({"momentum": True}, "momentum must be a number"),
        ({"beta2": [0.9, 1.5]}, "beta2 must be a finite number, at least 0, below 1; got 1.5"),
        ({"batch_size": (16.5, 64)}, "batch_size must be a range between whole numbers"),
        ({"batch_size": [16, 0]}, "batch_size must be a whole number of examples, at least 1"),
        ({"warmup": (0.0, 2.5)}, "warmup must be a range of fractions below 1"),
        ({"weight_decay": -0.1}, "weight_decay must be a finite number, at least 0"),
        ({"clip": 0.0}, "clip must be a positive, finite gradient norm"),
        ({"optimizer": ("sgd", "adam")}, "optimizer cannot be a range"),
        ({"optimizer": 3}, "optimizer must be a name of the catalog"),
        ({"momentum": Range("beta2", 0.0, 0.9, "complement")}, "momentum must be a dimension of that name"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_space(**{"lr": (1e-4, 1.0)} | given)


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'momentum'"):
        as_space(lr=(1e-4, 1.0), momentun=(0.0, 0.9))
    with pytest.raises(UnknownNameError, match="'nesterov'"):
        as_space(lr=(1e-4, 1.0), optimizer=["nesterow"])
    with pytest.raises(UnknownNameError, match="dimension is not a known name; got 'clip'"):
        as_space(lr=(1e-4, 1.0))["clip"]
    with pytest.raises(UnknownNameError, match="complement"):
        Range("lr", 0.1, 1.0, "logarithmic")  # type: ignore[arg-type]


def test_a_schedule_that_cannot_be_read_is_refused_at_once() -> None:
    with pytest.raises(ScheduleSyntaxError, match="'cosin' is not a schedule"):
        as_space(lr=(1e-4, 1.0), schedule=["linear", "cosin"])
