"""In Keras on torch one line watches and guards every update of model.fit."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.frameworks.plain import (
    BATCH,
    LR,
    STEERED,
    needs,
    net,
    ordering,
    plain,
    quiet,
    rows,
    spoiled_rows,
    steered_well,
)

import stepsize
from stepsize.errors import InputError

pytestmark = needs("keras")


def keras() -> Any:
    found = importlib.import_module("keras")
    if found.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend; set KERAS_BACKEND=torch")
    return found


def model_of(optimizer: Any = None, **options: Any) -> Any:
    layers = keras().layers
    plain_net = net()
    with quiet():
        model = keras().Sequential([layers.Input((4,)), layers.Dense(12, activation="tanh"), layers.Dense(1)])
        for layer, linear in zip(model.layers, (plain_net[0], plain_net[2]), strict=True):
            layer.set_weights([linear.weight.detach().numpy().T, linear.bias.detach().numpy()])  # type: ignore[operator]
        made = optimizer or keras().optimizers.SGD(LR, momentum=0.5, **options)
        model.compile(optimizer=made, loss="mse")
    return model


def fit(model: Any, seen: Any, *, epochs: int = 1, data: Any = None, **options: Any) -> Any:
    x, y = (part.numpy() for part in (data or rows()))
    with quiet():
        return model.fit(x, y, batch_size=BATCH, shuffle=False, epochs=epochs, verbose=0, callbacks=seen, **options)


def callback(guard: bool = False, **options: Any) -> Any:
    keras()
    return importlib.import_module("stepsize.frameworks.keras").Stepsize(guard, **options)


@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip", [None, 0.7])
def test_signals_are_those_of_a_plain_loop(accumulate: int, clip: float | None) -> None:
    seen = callback()
    model = model_of(
        gradient_accumulation_steps=None if accumulate == 1 else accumulate,
        **({} if clip is None else {"global_clipnorm": clip}),
    )
    fit(model, seen, epochs=2)
    assert not seen.watching.broken
    from tests.monitor.twins import held_to

    # Keras' momentum is another formula than torch's (the rate is part of the velocity), and the same at a fixed rate
    reference = plain(epochs=2, accumulate=accumulate, clip=clip)
    record = seen.watching.record
    assert record.step == len(reference.losses)
    for gradients in (reference.twin.gradients, reference.twin.weights):  # its kernels are transposed
        gradients[:] = [_transposed(one) for one in gradients]
    held_to(reference.twin, record, reference.losses, clipped=reference.clipped)
    assert record.recent("clipped").values == pytest.approx(reference.clipped, rel=1e-3)
    assert record.facts.steps == 48 // accumulate


def _transposed(flat: torch.Tensor) -> torch.Tensor:
    first = flat[:48].reshape(12, 4).T.flatten()
    return torch.cat([first, flat[48:]])


def test_validation_loss_and_what_is_left_behind() -> None:
    x, y = (part.numpy() for part in rows())
    model, seen = model_of(), callback()
    fit(model, seen, epochs=3, validation_data=(x, y))
    assert seen.watching.record.recent("val_loss").steps.tolist() == [23, 47, 71]
    assert not {"_clip_gradients", "scale_loss"} & set(vars(model.optimizer))


@pytest.mark.parametrize("accumulate", [None, 2])
def test_guard_goes_back_across_epochs_and_the_training_ends_well(accumulate: int | None) -> None:
    model, seen = model_of(gradient_accumulation_steps=accumulate), callback(guard=True, every=5)
    fit(model, seen, epochs=4, data=spoiled_rows(20))
    assert [act.kind for act in seen.actions] == ["rollback"] * 4
    assert seen.watching.record.step == 96 // (accumulate or 1)
    x, y = (part.numpy() for part in rows())
    with quiet():
        assert float(model.evaluate(x, y, verbose=0)) < 1


def test_the_guard_cuts_the_rate_that_keras_uses() -> None:
    made = keras().optimizers.SGD(LR)
    model, seen = model_of(made), callback(guard=True, every=5, rewarm=10)
    rates: list[float] = []
    plain_step = made._backend_update_step

    def step(gradients: Any, variables: Any, rate: Any) -> None:
        rates.append(float(rate))
        plain_step(gradients, variables, rate)

    made._backend_update_step = step
    fit(model, seen, epochs=2, data=spoiled_rows(20))
    assert rates[:21] == pytest.approx([LR] * 21)
    assert rates[21] == pytest.approx(LR * 0.5)
    assert rates[26] == pytest.approx(LR * 0.75)


def test_a_guard_that_gives_up_stops_fit() -> None:
    x, y = rows()
    model, seen = model_of(), callback(guard=True, every=5, retries=2)
    fit(model, seen, epochs=4, data=(torch.cat([x[:100], x[100:] * math.nan]), y))
    assert seen.stopped is not None
    with quiet():
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_its_schedule_and_its_state() -> None:
    schedule = stepsize.schedules.cosine(48)
    optimizer = keras().optimizers.SGD(stepsize.to_keras(schedule, LR))
    seen = callback(guard=True)
    fit(model_of(optimizer), seen, epochs=2)
    record = seen.watching.record
    assert record.recent("lr/0").values == pytest.approx(LR * schedule.factors(), rel=1e-5)
    assert "schedule-end" not in [one.code for one in seen.findings]
    again = callback(guard=True)
    again.load_state_dict(json.loads(json.dumps(seen.state_dict())))
    fit(model_of(), again)
    assert again.watching.record.step == 72


def test_its_state_goes_on_with_what_keras_restores(tmp_path: Path) -> None:
    def run(epochs: int, name: str) -> Any:
        seen = callback(guard=True, state=tmp_path / f"{name}.json")
        backup = keras().callbacks.BackupAndRestore(tmp_path / name, delete_checkpoint=False)
        fit(model_of(), [backup, seen], epochs=epochs)
        return seen.watching.record

    whole = run(4, "whole")
    run(2, "part")
    resumed = run(4, "part")
    assert resumed.step == whole.step == 96
    assert resumed.history("loss").values == pytest.approx(whole.history("loss").values, rel=1e-5)
    again = callback(guard=True, state=tmp_path / "part.json")
    fit(model_of(), again)  # another run: nothing was restored
    assert again.watching.record.step == 24


def test_a_keras_optimizer_given_to_watch_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"frameworks\.keras\.Stepsize\(\) in callbacks"):
        stepsize.watch(net(), keras().optimizers.AdamW(0.1))


def test_orders_change_the_rate_that_keras_uses_and_stop_fit() -> None:
    seen = ordering(callback(), dict(STEERED))
    fit(model_of(), seen, epochs=2)
    steered_well(seen)
