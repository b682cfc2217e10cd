"""The search of the critical rate, on functions whose answer is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from stepsize.curves.critical import Critical, search_critical
from stepsize.curves.numerals import number_text

LOW, HIGH = 1e-7, 10.0


def bowl(curvature: float) -> Callable[[float], float]:
    """One step of gradient descent from w = 1 on curvature * w ** 2 / 2: the loss rises from 2 / curvature on."""
    return lambda lr: 0.5 * curvature * (1 - lr * curvature) ** 2


def search(loss_at: Callable[[float], float], base_loss: float, start: float = 1e-3) -> Critical:
    return search_critical(loss_at, base_loss=base_loss, start=start, low=LOW, high=HIGH)


@pytest.mark.parametrize("curvature", [0.25, 1.0, 3.7, 200.0, 1e4, 1e7])
@pytest.mark.parametrize("start", [1e-7, 1e-3, 10.0])
def test_a_bowl_has_its_critical_rate_at_two_over_its_curvature(curvature: float, start: float) -> None:
    found = search(bowl(curvature), 0.5 * curvature, start)
    assert found.lr
    assert abs(math.log(found.lr / (2 / curvature))) <= math.log(1.3) / 2 + 1e-9
    assert len(found.trials) <= 20


def test_the_trials_hold_every_rate_tried_and_its_loss_in_order() -> None:
    asked: list[float] = []

    def loss_at(lr: float) -> float:
        asked.append(lr)
        return bowl(2.0)(lr)

    found = search(loss_at, 1.0)
    assert [lr for lr, _ in found.trials] == asked
    assert all(loss == bowl(2.0)(lr) for lr, loss in found.trials)
    assert all(LOW <= lr <= HIGH for lr in asked)
    assert len(set(asked)) == len(asked)


def test_the_sentence_names_the_bracket() -> None:
    found = search(bowl(2.0), 1.0)
    falling = max(lr for lr, loss in found.trials if loss <= 1.0)
    rising = min(lr for lr, loss in found.trials if loss > 1.0)
    assert found.reason == f"The loss of the batch falls at {number_text(falling)} and rises at {number_text(rising)}."
    assert found.lr
    assert falling < found.lr < rising
    assert rising / falling <= 1.3


def test_a_loss_that_never_rises_has_been_tried_up_to_the_very_end_of_the_range() -> None:
    found = search(lambda lr: 0.5, 1.0)
    assert found.lr is None
    assert found.trials[-1][0] == HIGH
    assert "does not rise at any rate up to 10" in found.reason
    assert len(found.trials) <= 9


def test_a_loss_that_rises_everywhere_has_been_tried_down_to_the_very_end_of_the_range() -> None:
    found = search(lambda lr: 2.0, 1.0)
    assert found.lr is None
    assert found.trials[-1][0] == LOW
    assert "rises at every rate down to 1e-7" in found.reason
    assert len(found.trials) <= 9


@pytest.mark.parametrize("edge", [9.0, 1.2e-7])
def test_an_edge_between_the_last_stride_and_the_end_of_the_range_is_found(edge: float) -> None:
    found = search(bowl(2 / edge), 1 / edge)
    assert found.lr == pytest.approx(edge, rel=0.15)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_risen(bad: float) -> None:
    found = search(lambda lr: bad if lr > 0.02 else 0.5, 1.0)
    assert found.lr == pytest.approx(0.02, rel=0.15)


def test_a_loss_that_stays_the_same_has_not_risen() -> None:
    found = search(lambda lr: 1.0 if lr < 0.02 else 1.5, 1.0)
    assert found.lr == pytest.approx(0.02, rel=0.15)


@pytest.mark.parametrize("base_loss", [math.nan, math.inf])
def test_a_base_loss_that_is_not_finite_says_so_without_a_trial(base_loss: float) -> None:
    found = search(bowl(1.0), base_loss)
    assert found.lr is None
    assert found.trials == ()
    assert found.reason == f"The loss of the batch is {base_loss} before any update."


@pytest.mark.parametrize("start", [1e-12, 1e3])
def test_a_start_out_of_range_begins_at_its_nearest_end(start: float) -> None:
    found = search(bowl(2.0), 1.0, start)
    assert found.trials[0][0] == (LOW if start < LOW else HIGH)
    assert found.lr == pytest.approx(1.0, rel=0.15)


@pytest.mark.parametrize("position", [0.0, 0.01, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("start", [1e-7, 1e-3, 10.0])
def test_the_number_of_trials_is_bounded(position: float, start: float) -> None:
    edge = LOW * (HIGH / LOW) ** position
    found = search(lambda lr: 2.0 if lr > edge else 0.5, 1.0, start)
    strides = math.ceil(math.log(HIGH / LOW, 4)) + 1  # end to end
    halvings = math.ceil(math.log2(math.log(4) / math.log(1.3)))
    assert len(found.trials) <= strides + halvings
