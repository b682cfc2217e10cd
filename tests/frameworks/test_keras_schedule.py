"""Schedules in Keras: the rates of a bound schedule, by updates and not micro-batches, saved with a model."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepsize.errors import InputError, MissingExtraError
from stepsize.frameworks import to_keras
from stepsize.frameworks.keras_schedule import keras_schedule
from stepsize.schedules import SCHEDULES, cosine, function, inverse_sqrt, linear

STEPS = 400


@pytest.fixture(scope="module")
def keras() -> Any:
    """Keras on the backend that is there anyway; the environment is left as it was."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", os.environ.get("KERAS_BACKEND", "torch"))
        return pytest.importorskip("keras", reason='keras is not installed: pip install "stepsize[keras]"')


@pytest.fixture
def float64(keras: Any) -> Iterator[None]:
    if keras.config.backend() == "jax":
        pytest.skip("JAX computes in float64 only with jax_enable_x64")
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def rates(keras: Any, schedule: Any, counts: Any) -> np.ndarray[Any, Any]:
    found = [schedule(count) for count in counts]
    return np.array([float(rate) for rate in found], dtype=keras.backend.standardize_dtype(found[0].dtype))


def moved(keras: Any, optimizer: Any, calls: int) -> list[float]:
    """How far each call of the optimizer moves a weight whose gradient is 1."""
    weight = keras.Variable(0.0)
    optimizer.build([weight])
    found = []
    for _ in range(calls):
        before = float(keras.ops.stop_gradient(weight.value))
        optimizer.apply_gradients([(keras.ops.ones(()), weight)])
        found.append(round(before - float(keras.ops.stop_gradient(weight.value)), 5))
    return found


@pytest.mark.parametrize("name", [entry.name for entry in SCHEDULES.values()])
def test_every_schedule_is_rounded_once_to_float32(name: str, keras: Any) -> None:
    eta = SCHEDULES[name].typical(STEPS)
    counts = [0, 1, 17, 100, 255, STEPS - 1, STEPS, STEPS + 9]

    found = rates(keras, to_keras(eta, 3e-3, None if eta.length else STEPS), counts)

    expected = 3e-3 * eta(counts if eta.length else np.minimum(counts, STEPS))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.usefixtures("float64")
def test_with_float64_the_rates_are_exact(keras: Any) -> None:
    eta = cosine(50, warmup=5)

    found = rates(keras, to_keras(eta, 3e-3), range(60))

    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, 3e-3 * eta(np.arange(60)))


def test_an_optimizer_of_keras_makes_its_updates_at_these_rates(keras: Any) -> None:
    optimizer = keras.optimizers.SGD(to_keras(linear(4), 1.0))

    assert moved(keras, optimizer, 6) == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]


def test_under_accumulation_the_schedule_counts_updates(keras: Any) -> None:
    optimizer = keras.optimizers.SGD(to_keras(linear(4), 1.0, accumulate=2), gradient_accumulation_steps=2)

    assert moved(keras, optimizer, 8) == [0, 1.0, 0, 0.75, 0, 0.5, 0, 0.25]


def test_keras_asks_with_micro_batches_which_is_why_it_must_be_said(keras: Any) -> None:
    """The defect of the peer: its own straight line to zero is over after half of the updates."""
    line = keras.optimizers.schedules.PolynomialDecay(1.0, decay_steps=4, end_learning_rate=0.0)
    optimizer = keras.optimizers.SGD(line, gradient_accumulation_steps=2)

    assert moved(keras, optimizer, 8) == [0, 0.75, 0, 0.25, 0, 0, 0, 0]


def test_it_goes_through_the_config_of_an_optimizer_as_plain_json(keras: Any) -> None:
    optimizer = keras.optimizers.SGD(to_keras(cosine(40, warmup=4), 0.3, accumulate=2), gradient_accumulation_steps=2)

    text = json.dumps(keras.saving.serialize_keras_object(optimizer))
    again = keras.saving.deserialize_keras_object(json.loads(text))

    assert moved(keras, again, 8) == moved(keras, optimizer, 8)
    assert repr(again._learning_rate) == repr(optimizer._learning_rate)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras reading its torch tensors
def test_a_saved_model_goes_on_in_a_new_process(keras: Any, tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(to_keras(linear(8), 0.5)), loss="mse")
    model.train_on_batch(np.ones((4, 2)), np.ones((4, 1)))
    model.save(tmp_path / "model.keras")
    code = (
        "import sys, keras; from stepsize.frameworks.keras_schedule import keras_schedule; keras_schedule();"
        "optimizer = keras.models.load_model(sys.argv[1]).optimizer; print(float(optimizer.learning_rate))"
    )
    environment = {**os.environ, "KERAS_BACKEND": keras.config.backend()}

    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "model.keras")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=100,
        check=False,
    )

    assert done.stdout.strip() == str(0.5 * linear(8)(1)), done.stderr


def test_it_copies_and_pickles(keras: Any) -> None:
    rate = to_keras(inverse_sqrt(9), 0.3, 20, accumulate=3)

    for again in (copy.deepcopy(rate), pickle.loads(pickle.dumps(rate))):
        assert repr(again) == repr(rate)
        np.testing.assert_array_equal(rates(keras, again, range(70)), rates(keras, rate, range(70)))


def test_a_function_trains_but_is_not_saved(keras: Any) -> None:
    rate = to_keras(function(lambda t: 1 / (1 + t), 9), 1.0)

    assert float(rate(1)) == 0.5
    with pytest.raises(InputError, match=r"contains a function, .*\.tabulated\(\)"):
        rate.get_config()


def test_a_config_with_other_fields_is_refused(keras: Any) -> None:
    config = to_keras(linear(4), 1.0).get_config()

    with pytest.raises(InputError, match="config must have the fields schedule, lr, steps, accumulate, and no other"):
        keras_schedule().from_config({**config, "warmup": 3})  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="the schedule cannot be read"):
        keras_schedule().from_config({**config, "schedule": "ram"})  # type: ignore[attr-defined]


@pytest.mark.parametrize("accumulate", [0, 2.0, True, None])
def test_an_accumulation_that_is_no_count_is_refused(accumulate: Any) -> None:
    with pytest.raises(InputError, match="accumulate must be a whole number of micro-batches, at least 1"):
        to_keras(linear(4), 1.0, accumulate=accumulate)


def test_an_endless_schedule_needs_steps() -> None:
    with pytest.raises(InputError, match="steps must be given for a schedule without an end"):
        to_keras(inverse_sqrt(9), 0.1)


def test_without_keras_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)

    with pytest.raises(MissingExtraError, match=r'pip install "stepsize\[keras\]"'):
        keras_schedule.__wrapped__()
