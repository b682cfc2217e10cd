"""In every kind of loop each update is measured once, after backward and clipping, right before the weights change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tests.monitor.twins import Twin, held_to
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, AdamW

from stepsize.monitor import Watch, watch

STEPS = 24


def _net() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 1))


def _batches(count: int) -> Iterator[Tensor]:
    yield from torch.randn(count, 32, 6, generator=torch.Generator().manual_seed(1))


def _loss(net: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = net(x)
    return nn.functional.mse_loss(out, x.sum(1, keepdim=True).to(out.dtype))


class _Twinned(SGD):
    """SGD whose own step, right before it changes the weights, is what the twin sees."""

    twin: Twin

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.twin.look()
        super().step()
        return loss


@contextmanager
def _watched(scaler: object = None) -> Iterator[tuple[Any, Any, Watch, Twin]]:
    net = _net()
    optimizer = _Twinned(net.parameters(), lr=0.05, momentum=0.5)
    optimizer.twin = twin = Twin(net)
    with watch(net, optimizer, steps=STEPS, scaler=scaler) as watching:
        yield net, optimizer, watching, twin
    assert not watching.broken
    assert watching.record.step == STEPS
    assert watching.record.skipped == 0


def test_a_closure() -> None:
    losses = []
    with _watched() as (net, optimizer, watching, twin):
        for x in _batches(STEPS):

            def closure(x: Tensor = x) -> Tensor:
                optimizer.zero_grad()
                loss = _loss(net, x)
                loss.backward()  # type: ignore[no-untyped-call]
                return loss

            loss = optimizer.step(closure)
            losses.append(loss.item())
            watching.step(loss)
    held_to(twin, watching.record, losses)
    assert watching.record.recent("clipped").values == pytest.approx([1.0] * STEPS)


@pytest.mark.parametrize("closure", [False, True])
@pytest.mark.parametrize("set_to_none", [False, True])
def test_accumulation_over_four_batches_and_every_batch_told(closure: bool, set_to_none: bool) -> None:
    losses: list[float] = []
    told: list[float] = []
    with _watched() as (net, optimizer, watching, twin):

        def backward(x: Tensor) -> Tensor:
            loss = _loss(net, x)
            (loss / 4).backward()  # type: ignore[no-untyped-call]
            told.append(loss.item())
            return loss

        for number, x in enumerate(_batches(4 * STEPS)):
            if number % 4 < 3:
                watching.step(backward(x))
                continue
            if closure:
                loss = optimizer.step(lambda x=x: backward(x))
            else:
                loss = backward(x)
                optimizer.step()
            optimizer.zero_grad(set_to_none=set_to_none)
            watching.step(loss)
            losses.append(sum(told[-4:]) / 4)
    held_to(twin, watching.record, losses)
    assert watching.record.recent("clipped").values == pytest.approx([1.0] * STEPS)


def test_accumulation_of_which_only_updates_are_told() -> None:
    with _watched() as (net, optimizer, watching, twin):
        for number, x in enumerate(_batches(4 * STEPS)):
            loss = _loss(net, x)
            (loss / 4).backward()  # type: ignore[no-untyped-call]
            if number % 4 == 3:
                optimizer.step()
                watching.step(loss)
                optimizer.zero_grad()
    held_to(twin, watching.record, None)


@pytest.mark.parametrize("closure", [False, True])
def test_clipping(closure: bool) -> None:
    norms = []
    with _watched() as (net, optimizer, watching, twin):

        def backward(x: Tensor) -> Tensor:
            optimizer.zero_grad()
            loss = _loss(net, x)
            loss.backward()  # type: ignore[no-untyped-call]
            norms.append(float(nn.utils.clip_grad_norm_(net.parameters(), 0.3)))
            return loss

        for x in _batches(STEPS):
            if closure:
                watching.step(optimizer.step(lambda x=x: backward(x)))
            else:
                loss = backward(x)
                optimizer.step()
                watching.step(loss)
    clipped = [min(1.0, 0.3 / norm) for norm in norms]
    assert min(clipped) < 0.5
    assert watching.record.recent("clipped").values == pytest.approx(clipped, rel=1e-3)
    held_to(twin, watching.record, None, clipped=clipped)


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
