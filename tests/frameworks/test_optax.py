"""Schedules in JAX: the rates of a bound schedule, inside compiled code."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from stepsize.errors import InputError, MissingExtraError
from stepsize.frameworks import to_optax
from stepsize.schedules import SCHEDULES, HyperparameterSchedule, constant, cosine, inverse_sqrt, linear

STEPS = 400


@pytest.fixture(scope="module")
def jax() -> Any:
    return pytest.importorskip("jax", reason='jax is not installed: pip install "stepsize[jax]"')


@pytest.fixture(scope="module")
def optax() -> Any:
    return pytest.importorskip("optax", reason='optax is not installed: pip install "stepsize[jax]"')


@pytest.mark.parametrize("name", [entry.name for entry in SCHEDULES.values()])
def test_every_schedule_is_exact_in_float64_and_rounded_once_in_float32(name: str, jax: Any) -> None:
    eta = SCHEDULES[name].typical(STEPS)
    expected = 3e-3 * eta(np.arange(STEPS + 20))
    counts = np.arange(STEPS + 20)
    if eta.length is None:
        expected[STEPS:] = expected[STEPS]

    rate = to_optax(eta, 3e-3, None if eta.length else STEPS)
    with jax.enable_x64(True):
        exact = to_optax(eta, 3e-3, None if eta.length else STEPS)
        found = np.asarray(exact(counts))

    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, expected)
    single = np.asarray(rate(counts))
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, expected.astype(np.float32))


def test_it_compiles_and_vectorises(jax: Any) -> None:
    rate = to_optax(cosine(10), 0.5)

    compiled = jax.jit(rate)
    alone = [float(rate(count)) for count in range(12)]

    assert [float(compiled(count)) for count in range(12)] == alone
    assert np.asarray(jax.vmap(rate)(jax.numpy.arange(12))).tolist() == alone
    assert rate(3).shape == ()


def test_it_is_not_compiled_again_for_each_step(jax: Any) -> None:
    traced = []
    rate = to_optax(cosine(10), 0.5)

    def counted(count: Any) -> Any:
        traced.append(count)
        return rate(count)

    compiled = jax.jit(counted)
    for count in range(5):
        compiled(jax.numpy.int32(count))

    assert len(traced) == 1


def test_an_optimizer_of_optax_makes_its_updates_at_these_rates(jax: Any, optax: Any) -> None:
    eta = linear(6, warmup=2)
    transform = optax.sgd(to_optax(eta, 0.5))
    weight = jax.numpy.zeros(())
    state = transform.init(weight)
    moved = []

    update = jax.jit(lambda state: transform.update(jax.numpy.ones(()), state))
    for _ in range(8):
        change, state = update(state)
        moved.append(-float(change))

    np.testing.assert_array_equal(np.array(moved, dtype=np.float32), (0.5 * eta(np.arange(8))).astype(np.float32))


def test_accumulation_in_optax_counts_updates(jax: Any, optax: Any) -> None:
    eta = linear(4)
    transform = optax.MultiSteps(optax.sgd(to_optax(eta, 1.0)), every_k_schedule=3)
    weight = jax.numpy.zeros(())
    state = transform.init(weight)
    moved = []
    for _ in range(9):
        change, state = transform.update(jax.numpy.ones(()), state, weight)
        moved.append(-float(change))

    assert moved == [0, 0, 1.0, 0, 0, 0.75, 0, 0, 0.5]


def test_a_count_below_zero_takes_the_first_rate(jax: Any) -> None:
    assert float(to_optax(linear(4), 1.0)(-3)) == 1.0


@pytest.mark.parametrize(
    ("schedule", "lr", "steps", "message"),
    [
        (HyperparameterSchedule(linear(3)), 0.1, None, r"must be a Schedule; got Hyperparam.*use \.rate"),
        (cosine(warmup="5%"), 0.1, None, "must be in steps"),
        (inverse_sqrt(9), 0.1, None, "steps must be given for a schedule without an end"),
        (constant(), 0.1, 0, "steps must be a whole number of updates, at least 1; got 0"),
        (constant(), 0.1, 1.5, "steps must be a whole number of updates, at least 1; got 1.5"),
        (linear(3), -0.1, None, "lr must be a finite number, at least 0; got -0.1"),
    ],
)
def test_bad_input_is_named(schedule: Any, lr: Any, steps: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_optax(schedule, lr, steps)


def test_without_jax_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)

    with pytest.raises(MissingExtraError, match=r'pip install "stepsize\[jax\]"'):
        to_optax(linear(3), 0.1)


def test_a_table_that_no_memory_holds_is_refused() -> None:
    with pytest.raises(InputError, match="steps must be at most 50,000,000, which a table holds"):
        to_optax(cosine(10**10), 1.0)


def test_steps_settle_relative_durations() -> None:
    from stepsize.frameworks.table import rate_table
    from stepsize.schedules import parse

    written = parse("cosine warmup=10%")
    assert rate_table(written, 0.1, 40).tolist() == rate_table(written.over(40), 0.1, None).tolist()
    with pytest.raises(InputError, match="must be in steps"):
        rate_table(written, 0.1, None)
