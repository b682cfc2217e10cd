"""Previews of torch schedulers: what they will do, and that nothing of the real ones moves."""

from __future__ import annotations

import copy
import threading
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as lrs
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.optimizer import Optimizer, register_optimizer_step_pre_hook

from stepsize.errors import InputError
from stepsize.schedules import HyperparameterSchedule, cosine, points
from stepsize.training import bind, preview_torch


class Square(LRScheduler):
    """A scheduler of somebody else's."""

    def get_lr(self) -> list[float | torch.Tensor]:
        return [base / (1 + self.last_epoch) ** 2 for base in self.base_lrs]


MAKERS: dict[str, Callable[[Optimizer], LRScheduler]] = {
    "lambda": lambda o: lrs.LambdaLR(o, lambda t: 1 / (1 + t)),
    "lambdas": lambda o: lrs.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 0.9**t]),
    "multiplicative": lambda o: lrs.MultiplicativeLR(o, lambda t: 0.5 if t % 3 == 0 else 1.0),
    "step": lambda o: lrs.StepLR(o, 4),
    "multi step": lambda o: lrs.MultiStepLR(o, [3, 3, 9]),
    "constant": lrs.ConstantLR,
    "linear": lrs.LinearLR,
    "exponential": lambda o: lrs.ExponentialLR(o, 0.9),
    "polynomial": lambda o: lrs.PolynomialLR(o, 12, power=2.0),
    "cosine": lambda o: lrs.CosineAnnealingLR(o, 7, eta_min=1e-3),
    "warm restarts": lambda o: lrs.CosineAnnealingWarmRestarts(o, 4, T_mult=2),
    "cyclic": lambda o: lrs.CyclicLR(o, 0.01, 0.1, 3, mode="triangular2"),
    "one cycle": lambda o: lrs.OneCycleLR(o, [0.1, 0.5], 20, three_phase=True),
    "sequential": lambda o: lrs.SequentialLR(o, [lrs.LinearLR(o), lrs.StepLR(o, 2)], [5]),
    "chained": lambda o: lrs.ChainedScheduler([lrs.LinearLR(o), lrs.ExponentialLR(o, 0.9)]),
    "of one's own": Square,
}


def adam() -> Optimizer:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(3)]
    groups: list[dict[str, Any]] = [{"params": weights[:2]}, {"params": weights[2:], "lr": 0.02}]
    return torch.optim.AdamW(groups, lr=0.1)


def sgd() -> Optimizer:
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    return torch.optim.SGD([{"params": [weight]} for weight in weights], lr=0.1, momentum=0.9)


def update(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.ones_like(weight)
    optimizer.step()


def everything(optimizer: Optimizer, scheduler: LRScheduler) -> dict[str, Any]:
    """All that a dry run could have touched, copied, with the identity of what must stay the same object."""
    tree = [scheduler, *getattr(scheduler, "_schedulers", ())]
    inside = [{k: v for k, v in vars(part).items() if k not in ("optimizer", "_schedulers")} for part in tree]
    return {
        "groups": [{k: copy.deepcopy(v) for k, v in g.items() if k != "params"} for g in optimizer.param_groups],
        "parameters": [weight.detach().clone() for g in optimizer.param_groups for weight in g["params"]],
        "state": copy.deepcopy([optimizer.state[w] for g in optimizer.param_groups for w in g["params"]]),
        "schedulers": copy.deepcopy(inside),
        "objects": [id(value) for owner in (optimizer, *tree) for value in vars(owner).values()],
        "names": [list(vars(owner)) for owner in (optimizer, *tree)],
        "hooks": [dict(value) for name, value in vars(optimizer).items() if name.endswith("_hooks")],
    }


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
        assert one.dtype == other.dtype
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_equal(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    elif not callable(one):
        assert one == other


def trained(optimizer: Optimizer, scheduler: LRScheduler, steps: int) -> list[list[float]]:
    """The rates of a real training, before each update."""
    seen = []
    for step in range(steps):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        update(optimizer)
        if step < steps - 1:
            scheduler.step()
    return seen


@pytest.mark.parametrize(("make", "done"), [(adam, 0), (sgd, 0), (adam, 6)])
@pytest.mark.parametrize("name", MAKERS)
def test_a_preview_is_what_the_training_does_from_there_and_changes_nothing(
    name: str, make: Callable[[], Optimizer], done: int
) -> None:
    optimizer = make()
    optimizer.register_step_post_hook(lambda *_: None)
    scheduler = MAKERS[name](optimizer)
    if done:
        trained(optimizer, scheduler, done + 1)
    before = everything(optimizer, scheduler)
    step = vars(optimizer)["step"]

    seen = preview_torch(scheduler, 20 - done)

    assert_equal(everything(optimizer, scheduler), before)
    assert vars(optimizer)["step"] is step
    assert seen.lrs.shape == (20 - done, 2)
    assert seen.lrs.tolist() == trained(optimizer, scheduler, 20 - done)


@pytest.mark.parametrize("counts", ["updates", "calls"])
def test_a_bound_schedule_is_seen_like_any_other(counts: Any) -> None:
    optimizer = sgd()
    bound = bind(HyperparameterSchedule(cosine(9), momentum=points({0: 0.5, 9: 0.9})), optimizer, counts=counts)
    trained(optimizer, bound, 3)
    hooks = {id(hook) for name, held in vars(optimizer).items() if name.endswith("_hooks") for hook in held.values()}
    groups, state = copy.deepcopy(optimizer.state_dict()), bound.state_dict()

    seen = preview_torch(bound, 6)

    assert_equal(optimizer.state_dict(), groups)
    assert bound.state_dict() == state
    assert hooks
    assert hooks == {
        id(hook) for name, held in vars(optimizer).items() if name.endswith("_hooks") for hook in held.values()
    }
    assert seen.momenta is not None
    assert seen.lrs.tolist() == trained(optimizer, bound, 6)


def test_all_optimizers_of_a_bound_schedule_are_seen() -> None:
    bound = bind(cosine(9), [sgd(), adam()])

    seen = preview_torch(bound, 4)

    assert seen.lrs[3].tolist() == (cosine(9)(3) * np.array([0.1, 0.1, 0.1, 0.02])).tolist()


def test_hooks_for_all_optimizers_do_not_hear_of_the_dry_run() -> None:
    heard: list[Optimizer] = []
    handle = register_optimizer_step_pre_hook(lambda optimizer, *_: heard.append(optimizer))
    try:
        preview_torch(lrs.StepLR(sgd(), 2), 5)
    finally:
        handle.remove()

    assert not heard


def test_a_scheduler_that_raises_midway_is_refused_and_nothing_has_changed() -> None:
    optimizer = sgd()
    scheduler = lrs.SequentialLR(optimizer, [lrs.OneCycleLR(optimizer, 0.1, 5), lrs.StepLR(optimizer, 2)], [20])
    before = everything(optimizer, scheduler)

    with pytest.raises(InputError, match=r"raises ValueError after 6 updates .* Preview at most 6 steps"):
        preview_torch(scheduler, 20)

    assert_equal(everything(optimizer, scheduler), before)
    assert preview_torch(scheduler, 6).lrs.shape == (6, 2)


def test_the_momentum_that_one_cycle_moves_is_seen() -> None:
    for make, name in ((sgd, "momentum"), (adam, "betas")):
        optimizer = make()
        scheduler = lrs.OneCycleLR(optimizer, 0.1, 10)

        momenta = preview_torch(scheduler, 10).momenta

        assert momenta is not None
        assert momenta.shape == (10, 2)
        for row in momenta.tolist():
            now = [group[name] if name == "momentum" else group[name][0] for group in optimizer.param_groups]
            assert row == now
            update(optimizer)
            scheduler.step()


def test_a_momentum_that_stays_is_left_out() -> None:
    assert preview_torch(lrs.StepLR(sgd(), 2), 10).momenta is None
    assert preview_torch(lrs.StepLR(torch.optim.Adagrad([torch.zeros(1)]), 2), 10).momenta is None


def test_a_rate_that_is_a_tensor_is_not_written_to() -> None:
    rate = torch.tensor(0.5)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=rate)
    scheduler = lrs.ExponentialLR(optimizer, 0.5)

    seen = preview_torch(scheduler, 3)

    assert seen.lrs[:, 0].tolist() == [0.5, 0.25, 0.125]
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == 0.5


class Held(LRScheduler):
    """Writes to groups and the optimizer through references of its own."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.first = optimizer.param_groups[0]
        self.every = optimizer.param_groups
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        self.first["momentum"] = 0.5 / (1 + self.last_epoch)
        self.every[-1]["momentum"] = 0.25 / (1 + self.last_epoch)
        return list(self.base_lrs)


def test_references_into_the_groups_lead_to_the_stand_in() -> None:
    optimizer = sgd()
    scheduler = Held(optimizer)

    momenta = preview_torch(scheduler, 2).momenta

    assert momenta is not None
    assert momenta.tolist() == [[0.5, 0.25], [0.25, 0.125]]
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5, 0.25]


class Weakly(LRScheduler):
    def __init__(self, optimizer: Optimizer) -> None:
        self.reference = weakref.ref(optimizer)
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        optimizer = self.reference()
        assert optimizer is not None
        optimizer.param_groups[0]["weight_decay"] += 1.0
        return list(self.base_lrs)


def test_a_scheduler_that_reaches_round_the_copy_is_refused_and_undone() -> None:
    optimizer = sgd()
    scheduler = Weakly(optimizer)

    with pytest.raises(InputError, match=r"reaches its optimizer in a way that a copy of it shares"):
        preview_torch(scheduler, 5)

    assert optimizer.param_groups[0]["weight_decay"] == 1.0  # of the scheduler's own first step


def test_a_callable_with_state_is_copied() -> None:
    class Counting:
        calls = 0

        def __call__(self, step: int) -> float:
            self.calls += 1
            return 1.0

    counting = Counting()
    scheduler = lrs.LambdaLR(sgd(), counting)
    before = counting.calls

    preview_torch(scheduler, 9)

    assert counting.calls == before


def test_what_cannot_be_copied_is_named() -> None:
    scheduler = lrs.StepLR(sgd(), 2)
    scheduler.lock = threading.Lock()  # type: ignore[attr-defined]

    with pytest.raises(InputError, match=r"cannot be copied \(TypeError: cannot pickle '_thread.lock' object\)"):
        preview_torch(scheduler, 2)


def test_plateau_schedulers_are_refused() -> None:
    with pytest.raises(InputError, match=r"waits for a metric, .*; got 'ReduceLROnPlateau'"):
        preview_torch(lrs.ReduceLROnPlateau(sgd()), 2)


def test_what_is_no_scheduler_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be a torch LRScheduler; got 'SGD'. Unwrap it"):
        preview_torch(sgd(), 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("steps", [0, -1, 2.0, True, "5%"])
def test_steps_that_are_no_count_are_refused(steps: Any) -> None:
    with pytest.raises(InputError, match=r"steps must be a whole number of steps, at least 1"):
        preview_torch(lrs.StepLR(sgd(), 2), steps)


def test_torch_warns_afterwards_as_it_did_before() -> None:
    optimizer = sgd()
    scheduler = lrs.StepLR(optimizer, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")

        preview_torch(scheduler, 5)

        assert not caught
        scheduler.step()  # no optimizer.step() before it
    assert "before `optimizer.step()`" in str(caught[0].message)


def test_the_status_is_a_sentence_with_the_highest_rate() -> None:
    seen = preview_torch(lrs.OneCycleLR(sgd(), 0.1, 10), 10)

    assert seen.status == (
        "OneCycleLR from update 0 on: over 10 steps of 2 parameter groups the lr goes from 0.004 up to 0.1 at update 2 "
        "of these to 4e-07, momentum moves too"
    )
    assert int(np.argmax(seen.lrs[:, 0])) == 2
