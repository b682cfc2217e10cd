"""A range test inside a training that follows a bound schedule: not driven by it, and back where it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.probe.loops import Loop, loader, network, plain_step
from tests.probe.test_range_test_restore import assert_same_trajectory, proven
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW

from stepsize import bind
from stepsize.probe import range_test
from stepsize.probe.state import find_state
from stepsize.schedules import HyperparameterSchedule, cosine, linear, one_cycle, one_cycle_momentum


def bound_loop(*, call_step: bool, counts: Any = "updates", moving: bool = False) -> Loop:
    net = network()
    optimizer = SGD(net.parameters(), lr=0.05, momentum=0.9)
    course = HyperparameterSchedule(one_cycle(2_000), momentum=one_cycle_momentum(2_000), weight_decay="corrected")
    bound = bind(course if moving else cosine(2_000, warmup=20), optimizer, counts=counts)
    update = plain_step(net, optimizer)

    def step(batch: Any) -> Tensor:
        loss = update(batch)
        if call_step:
            bound.step()
        return loss

    return Loop(step, [optimizer], loader(own_generator=True), [net], [bound])


def two_optimizers() -> Loop:
    first, second = nn.Linear(4, 8), nn.Linear(8, 1)
    optimizers = [SGD(first.parameters(), lr=0.05), AdamW(second.parameters(), lr=0.01)]
    bound = bind(linear(2_000), optimizers)

    def step(batch: Any) -> Tensor:
        x, y = batch
        loss: Tensor = (second(torch.tanh(first(x))) - y).square().mean()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
        return loss

    return Loop(step, list(optimizers), loader(own_generator=True), [first, second], [bound])


LOOPS: dict[str, Callable[[], Loop]] = {
    "stepped": lambda: bound_loop(call_step=True),
    "never stepped": lambda: bound_loop(call_step=False),
    "calls": lambda: bound_loop(call_step=True, counts="calls"),
    "course": lambda: bound_loop(call_step=False, moving=True),
    "two optimizers": two_optimizers,
}


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("at", [0, 6])
def test_a_training_on_a_bound_schedule_goes_on_bit_for_bit(name: str, at: int) -> None:
    def interrupt(loop: Loop) -> None:
        bound = loop.others[0]
        before = bound.state_dict(), bound.get_last_lr(), bound.get_lr()
        proven(range_test(loop.step, loop.optimizers, loop.batches, steps=60))
        assert (bound.state_dict(), bound.get_last_lr(), bound.get_lr()) == before
        assert bound.last_epoch == at

    assert_same_trajectory(LOOPS[name], interrupt, at=at)


def test_a_schedule_that_the_step_does_not_even_mention_is_found_and_put_back() -> None:
    net = nn.Linear(4, 1)
    optimizer = Adam(net.parameters(), lr=0.01)
    bind(linear(1_000), optimizer)
    batches = list(loader(own_generator=True))
    proven(range_test(plain_step(net, optimizer), optimizer, batches, steps=20))
    assert optimizer.param_groups[0]["lr"] == 0.01
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.01, "update 0 had not been made"


@pytest.mark.parametrize("name", ["stepped", "course"])
def test_the_swept_rates_win_over_the_schedule_and_momentum_stays(name: str) -> None:
    loop = LOOPS[name]()
    used: list[tuple[float, float]] = []
    asked: list[float] = []

    def look(optimizer: Any, *_: Any) -> None:
        used.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))

    handle = loop.optimizer.register_step_post_hook(look)
    range_test(loop.step, loop.optimizer, loop.batches, steps=30, on_progress=lambda lr, _: asked.append(lr))
    handle.remove()
    assert [lr for lr, _ in used[-len(asked) :]] == pytest.approx(asked, rel=1e-12)
    assert len(asked) >= 30
    assert len({momentum for _, momentum in used}) == 1


def test_a_bound_schedule_is_found_through_any_of_its_optimizers() -> None:
    first, second = nn.Linear(4, 8), nn.Linear(8, 1)
    optimizers = [SGD(first.parameters(), lr=0.05), AdamW(second.parameters(), lr=0.01)]
    bound = bind(linear(2_000), optimizers)

    found = find_state(lambda batch: batch, optimizers[1:])

    assert any(item is bound for item in found.others)
