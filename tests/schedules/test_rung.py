"""A schedule over another horizon: the same shape, whole, and the same values where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepsize.errors import InputError
from stepsize.schedules import cosine, resampled

horizons = st.integers(1, 300)


@given(horizons, st.floats(0, 1))
def test_stretching_to_its_own_horizon_changes_nothing(steps: int, floor: float) -> None:
    schedule = cosine(steps, end=floor)

    same = resampled(schedule, steps, to=steps)

    assert [same(step) for step in range(steps)] == [schedule(step) for step in range(steps)]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=200), horizons)
def test_it_is_linear_interpolation_between_the_middles_of_updates(table: list[float], to: int) -> None:
    steps = len(table)
    middles = (np.arange(steps) + 0.5) / steps
    expected = np.interp((np.arange(to) + 0.5) / to, middles, table)

    new = resampled(table.__getitem__, steps, to=to)

    assert [new(step) for step in range(to)] == pytest.approx(expected.tolist(), abs=1e-9)


@pytest.mark.parametrize("to", [25, 50, 200, 400])
def test_a_resampled_cosine_is_nearly_the_cosine_of_that_horizon(to: int) -> None:
    new = resampled(cosine(100), 100, to=to)
    own = cosine(to)

    # the two count from the start and from the middle of an update: half an update apart at the steepest
    assert max(abs(new(step) - own(step)) for step in range(to)) < 2 / min(to, 100)


def test_a_rung_has_a_complete_decay() -> None:
    rung = resampled(cosine(1000, warmup="5%"), 1000, to=50)

    assert max(rung(step) for step in range(50)) > 0.98
    assert rung(49) < 0.002


@pytest.mark.parametrize("step", [-5, 4, 100])
def test_a_step_outside_the_horizon_gets_the_factor_of_the_nearest_end(step: int) -> None:
    table = [0.5, 1.0, 0.75, 0.25]
    new = resampled(table.__getitem__, 4, to=4)

    assert new(step) == (table[0] if step < 0 else table[-1])


@pytest.mark.parametrize(
    ("steps", "to", "message"),
    [
        (0, 5, "^steps must be a whole number, at least 1; got 0$"),
        (5, 0, "^to must be a whole number, at least 1; got 0$"),
    ],
)
def test_a_horizon_below_1_is_refused(steps: int, to: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resampled(lambda step: 1.0, steps, to=to)
