"""Wrapped optimizers of Accelerate and of Lightning's Fabric are unwrapped by watch, guard and bind."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from tests.frameworks.plain import LR, loader, needs, net, plain, rows
from tests.frameworks.test_every_loop import accelerator_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import stepsize
from stepsize.errors import InputError


@needs("accelerate")
def test_bind_and_guard_take_a_prepared_optimizer() -> None:
    accelerator = accelerator_of()
    module = net()
    model, optimizer, batches = accelerator.prepare(module, torch.optim.SGD(module.parameters(), lr=LR), loader())
    bound = stepsize.bind("cosine", optimizer, steps=48)
    with stepsize.guard(model, optimizer, schedule=bound, steps=48, every=10) as guarding:
        for epoch in range(2):
            for x, y in guarding.batches(batches):
                loss = nn.functional.mse_loss(model(x), y)
                optimizer.zero_grad()
                accelerator.backward(loss)
                if epoch == 1 and guarding.step_number == 26 and not guarding.actions:
                    loss = loss * float("nan")
                optimizer.step()
                guarding.step(loss.detach())
    assert [act.kind for act in guarding.actions] == ["replay"]
    assert guarding.step_number == bound.last_epoch == 48
    bound.release()


def _fabric(model: nn.Module, optimizer: Any, batches: Any) -> tuple[Any, Any, Any, Any]:
    fabric = importlib.import_module("lightning").Fabric(accelerator="cpu", devices=1)
    return fabric, *fabric.setup(model, optimizer), fabric.setup_dataloaders(batches)


def _accelerate(model: nn.Module, optimizer: Any, batches: Any) -> tuple[Any, Any, Any, Any]:
    accelerator = accelerator_of()
    return accelerator, *accelerator.prepare(model, optimizer, batches)


@pytest.mark.parametrize(
    "prepare",
    [pytest.param(_accelerate, marks=needs("accelerate")), pytest.param(_fabric, marks=needs("lightning"))],
)
def test_what_was_prepared_is_taken_by_a_range_test_and_by_a_task(prepare: Any) -> None:
    module = net()
    shuffled = DataLoader(TensorDataset(*rows()), batch_size=8, shuffle=True)
    tool, model, optimizer, batches = prepare(module, torch.optim.SGD(module.parameters(), lr=LR), shuffled)

    def step(batch: Any) -> Any:
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        optimizer.zero_grad()
        tool.backward(loss)
        optimizer.step()
        return loss

    tested = stepsize.range_test(step, optimizer, batches, steps=60)
    assert tested.restored
    assert len(tested.losses) >= 10
    task = stepsize.Task(model=net, loss=nn.functional.mse_loss, train=batches, val=batches, optimizer="sgd", epochs=1)
    assert stepsize.train(task, LR).losses.tolist() == stepsize.train(task, LR).losses.tolist()


def test_a_wrapper_without_hooks_of_its_own_is_unwrapped() -> None:
    class Wrapper:  # as apex and others do
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.optimizer = optimizer

        def step(self) -> None:
            self.optimizer.step()

    model = net()
    wrapped = Wrapper(Wrapper(torch.optim.SGD(model.parameters(), lr=LR, momentum=0.5)))  # type: ignore[arg-type]
    with stepsize.watch(model, wrapped) as watching:  # type: ignore[arg-type]
        for x, y in loader():
            loss = nn.functional.mse_loss(model(x), y)
            wrapped.optimizer.optimizer.zero_grad()  # type: ignore[attr-defined]
            loss.backward()  # type: ignore[no-untyped-call]
            wrapped.step()
            watching.step(loss)
    plain().held_to(watching.record)


def test_what_is_no_optimizer_is_told() -> None:
    with pytest.raises(InputError, match=r"optimizer must be a torch\.optim\.Optimizer, or several"):
        stepsize.watch(net(), 3)  # type: ignore[arg-type]
