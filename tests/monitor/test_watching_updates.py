"""What is an update: what a scaler skips, a step of several closures, a validation loss, a batch that is left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tests.monitor.twins import Twin, held_to
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, AdamW

from stepsize.monitor import watch

STEPS = 24


def _net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 1))


def _batches(count: int) -> Iterator[Tensor]:
    yield from torch.randn(count, 32, 6, generator=torch.Generator().manual_seed(1))


def _loss(net: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = net(x)
    return nn.functional.mse_loss(out, x.sum(1, keepdim=True).to(out.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("fused", [False, True])
def test_mixed_precision_with_a_scaler_that_skips(dtype: torch.dtype, fused: bool) -> None:
    net = _net()
    optimizer = AdamW(net.parameters(), lr=1e-3, fused=fused)
    twin = Twin(net)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    losses = []
    with watch(net, optimizer, steps=STEPS + 4, scaler=scaler) as watching:
        for number, x in enumerate(_batches(STEPS + 4)):
            with torch.autocast("cpu", dtype=dtype):
                loss = _loss(net, x)
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if number in (3, 4, 9, 20):
                assert net[0].weight.grad is not None
                net[0].weight.grad[0, 0] = float("inf")
            else:
                scale = scaler.get_scale()
                twin.look(scale)
                losses.append(loss.item())
            scaler.step(optimizer)
            scaler.update()
            watching.step(loss)
    record = watching.record
    assert (record.step, record.skipped) == (STEPS + 4, 4)
    norms = [float(gradient.norm()) for gradient in twin.gradients]
    assert record.recent("grad_norm").values == pytest.approx(norms, rel=2e-3)
    assert record.recent("loss").values == pytest.approx(losses)
    ratios = record.recent("update_ratio")
    made = [number for number in range(STEPS + 4) if number not in (3, 4, 9, 20)]
    for step, value in zip(ratios.steps.tolist(), ratios.values.tolist(), strict=True):
        if step - 1 in made:
            assert value == pytest.approx(twin.update_ratio(made.index(step)), rel=1e-3)


def test_a_scaler_that_is_updated_after_the_step_was_told() -> None:
    net = _net()
    optimizer = SGD(net.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    with watch(net, optimizer, scaler=scaler) as watching:
        for number, x in enumerate(_batches(12)):
            loss = _loss(net, x)
            optimizer.zero_grad(set_to_none=False)  # the gradient does not tell
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if number == 5:
                assert net[0].weight.grad is not None
                net[0].weight.grad[0, 0] = float("inf")
            scaler.step(optimizer)
            watching.step(loss)
            scaler.update()
    assert (watching.record.step, watching.record.skipped) == (12, 1)


def test_lbfgs_is_measured_at_the_weights_before_its_step() -> None:
    net = _net()
    optimizer = LBFGS(net.parameters(), lr=0.3, max_iter=3)
    twin = Twin(net)
    x = next(_batches(1))
    with watch(net, optimizer) as watching:
        for _ in range(10):
            looked = False

            def closure() -> Tensor:
                nonlocal looked
                optimizer.zero_grad()
                loss = _loss(net, x)
                loss.backward()  # type: ignore[no-untyped-call]
                if not looked:
                    twin.look()
                    looked = True
                return loss

            watching.step(optimizer.step(closure))  # type: ignore[no-untyped-call]
    assert watching.record.step == 10
    held_to(twin, watching.record, None)


def test_a_loss_on_unseen_data_is_no_update() -> None:
    net = _net()
    optimizer = SGD(net.parameters(), lr=0.01)
    with watch(net, optimizer) as watching:
        for number, x in enumerate(_batches(20), start=1):
            loss = _loss(net, x)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            watching.step(loss)
            if number % 5 == 0:
                watching.step(val_loss=0.5 + number)
    assert (watching.record.step, watching.record.skipped) == (20, 0)
    seen = watching.record.recent("val_loss")
    assert seen.steps.tolist() == [4, 9, 14, 19]
    assert seen.values.tolist() == [5.5, 10.5, 15.5, 20.5]


def test_updates_that_the_training_leaves_out_are_counted_as_skipped() -> None:
    net = _net()
    optimizer = SGD(net.parameters(), lr=0.01)
    with watch(net, optimizer) as watching:
        for number, x in enumerate(_batches(20)):
            loss = _loss(net, x)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if number not in (4, 5, 11):
                optimizer.step()
            watching.step(loss)
    assert (watching.record.step, watching.record.skipped) == (20, 3)
