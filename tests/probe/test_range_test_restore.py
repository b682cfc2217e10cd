"""A training goes on after a range test as if there had been none: every loss and every bit of state."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.probe.loops import LOOPS, Loop, endless, momentum, plain_step, scheduled
from torch import Tensor, nn
from torch.optim import SGD

from stepsize.probe import RangeTest, range_test

Interrupt = Callable[[Loop], None]


def value(loss: Any) -> float:
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def trajectory(make: Callable[[], Loop], interrupt: Interrupt | None, *, at: int = 6) -> tuple[list[float], Any]:
    """Train 24 steps over passes of 10 batches, interrupted after ``at``; return the losses and the final state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    loop = make()
    feed = endless(loop.batches)
    losses = [value(loop.step(next(feed))) for _ in range(at)]
    if interrupt is not None:
        interrupt(loop)
    losses += [value(loop.step(next(feed))) for _ in range(24 - at)]
    return losses, [*loop.tensors(), torch.get_rng_state(), torch.tensor(random.random()), np.random.random()]  # noqa: NPY002


def assert_same_trajectory(make: Callable[[], Loop], interrupt: Interrupt, *, at: int = 6) -> None:
    undisturbed, disturbed = trajectory(make, None, at=at), trajectory(make, interrupt, at=at)
    assert undisturbed[0] == disturbed[0]
    for one, other in zip(undisturbed[1], disturbed[1], strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


def proven(found: RangeTest) -> None:
    assert found.restored
    assert found.differences == ()


def wrapped(loop: Loop, before_return: Callable[[int], Any]) -> Callable[[Any], Any]:
    """The loop's step, which ends in ``before_return(number of calls)``; what that returns stands for the loss."""
    calls = 0
    step = loop.step

    def wrapper(batch: Any) -> Any:
        nonlocal calls
        loss = step(batch)
        calls += 1
        instead = before_return(calls)
        return loss if instead is None else instead

    return wrapper


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("at", [0, 6])
def test_a_training_goes_on_bit_for_bit(name: str, at: int) -> None:
    assert_same_trajectory(
        LOOPS[name], lambda loop: proven(range_test(loop.step, loop.optimizers, loop.batches, steps=60)), at=at
    )


@pytest.mark.parametrize("make", [momentum, LOOPS["adamw"], LOOPS["averaged"]])
def test_it_goes_on_bit_for_bit_after_nan(make: Callable[[], Loop]) -> None:
    def interrupt(loop: Loop) -> None:
        def poison(calls: int) -> Tensor | None:
            if calls <= 40:
                return None
            with torch.no_grad():
                for module in loop.modules:
                    for tensor in [*module.parameters(), *module.buffers()]:
                        tensor.copy_(torch.full_like(tensor, float("nan") if tensor.is_floating_point() else -1))
            return torch.tensor(float("nan"))

        found = range_test(wrapped(loop, poison), loop.optimizers, loop.batches, steps=60)
        assert not np.isfinite(found.losses[-1])
        proven(found)

    assert_same_trajectory(make, interrupt)


@pytest.mark.parametrize("make", [momentum, LOOPS["adamw"], scheduled, LOOPS["mixed_precision"]])
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", [1, 4, 50])
def test_it_goes_on_bit_for_bit_after_an_exception(make: Callable[[], Loop], error: BaseException, call: int) -> None:
    def interrupt(loop: Loop) -> None:
        def fail(calls: int) -> None:
            if calls == call:
                raise error

        with pytest.raises(type(error)) as caught:
            range_test(wrapped(loop, fail), loop.optimizers, loop.batches)
        assert caught.value is error

    assert_same_trajectory(make, interrupt)


def test_an_exception_of_the_watcher_or_the_batches_is_no_different() -> None:
    def watching(loop: Loop) -> None:
        def watch(lr: float, loss: float) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            range_test(loop.step, loop.optimizers, loop.batches, on_progress=watch)

    def reading(loop: Loop) -> None:
        def broken() -> Any:
            yield from list(loop.batches)[:3]
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match="the disk is gone"):
            range_test(loop.step, loop.optimizers, broken())

    assert_same_trajectory(momentum, watching)
    # Reading the loader itself advances its generator; that is the test's doing, so a list stands for it.
    assert_same_trajectory(lambda: fixed_batches(momentum()), reading)


def fixed_batches(loop: Loop) -> Loop:
    loop.batches = list(loop.batches)
    return loop


def returning(loop: Loop, value: Any) -> Callable[[Any], Any]:
    def step(batch: Any) -> Any:
        loop.step(batch)
        return value

    return step


def test_a_result_nobody_wanted_leaves_no_trace_either() -> None:
    def interrupt(loop: Loop) -> None:
        for bad in (None, torch.ones(2), "0.3", True, 1j):
            with pytest.raises(ValueError, match="step must return"):
                range_test(returning(loop, bad), loop.optimizers, loop.batches)

    assert_same_trajectory(momentum, interrupt)


def test_gradients_flags_and_hooks_are_as_they_were() -> None:
    loop = momentum()
    batch = next(iter(loop.batches))
    loop.step(batch)
    net = loop.modules[0]
    net[3].eval()  # type: ignore[index]
    grads = [parameter.grad for parameter in net.parameters()]
    values = [grad.clone() for grad in grads if grad is not None]
    hooks = dict(loop.optimizer._optimizer_step_pre_hooks)

    def wake(calls: int) -> None:
        net.train()

    proven(range_test(wrapped(loop, wake), loop.optimizer, loop.batches, steps=40))
    for parameter, grad, value in zip(net.parameters(), grads, values, strict=True):
        assert parameter.grad is grad
        assert grad is not None
        assert torch.equal(grad, value)
    assert net.training
    assert not net[3].training  # type: ignore[index]
    assert dict(loop.optimizer._optimizer_step_pre_hooks) == hooks


def test_rates_momentum_and_the_scheduler_are_as_they_were() -> None:
    loop = LOOPS["mixed_precision"]()
    feed = endless(loop.batches)
    for _ in range(5):
        loop.step(next(feed))
    group = loop.optimizer.param_groups[0]
    before = (group["lr"], group["betas"], loop.others[1].state_dict(), loop.others[0].get_scale())
    proven(range_test(loop.step, loop.optimizer, loop.batches, steps=40))
    group = loop.optimizer.param_groups[0]
    assert (group["lr"], group["betas"], loop.others[1].state_dict(), loop.others[0].get_scale()) == before


def test_copies_can_be_kept_in_host_memory() -> None:
    def interrupt(loop: Loop) -> None:
        found = range_test(loop.step, loop.optimizers, loop.batches, steps=40, offload=True)
        proven(found)
        plain = range_test(loop.step, loop.optimizers, loop.batches, steps=40)
        assert found.lr == plain.lr
        assert found.snapshot_bytes == plain.snapshot_bytes > 0

    assert_same_trajectory(LOOPS["adamw"], interrupt)


def test_the_size_of_the_copies_is_that_of_the_state() -> None:
    net = nn.Linear(100, 10, bias=False)
    optimizer = SGD(net.parameters(), lr=0.1)
    batches = [(torch.randn(8, 100), torch.randn(8, 10))]
    assert range_test(plain_step(net, optimizer), optimizer, batches, steps=10).snapshot_bytes == 4000


class Liar:
    """Says that it loads, and does not."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


def test_what_does_not_come_back_is_named() -> None:
    loop, liar = momentum(), Liar()

    def count(calls: int) -> None:
        liar.count += 1

    found = range_test(wrapped(loop, count), loop.optimizers, loop.batches, steps=20)
    assert found.restored is False
    assert found.differences == ("state 0 (Liar)",)
    assert found.to_json()["restored"] is False
    assert found.to_json()["differences"] == ["state 0 (Liar)"]


class Counter(Liar):
    """Honest."""

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


HIDDEN = [[[Counter()]]]  # too deep to be seen


def test_what_cannot_be_seen_can_be_given() -> None:
    loop, counter = momentum(), HIDDEN[0][0][0]
    counter.count = 5

    def count(calls: int) -> None:
        HIDDEN[0][0][0].count += 1

    range_test(wrapped(loop, count), loop.optimizers, loop.batches, steps=20)
    assert counter.count > 5, "the test is for nothing where it is seen anyway"
    counter.count = 5
    proven(range_test(wrapped(loop, count), loop.optimizers, loop.batches, steps=20, state=[counter]))
    assert counter.count == 5


def test_what_is_given_must_have_a_state() -> None:
    loop = momentum()
    with pytest.raises(ValueError, match="state must hold objects with state_dict and load_state_dict; got 'int'"):
        range_test(loop.step, loop.optimizers, loop.batches, state=[3])
