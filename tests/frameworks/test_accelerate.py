"""Wrapped optimizers of Accelerate and of Lightning's Fabric are unwrapped by watch, guard and bind."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch
from tests.frameworks.plain import LR, loader, needs, net, plain, quiet
from torch import nn

import stepsize
from stepsize.errors import InputError


def accelerated(**options: Any) -> Any:
    for state in ("PartialState", "AcceleratorState", "GradientState"):
        importlib.import_module("accelerate.state").__dict__[state]._reset_state()
    return importlib.import_module("accelerate").Accelerator(cpu=True, **options)


@needs("accelerate")
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("clip", [None, 0.7])
@pytest.mark.parametrize("bf16", [False, True])
def test_accelerate_is_measured_as_a_plain_loop(accumulate: int, clip: float | None, bf16: bool) -> None:
    accelerator = accelerated(gradient_accumulation_steps=accumulate, mixed_precision="bf16" if bf16 else "no")
    inner = torch.optim.SGD((module := net()).parameters(), lr=LR, momentum=0.5)
    model, optimizer, batches = accelerator.prepare(module, inner, loader())
    assert optimizer is not inner
    with quiet(), stepsize.watch(model, optimizer, steps=48 // accumulate) as watching:
        for _ in range(2):
            for x, y in batches:
                with accelerator.accumulate(model):
                    with accelerator.autocast():
                        loss = nn.functional.mse_loss(model(x), y)
                    accelerator.backward(loss)
                    if accelerator.sync_gradients and clip is not None:
                        accelerator.clip_grad_norm_(model.parameters(), clip)
                    optimizer.step()
                    optimizer.zero_grad()
                    watching.step(loss)
    assert not watching.broken
    plain(epochs=2, accumulate=accumulate, clip=clip, bf16=bf16).held_to(watching.record)


@needs("accelerate")
def test_bind_and_guard_take_a_prepared_optimizer() -> None:
    accelerator = accelerated()
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


@needs("lightning")
@pytest.mark.parametrize("accumulate", [1, 4])
def test_fabric_is_measured_as_a_plain_loop(accumulate: int) -> None:
    fabric = importlib.import_module("lightning").Fabric(accelerator="cpu", devices=1)
    module = net()
    model, optimizer = fabric.setup(module, torch.optim.SGD(module.parameters(), lr=LR, momentum=0.5))
    with stepsize.watch(model, optimizer, steps=24 // accumulate) as watching:
        for number, (x, y) in enumerate(fabric.setup_dataloaders(loader()), start=1):
            with fabric.no_backward_sync(model, enabled=number % accumulate != 0):
                loss = nn.functional.mse_loss(model(x), y)
                fabric.backward(loss / accumulate)
            if number % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
            watching.step(loss)
    plain(accumulate=accumulate).held_to(watching.record)


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
