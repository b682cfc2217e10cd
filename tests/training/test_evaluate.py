"""Looking at unseen data: the mean over all examples, in eval mode, and no trace left on the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.training.small import Frozen, ReIterable, batches, linear, make_task, network
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from stepsize.errors import TaskError
from stepsize.training.evaluate import evaluate


def test_a_share_of_unseen_data_is_rounded_up_to_whole_batches() -> None:
    task = make_task(val=batches(48, size=8), steps=2)
    model = linear()

    done = evaluate(task, model, step=0, examples=9)

    first = make_task(val=batches(48, size=8)[:2], steps=2)
    assert done.examples == 16
    assert done.evaluation.loss == evaluate(first, model, step=0).evaluation.loss
    assert evaluate(task, model, step=0).examples == 48


def test_modes_come_back_module_by_module_and_statistics_stand_still_meanwhile() -> None:
    modes: list[bool] = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        modes.append(model.training)
        return mse_loss(model(batch[0]), batch[1])

    model = Frozen()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluate(make_task(val=batches(), loss=loss, steps=2), model, step=0)

    assert set(modes) == {False}
    assert model.training
    assert model.body.training
    assert not model.norm.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_modes_come_back_after_an_error() -> None:
    model = network()

    with pytest.raises(TaskError, match="val must yield at least one batch"):
        evaluate(make_task(val=ReIterable()), model, step=0)

    assert all(module.training for module in model.modules())
