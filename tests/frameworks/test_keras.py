"""What only Keras on torch has: its optimizers, its schedules, a state in a file beside what it restores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.frameworks.plain import LR, needs, net, spoiled_rows
from tests.frameworks.trainers import TRAINERS, keras, keras_model
from tests.frameworks.trainers import fit_keras as fit

import stepsize
from stepsize.errors import InputError

pytestmark = needs("keras")

callback = TRAINERS["keras"].callback


def test_nothing_is_left_on_the_optimizer(tmp_path: Path) -> None:
    model = keras_model()
    fit(tmp_path, seen := callback(), model=model)
    assert not {"_clip_gradients", "scale_loss"} & set(vars(model.optimizer))
    assert len(seen.watching.record.layers()) == 2


def test_the_state_of_another_run_is_left_alone(tmp_path: Path) -> None:
    fit(tmp_path, callback(guard=True, state=tmp_path / "state.json"))
    again = callback(guard=True, state=tmp_path / "state.json")
    fit(tmp_path, again)  # nothing was restored
    assert again.watching.record.step == 24


def test_the_guard_cuts_the_rate_that_keras_uses(tmp_path: Path) -> None:
    made = keras().optimizers.SGD(LR)
    model, seen = keras_model(made), callback(guard=True, every=5, rewarm=10)
    rates: list[float] = []
    plain_step = made._backend_update_step

    def step(gradients: Any, variables: Any, rate: Any) -> None:
        rates.append(float(rate))
        plain_step(gradients, variables, rate)

    made._backend_update_step = step
    fit(tmp_path, seen, model=model, epochs=2, data=spoiled_rows(20))
    assert rates[:21] == pytest.approx([LR] * 21)
    assert rates[21] == pytest.approx(LR * 0.5)
    assert rates[26] == pytest.approx(LR * 0.75)


def test_its_schedule_and_its_state(tmp_path: Path) -> None:
    schedule = stepsize.schedules.cosine(48)
    optimizer = keras().optimizers.SGD(stepsize.to_keras(schedule, LR))
    seen = callback(guard=True)
    fit(tmp_path, seen, model=keras_model(optimizer), epochs=2)
    record = seen.watching.record
    assert record.recent("lr/0").values == pytest.approx(LR * schedule.factors(), rel=1e-5)
    assert "schedule-end" not in [one.code for one in seen.findings]
    again = callback(guard=True)
    again.load_state_dict(json.loads(json.dumps(seen.state_dict())))
    fit(tmp_path, again)
    assert again.watching.record.step == 72


def test_a_keras_optimizer_given_to_watch_says_what_to_do() -> None:
    with pytest.raises(InputError, match=r"frameworks\.keras\.Stepsize\(\) in callbacks"):
        stepsize.watch(net(), keras().optimizers.AdamW(0.1))
