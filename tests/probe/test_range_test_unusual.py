"""Training steps of other people: without an update in each call, with batches that have no loss, with a scheduler."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.probe.loops import Loop, dataset, mse, plain_step
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, SequentialLR

from stepsize import bind, guard, range_test, watch
from stepsize.errors import InputError


def regression(wrap: Callable[[nn.Module, Optimizer], Callable[[Any], Tensor]] = plain_step) -> Loop:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = SGD(net.parameters(), lr=0.1)
    x, y = dataset()
    return Loop(
        wrap(net, optimizer), [optimizer], list(zip(torch.split(x, 16), torch.split(y, 16), strict=True)), [net]
    )


def accumulating(net: nn.Module, optimizer: Optimizer, every: int) -> Callable[[Any], Tensor]:
    calls = itertools.count(1)

    def step(batch: Any) -> Tensor:
        loss = mse(net(batch[0]), batch[1])
        (loss / every).backward()  # type: ignore[no-untyped-call]
        if next(calls) % every == 0:
            optimizer.step()
            optimizer.zero_grad()
        return loss

    return step


@pytest.mark.parametrize("every", [2, 4])
def test_a_step_that_makes_an_update_in_some_calls_only_is_swept_by_updates(every: int) -> None:
    """holocron#504, Lightning#1726: the rate rose in each call, so that the answer was too high."""
    plain = regression()
    some = regression(lambda net, optimizer: accumulating(net, optimizer, every))
    one, other = (range_test(loop.step, loop.optimizer, loop.batches, steps=200) for loop in (plain, some))

    assert one.lr
    assert other.lr
    assert abs(math.log10(one.lr / other.lr)) < 0.1
    assert len(other.losses) > 100
    assert f"{every * len(other.losses)} calls of step made {len(other.losses)} updates" in other.reason
    assert "updates" not in one.reason
    assert other.restored


@pytest.mark.parametrize("bad", [[3], [0, 3, 7]])
@pytest.mark.parametrize("gradient", [0.0, math.nan])
def test_batches_without_a_loss_at_any_rate_are_left_out(bad: list[int], gradient: float) -> None:
    """pytorch#70348: a batch of ignored labels only has the loss NaN; other losses have NaN gradients, too."""

    def make(places: list[int]) -> Loop:
        def wrap(net: nn.Module, optimizer: Optimizer) -> Callable[[Any], Tensor]:
            update = plain_step(net, optimizer)

            def step(batch: Any) -> Tensor:
                if batch[0].sum() == 0:
                    optimizer.zero_grad()
                    (net(batch[0]).sum() * gradient).backward()
                    optimizer.step()
                    return torch.tensor(math.nan)
                return update(batch)

            return step

        loop = regression(wrap)
        for place in places:
            loop.batches.insert(place, (torch.zeros(16, 4), torch.zeros(16, 1)))  # type: ignore[attr-defined]
        return loop

    plain, some = make([]), make(bad)
    one, other = (range_test(loop.step, loop.optimizer, loop.batches, steps=110) for loop in (plain, some))

    assert one.lr
    assert other.lr
    assert abs(math.log10(one.lr / other.lr)) < 0.15
    assert "batches without a finite loss at the initial weights either" in other.reason
    assert torch.isfinite(torch.as_tensor(other.losses)).all()
    assert other.restored


def test_a_loss_of_ignored_labels_is_left_out() -> None:
    x, y = torch.randn(160, 4), torch.arange(160) % 2
    y[32:48] = -100
    net = nn.Linear(4, 2)
    optimizer = SGD(net.parameters(), lr=0.1)

    def step(batch: Any) -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(net(batch[0]), batch[1])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    found = range_test(step, optimizer, list(zip(torch.split(x, 16), torch.split(y, 16), strict=True)), steps=60)
    assert found.diverged_at is None
    assert "Left out: " in found.reason


def one_cycle(optimizer: Optimizer) -> LRScheduler:
    return OneCycleLR(optimizer, 0.1, total_steps=60)


def in_sequence(optimizer: Optimizer) -> LRScheduler:
    warmup = LambdaLR(optimizer, lambda step: min(1.0, step / 10))
    return SequentialLR(optimizer, [warmup, OneCycleLR(optimizer, 0.1, total_steps=30)], [10])


@pytest.mark.parametrize("make", [one_cycle, in_sequence])
def test_schedulers_do_nothing_during_the_test_and_everything_after_it(
    make: Callable[[Optimizer], LRScheduler],
) -> None:
    """flair#2954: a scheduler with an end inside the step raised "Tried to step 61 times"."""

    def wrap(net: nn.Module, optimizer: Optimizer) -> Callable[[Any], Tensor]:
        scheduler = make(optimizer)
        update = plain_step(net, optimizer)

        def step(batch: Any) -> Tensor:
            loss = update(batch)
            scheduler.step()
            return loss

        return step

    loop, undisturbed = regression(wrap), regression(wrap)
    assert range_test(loop.step, loop.optimizer, loop.batches, steps=100).lr
    for one in (loop, undisturbed):
        one.rates = [(one.step(batch), one.optimizer.param_groups[0]["lr"])[1] for batch in one.batches]  # type: ignore[attr-defined]
    assert loop.rates == undisturbed.rates  # type: ignore[attr-defined]
    assert len(set(loop.rates)) > 5  # type: ignore[attr-defined]


def test_state_that_is_not_found_is_told() -> None:
    """lr-finder#51: what a rewind does not reach makes ramps start from unequal losses."""

    def wrap(net: nn.Module, optimizer: Optimizer) -> Callable[[Any], Tensor]:
        update, calls = plain_step(net, optimizer), itertools.count()
        return lambda batch: update(batch) * (1 + 0.1 * next(calls))

    loop = regression(wrap)
    found = range_test(loop.step, loop.optimizer, loop.batches, steps=30)
    assert "The same batch has a loss of" in found.reason
    assert "Pass it as state=" in found.reason
    plain = regression()
    assert "The same batch" not in range_test(plain.step, plain.optimizer, plain.batches, steps=30).reason


@pytest.mark.parametrize(
    "form",
    [
        lambda loss: {"loss": loss, "logits": None},
        lambda loss: {"one": loss, "other": 0 * loss},
        lambda loss: (loss, None),
        lambda loss: SimpleNamespace(loss=loss),
        lambda loss: loss.reshape(1),
        lambda loss: loss.detach().numpy(),
    ],
    ids=["a dict", "a dict of losses", "a tuple", "an object", "one element", "an array"],
)
def test_a_step_returns_its_loss_in_any_form_that_a_task_takes(form: Callable[[Tensor], Any]) -> None:
    plain, other = regression(), regression()
    found = range_test(lambda batch: form(other.step(batch)), other.optimizer, other.batches, steps=30)
    assert found.losses.tolist() == range_test(plain.step, plain.optimizer, plain.batches, steps=30).losses.tolist()
    watching = watch(other.modules[0], other.optimizer)
    watching.step(form(other.step(other.batches[0])))  # type: ignore[index]
    assert (watching.record.step, watching.broken) == (1, "")


def test_a_step_that_changes_its_input_does_not_change_the_batches() -> None:
    def wrap(net: nn.Module, optimizer: Optimizer) -> Callable[[Any], Tensor]:
        update = plain_step(net, optimizer)
        return lambda batch: update((batch[0].mul_(1.1), batch[1]))

    loop = regression(wrap)
    found = range_test(loop.step, loop.optimizer, loop.batches, steps=60)
    assert all(torch.equal(x, other) for (x, _), (other, _) in zip(loop.batches, regression().batches, strict=True))
    assert "The same batch" not in found.reason


def test_two_updates_in_a_call_are_no_state_that_is_not_found() -> None:
    def wrap(net: nn.Module, optimizer: Optimizer) -> Callable[[Any], Tensor]:
        update = plain_step(net, optimizer)
        return lambda batch: (update(batch), update(batch))[1]

    loop = regression(wrap)
    assert "The same batch" not in range_test(loop.step, loop.optimizer, loop.batches, steps=30).reason


def test_an_optimizer_of_a_copy_gets_no_gradient() -> None:
    loop, copy = regression(), regression()
    step = plain_step(loop.modules[0], copy.optimizer)
    with pytest.raises(InputError, match=r"step must give a parameter of the optimizer a gradient.*copied or moved"):
        range_test(step, copy.optimizer, loop.batches)


def relative() -> Optimizer:
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=0.1)
    optimizer.param_groups[0]["lr"] = None  # as Adafactor of transformers has it
    return optimizer


@pytest.mark.parametrize("verb", [bind, range_test, watch, guard])
def test_a_group_without_a_rate_is_named(verb: Any) -> None:
    net, optimizer = nn.Linear(4, 2), relative()
    given = {bind: ("constant", optimizer), range_test: (print, optimizer, [dataset()])}.get(verb, (net, optimizer))
    with pytest.raises(InputError, match="optimizer must have a learning rate in each group"):
        verb(*given)


@pytest.mark.parametrize("verb", ["range_test", "watch", "guard"])
@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: nn.LazyLinear(2), "must hold parameters with a shape; got 'uninitialized parameters'. Run one batch"),
        (
            lambda: nn.Linear(4, 2).requires_grad_(False),
            "must hold a trainable parameter; got 'frozen parameters only'",
        ),
    ],
    ids=["lazy", "frozen"],
)
def test_lazy_and_frozen_parameters_are_named(verb: str, make: Callable[[], nn.Module], rule: str) -> None:
    """Lightning#11737, and a model whose layers were all frozen."""
    net = make()
    optimizer = SGD(net.parameters(), lr=0.1)
    verbs: dict[str, Callable[[], Any]] = {
        "range_test": lambda: range_test(plain_step(net, optimizer), optimizer, [dataset()]),
        "watch": lambda: watch(net, optimizer),
        "guard": lambda: guard(net, optimizer),
    }
    with pytest.raises(InputError, match=rule):
        verbs[verb]()
