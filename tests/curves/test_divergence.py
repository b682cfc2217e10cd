"""The rule that ends lost trainings: deaf to offset, sign, scale and bound; patient with spikes and rough starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stepsize.curves.divergence import DivergenceRule

Curve = NDArray[np.float64]
STEPS = 400


def verdict(losses: Iterable[float], horizon: int = STEPS) -> tuple[int, str] | None:
    """Return at which step the rule gives the training up, and why; None where it never does."""
    rule = DivergenceRule(horizon)
    return next(((step, reason) for step, loss in enumerate(losses) if (reason := rule.update(float(loss)))), None)


def fired(losses: Iterable[float], horizon: int = STEPS) -> int | None:
    found = verdict(losses, horizon)
    return None if found is None else found[0]


def noise(seed: int = 0, steps: int = STEPS) -> Curve:
    return np.asarray(np.random.default_rng(seed).normal(size=steps))


def learning(seed: int = 0, steps: int = STEPS) -> Curve:
    """Return a loss that falls from 2.3 to 0.3 under noise."""
    return np.asarray(0.3 + 2.0 * np.exp(-4 * np.arange(steps) / steps) + 0.1 * noise(seed, steps))


def exploding(seed: int = 0, start: int = 100) -> Curve:
    """Return a loss that learns, then grows by a tenth an update."""
    after = np.maximum(0, np.arange(STEPS) - start)
    return np.asarray(learning(seed) + 0.01 * (1.1**after - 1))


SHAPES = {
    "as it is": lambda losses: losses,
    "times 1000": lambda losses: 1000 * losses,
    "in thousandths": lambda losses: losses / 1000,
    "plus 100": lambda losses: losses + 100,
    "negative": lambda losses: losses - 100,
    "around zero": lambda losses: losses - 1,
    "near zero": lambda losses: 1e-9 * losses,
}
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


@shapes
@pytest.mark.parametrize("seed", range(5))
def test_a_training_that_learns_is_never_given_up(shape: object, seed: int) -> None:
    assert callable(shape)
    assert verdict(shape(learning(seed))) is None


@shapes
@pytest.mark.parametrize("seed", range(5))
def test_a_loss_that_explodes_slowly_is_given_up_at_the_same_step_in_any_unit(shape: object, seed: int) -> None:
    assert callable(shape)
    step = fired(exploding(seed))

    assert step is not None
    assert 140 < step < 220
    assert fired(shape(exploding(seed))) == step


@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-6, 1e6),
    offset=st.floats(-20.0, 20.0),
    explodes=st.booleans(),
)
def test_scale_and_offset_do_not_move_the_step(seed: int, scale: float, offset: float, explodes: bool) -> None:
    losses = exploding(seed) if explodes else learning(seed)

    assert fired(scale * (losses + offset)) == fired(losses)


@given(seed=st.integers(0, 10_000), offset=st.floats(-1e6, 1e6))
def test_an_offset_far_beyond_the_progress_only_makes_the_rule_more_patient(seed: int, offset: float) -> None:
    plain, moved = fired(exploding(seed)), fired(exploding(seed) + offset)

    assert plain is not None
    assert moved is None or moved >= plain
    assert fired(learning(seed) + offset) is None


def test_an_offset_of_a_thousand_costs_a_few_steps_at_most() -> None:
    plain, moved = fired(exploding()), fired(exploding() + 1000)

    assert plain is not None
    assert moved is not None
    assert plain <= moved <= plain + 5


def test_a_loss_without_a_lower_bound_may_fall_without_end() -> None:
    assert verdict(-(np.arange(STEPS) ** 2.0) + noise()) is None
    assert verdict(-np.exp(np.arange(STEPS) / 20)) is None


def test_a_loss_without_a_lower_bound_that_turns_round_is_given_up() -> None:
    steps = np.arange(STEPS)
    losses = -np.minimum(steps, 100.0) + 8.0 * np.maximum(0, steps - 100) + noise()

    step = fired(losses)
    assert step is not None
    assert 140 < step < 190  # 100 of progress lost three times over, 4 x 100 / 8 = 50 steps after the turn


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("step", [0, 3, 150])
def test_a_loss_that_is_not_finite_ends_the_training_at_once(value: float, step: int) -> None:
    losses = learning()
    losses[step] = value

    assert verdict(losses) == (step, f"the loss became {value}")


def test_a_bounded_loss_that_dies_is_given_up() -> None:
    # An accuracy-like loss in [0, 1]: it learns for a while, then the model answers at random, or worse.
    losses = 0.5 - 0.2 * np.minimum(1, np.arange(STEPS) / 100) + 0.005 * noise()
    losses[120:] = 0.53 + 0.005 * noise(1)[120:]

    found = verdict(losses)
    assert found is not None
    assert found[0] == 120 + STEPS // 2
    assert found[1].startswith("half of the horizon was spent above the start at 0.49")


@pytest.mark.parametrize("seed", range(5))
def test_a_bounded_loss_that_stays_at_its_start_is_not_given_up(seed: int) -> None:
    assert verdict(np.log(10) + 0.01 * noise(seed)) is None
    assert verdict(noise(seed)) is None


def test_one_lucky_loss_is_no_progress_that_must_be_lost_again() -> None:
    losses = noise()
    losses[50] -= 1e3
    losses[200:] += 100

    assert fired(losses) == 200 + 20


@shapes
@pytest.mark.parametrize("length", [1, 10, 19])
def test_a_spike_does_not_end_a_training(shape: object, length: int) -> None:
    assert callable(shape)
    losses = learning()
    losses[200 : 200 + length] += 1e4

    assert verdict(shape(losses)) is None


def test_spikes_again_and_again_do_not_end_a_training() -> None:
    losses = learning()
    losses[::10] += 1e4

    assert verdict(losses) is None


def test_a_jump_that_stays_ends_a_training_after_half_a_window() -> None:
    losses = learning()
    losses[200:] += 1e4

    found = verdict(losses)
    assert found is not None
    assert found[0] == 200 + 20  # the window is a tenth of 400 steps
    assert "most of the last 40 losses lie above" in found[1]
    assert "far above the start at 2.2" in found[1]


def test_a_rough_start_that_recovers_is_not_given_up() -> None:
    steps = np.arange(STEPS)
    losses = learning() + 8.0 * np.exp(-(((steps - 30) / 7.0) ** 2))
    # It was far above its start for many steps, by eighty noise widths at the worst.
    assert np.sum(losses > losses[0] + 1) > 15

    assert verdict(losses) is None


def test_a_rate_that_explodes_at_once_does_not_raise_its_own_bar() -> None:
    grows = 2.3 * 1.5 ** np.arange(STEPS)
    jumps = learning()
    jumps[6:] += 1e3

    assert fired(grows) == fired(jumps) == 20 + 20  # twenty steps are its start, half a window the proof


def test_a_full_batch_without_noise_is_judged_by_its_progress() -> None:
    falling = np.exp(-np.arange(STEPS) / 100)
    assert verdict(falling) is None
    assert verdict(np.full(STEPS, 0.7)) is None
    assert verdict(np.zeros(STEPS)) is None

    rising = np.where(np.arange(STEPS) < 100, 0.7, 0.7 + 0.01 * (np.arange(STEPS) - 100))
    step = fired(rising)
    assert step is not None
    assert 100 < step < 130


def test_rounding_of_a_flat_loss_is_no_divergence() -> None:
    assert verdict(np.where(np.arange(STEPS) < 50, 0.7, 0.7 * (1 + 1e-7))) is None


@pytest.mark.parametrize("horizon", [1, 2, 5, 8, 30])
def test_short_trainings_are_judged_with_the_same_patience(horizon: int) -> None:
    assert verdict(learning(0, horizon), horizon) is None
    assert fired([2.0, 1.9, math.nan], horizon) == 2


def test_a_short_training_that_explodes_is_given_up() -> None:
    step = fired(2.0 + 0.1 * noise(0, 30) + np.where(np.arange(30) < 8, 0, 1e3), 30)

    assert step == 8 + 4  # most of the smallest window of 8


@pytest.mark.parametrize("horizon", [400, 4000])
def test_the_window_grows_with_the_horizon(horizon: int) -> None:
    losses = learning(0, horizon)
    losses[horizon // 2 :] += 1e4

    step = fired(losses, horizon)
    assert step is not None
    assert step - horizon // 2 == min(horizon // 10, 200) // 2


@given(
    seed=st.integers(0, 10_000),
    kind=st.sampled_from([learning, exploding, noise]),
    odd=st.lists(st.tuples(st.integers(0, STEPS - 1), st.sampled_from([math.nan, -math.inf, 1e3, -1e3])), max_size=4),
    cuts=st.lists(st.integers(0, STEPS), max_size=12),
    horizon=st.sampled_from([None, 60, STEPS]),
)
def test_several_losses_at_once_are_the_same_as_one_after_the_other(
    seed: int, kind: Any, odd: list[tuple[int, float]], cuts: list[int], horizon: int | None
) -> None:
    losses = [float(loss) for loss in kind(seed)]
    for place, value in odd:
        losses[place] = value
    one, many = DivergenceRule(horizon, 3), DivergenceRule(horizon, 3)
    ends = sorted({0, *cuts, len(losses)})
    for begin, end in itertools.pairwise(ends):
        assert many.update_all(losses[begin:end]) == [one.update(loss) for loss in losses[begin:end]]
        assert str(vars(many)) == str(vars(one))
