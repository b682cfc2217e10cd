"""Each rule against its equations, written down slowly, and against other implementations of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from stepsize.optimizers.adaptive import Adaptive, AdaptiveRule, Hypergradient, LineSearch, Polyak
from stepsize.optimizers.adaptive.rule import Now

DTYPE = torch.float64
SCALES = np.array([1.0, 0.3, 0.1, 2.0])
START = np.array([1.0, -2.0, 3.0, 0.5])


def loss_at(x: np.ndarray[Any, Any], t: int) -> float:
    """Return 0.5 Σ s (x − a_t)² + 1 with a_t that moves about: a loss with noise."""
    return float(0.5 * (SCALES * (x - centre(t)) ** 2).sum() + 1.0)


def gradient_at(x: np.ndarray[Any, Any], t: int) -> np.ndarray[Any, Any]:
    return np.asarray(SCALES * (x - centre(t)))


def centre(t: int) -> np.ndarray[Any, Any]:
    return np.asarray(0.3 * np.sin(np.arange(4) + 1.7 * t))


def run(
    rule: AdaptiveRule, lr: float, steps: int, momentum: float = 0.0
) -> tuple[list[np.ndarray[Any, Any]], list[float]]:
    """Return the weights after each update, and its effective rates, of SGD with ``rule``."""
    weight = nn.Parameter(torch.tensor(START, dtype=DTYPE))
    optimizer = Adaptive(SGD([weight], lr=lr, momentum=momentum), rule, bounds=(1e-12, 1e12))
    scales = torch.tensor(SCALES, dtype=DTYPE)
    places, rates = [], []
    for t in range(steps):

        def value(t: int = t) -> Tensor:
            return 0.5 * (scales * (weight - torch.tensor(centre(t), dtype=DTYPE)) ** 2).sum() + 1.0

        optimizer.zero_grad()
        loss = value()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(loss=loss, loss_fn=lambda: value().detach())
        places.append(weight.detach().numpy().copy())
        rates.append(optimizer.rates[0])
    return places, rates


# Slow twins, for plain SGD ------------------------------------------------------------------------------------------


def hypergradient(lr: float, steps: int, beta: float) -> tuple[list[np.ndarray[Any, Any]], list[float]]:
    x, rate, last = START.copy(), lr, None
    places, rates = [], []
    squares: list[float] = []
    for t in range(steps):
        g = gradient_at(x, t)
        if last is not None:
            c = float(g @ last) / float(np.linalg.norm(g) * np.linalg.norm(last))
            ratio = -float(g @ last) / float(last @ last)  # for SGD the last direction is the last gradient
            if ratio > 1:
                rate /= 1 + ratio
            else:
                squares.append(c * c)
                weights = 0.99 ** np.arange(len(squares))[::-1]
                mean = float(weights @ np.array(squares) / weights.sum())
                rate *= math.exp(beta * c / math.sqrt(mean))
        last = g
        x = x - rate * g
        places.append(x.copy())
        rates.append(rate)
    return places, rates


@pytest.mark.parametrize("lr", [0.01, 0.5])
def test_hypergradient(lr: float) -> None:
    places, rates = run(Hypergradient(0.1), lr, 60)
    slow_places, slow_rates = hypergradient(lr, 60, 0.1)

    np.testing.assert_allclose(rates, slow_rates, rtol=1e-9)
    np.testing.assert_allclose(places, slow_places, rtol=1e-8, atol=1e-10)
    assert max(rates) > 1.05 * min(rates), "nothing was tried"


def test_a_rate_over_the_edge_comes_back_at_once() -> None:
    # Curvature 2 in the last coordinate: plain descent diverges above a rate of 1.
    plain = START.copy()
    for t in range(40):
        plain = plain - 1.5 * gradient_at(plain, t)
    places, rates = run(Hypergradient(0.1), 1.5, 40)

    assert rates[-1] < 1.1
    assert loss_at(places[-1], 39) < loss_at(START, 0) < 1e6 < loss_at(plain, 39)


def polyak(form: str, steps: int, *, target: float, c: float, most: float, doubling: int) -> list[float]:
    """Return the step sizes of the papers: rates, not multipliers."""
    x, rates = START.copy(), []
    rate = math.inf
    for t in range(steps):
        g = gradient_at(x, t)
        gap, square = loss_at(x, t) - target, float(g @ g)
        if form == "sps-max":
            rate = min(gap / (c * square), most, 2 ** (1 / doubling) * rate)
        else:
            now, before = c * math.sqrt(t + 1), c * math.sqrt(t)
            rate = min(gap / square, before * rate if t else most) / now
        x = x - rate * g
        rates.append(rate)
    return rates


@pytest.mark.parametrize("form", ["sps-max", "decsps"])
@pytest.mark.parametrize("lr", [1e-3, 0.7])
def test_polyak(form: Any, lr: float) -> None:
    numbers: dict[str, Any] = {"target": 0.5, "c": 2.0, "doubling": 7}

    # Where a step may jump, roundings grow from update to update: the trajectory is chaotic.
    _, rates = run(Polyak(form, most=3.0 / lr, **numbers), lr, 20)

    np.testing.assert_allclose(rates, polyak(form, 20, most=3.0, **numbers), rtol=1e-8)


def line_search(steps: int, *, c: float, shorten: float, doubling: int, start: float) -> list[float]:
    x, rate, rates = START.copy(), start, []
    for t in range(steps):
        g = gradient_at(x, t)
        rate *= 2 ** (1 / doubling) if t else 1.0
        while loss_at(x - rate * g, t) > loss_at(x, t) - c * rate * float(g @ g):
            rate *= shorten
        x = x - rate * g
        rates.append(rate)
    return rates


@pytest.mark.parametrize("lr", [1e-3, 0.7])
def test_line_search(lr: float) -> None:
    numbers: dict[str, Any] = {"c": 0.3, "shorten": 0.6, "doubling": 5}

    _, rates = run(LineSearch(start=50.0 / lr, **numbers), lr, 40)

    np.testing.assert_allclose(rates, line_search(40, start=50.0, **numbers), rtol=1e-8)


# Another implementation ---------------------------------------------------------------------------------------------


def test_sps_agrees_with_another_implementation() -> None:
    """Polyak's step of optax: min(f / ‖g‖², the largest), on the same trajectory."""
    jax = pytest.importorskip("jax")
    optax = pytest.importorskip("optax")
    optimizer = optax.polyak_sgd(max_learning_rate=0.8, variant="sps")
    x = jax.numpy.array(START)
    state = optimizer.init(x)
    theirs = []
    for t in range(10):
        value, gradient = loss_at(np.asarray(x), t), jax.numpy.array(gradient_at(np.asarray(x), t))
        updates, state = optimizer.update(gradient, state, x, value=value)
        x = optax.apply_updates(x, updates)
        theirs.append(np.asarray(x))

    # The step never doubles within one of these updates, so SPS-max is SPS.
    ours, _ = run(Polyak(most=0.8 / 0.01, doubling=1), 0.01, 10)

    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_an_estimated_target_is_a_level_below_the_record() -> None:
    rng = np.random.default_rng(0)
    losses = np.concatenate([np.geomspace(4.0, 2.0, 120), np.full(180, 2.0)]) + 0.05 * rng.normal(size=300)
    rule, found = Polyak(target="estimated"), []
    for loss in losses:
        rule.multiplier(Now([], [], 1.0, 0.1, float(loss), None, (1e-6, 1e6)))
        found.append(rule._level())

    mean = record = since = losses[0]
    gap, waited, expected = abs(losses[0]) / 2, 0, [losses[0] / 2]
    for loss in losses[1:]:
        mean = 0.9 * mean + 0.1 * loss
        record, waited = min(record, mean), waited + 1
        if record <= since - gap / 2:
            since, waited = record, 0
        elif waited == 50:
            gap, since, waited = gap / 2, record, 0
        expected.append(record - gap)
    assert found == pytest.approx(expected)
    assert gap < 0.2  # drawn near where nothing falls any more
    assert 1.6 < found[-1] < 2.0


def test_an_estimated_target_trains_where_no_loss_is_near_zero() -> None:
    weight = nn.Parameter(torch.tensor(START))
    optimizer = Adaptive(SGD([weight], lr=1e-4), Polyak(target="estimated"))
    scales = torch.tensor(SCALES)
    for t in range(800):
        optimizer.zero_grad()
        loss = 0.5 * (scales * (weight - torch.tensor(centre(t))) ** 2).sum() + 100.0
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step(loss=loss)
    ends = 0.5 * (scales * weight.detach() ** 2).sum().item()
    assert ends < 0.1 * float(0.5 * (SCALES * START**2).sum())
