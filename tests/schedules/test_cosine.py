"""The warm-up and the cosine against their closed form, and their shape for any arguments."""

from __future__ import annotations

import math
import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepsize.errors import InputError
from stepsize.schedules import WarmupCosine, warmup_cosine

steps_of_any_horizon = st.integers(1, 400)
warmups = st.floats(0, 0.99)
floors = st.floats(0, 1)


def factors(schedule: WarmupCosine) -> list[float]:
    return [schedule(step) for step in range(schedule.steps)]


@pytest.mark.parametrize("steps", [10, 97, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_it_is_the_published_formula(steps: int, warmup: float, floor: float) -> None:
    rise = round(warmup * steps)
    expected = [(t + 1) / (rise + 1) for t in range(rise)]
    # cos² of the half angle instead of (1 + cos) / 2: another road to the same value
    expected += [
        floor + (1 - floor) * math.cos(math.pi * (t - rise) / (2 * (steps - rise))) ** 2 for t in range(rise, steps)
    ]

    assert factors(warmup_cosine(steps, warmup=warmup, floor=floor)) == pytest.approx(expected, abs=1e-12)


@given(steps_of_any_horizon, warmups, floors)
def test_a_factor_lies_between_0_and_1(steps: int, warmup: float, floor: float) -> None:
    assert all(0 <= factor <= 1 for factor in factors(warmup_cosine(steps, warmup=warmup, floor=floor)))


@given(steps_of_any_horizon, warmups, floors)
def test_the_first_update_never_has_rate_0(steps: int, warmup: float, floor: float) -> None:
    assert warmup_cosine(steps, warmup=warmup, floor=floor)(0) > 0


@given(steps_of_any_horizon, warmups, floors)
def test_it_rises_strictly_to_its_peak_and_never_rises_again(steps: int, warmup: float, floor: float) -> None:
    schedule = warmup_cosine(steps, warmup=warmup, floor=floor)
    peak = schedule.warmup_steps
    values = factors(schedule)

    assert all(before < after for before, after in pairwise(values[: peak + 1]))
    assert all(before >= after for before, after in pairwise(values[peak:]))
    assert schedule(peak) == pytest.approx(1)


@given(steps_of_any_horizon, st.floats(0, 0.9), floors)
def test_it_reaches_its_floor_after_the_last_update_and_stays_there(steps: int, warmup: float, floor: float) -> None:
    schedule = warmup_cosine(steps, warmup=warmup, floor=floor)
    end = max(steps, schedule.warmup_steps + 1)

    assert schedule(end) == pytest.approx(floor, abs=1e-12)
    assert schedule(10 * end) == schedule(end)


def test_the_last_update_is_almost_at_the_floor() -> None:
    assert warmup_cosine(1000, floor=0.1)(999) == pytest.approx(0.1, abs=1e-4)


def test_it_survives_pickling() -> None:
    schedule = warmup_cosine(50, floor=0.1)

    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize("steps", [0, -3])
def test_a_horizon_below_1_is_refused(steps: int) -> None:
    with pytest.raises(InputError, match=rf"^steps must be at least 1; got {steps}$"):
        warmup_cosine(steps)


@pytest.mark.parametrize("warmup", [-0.1, 1.0, math.nan])
def test_a_warmup_that_is_no_share_is_refused(warmup: float) -> None:
    with pytest.raises(InputError, match=rf"^warmup must be a share of the horizon in \[0, 1\); got {warmup}$"):
        warmup_cosine(10, warmup=warmup)


@pytest.mark.parametrize("floor", [-0.1, 1.1, math.nan])
def test_a_floor_that_is_no_factor_is_refused(floor: float) -> None:
    with pytest.raises(InputError, match=rf"^floor must be a factor in \[0, 1\]; got {floor}$"):
        warmup_cosine(10, floor=floor)
