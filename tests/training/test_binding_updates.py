"""The clock of a bound schedule counts the updates that were really made, whoever calls what and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.training.bound_loops import adamw, idle, rates, sgd, update, watched
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer

from stepsize import bind
from stepsize.errors import InputError
from stepsize.schedules import Clock, HyperparameterSchedule, function, linear, one_cycle, one_cycle_momentum
from stepsize.training import BoundScheduler

ETA = linear(40)


def planned(updates: int, peak: float = 0.1) -> list[float]:
    return [peak * factor for factor in ETA.factors()[:updates].tolist()]


def test_epochs_of_a_loader_are_a_horizon() -> None:
    loader = [None] * 10
    for schedule, options, same in (
        ("cosine warmup=2ep", {"epochs": 6, "loader": loader}, "cosine 60 warmup=20"),
        ("cosine warmup=10%", {"epochs": 6, "loader": loader, "accumulate": 4}, "cosine 15 warmup=2"),
        ("cosine warmup=1ep", {"steps": 25, "loader": loader}, "cosine 25 warmup=10"),
    ):
        assert bind(schedule, sgd(), **options).schedule == bind(same, sgd()).schedule  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 3}, "loader must be given with epochs"),
        ({"epochs": 3, "loader": iter([1])}, "loader must have a length; got 'list_iterator'. Or give steps="),
        ({"epochs": 3, "steps": 3, "loader": [1]}, "steps must not be given together with epochs"),
        ({"epochs": 0, "loader": [1]}, "epochs must be"),
        ({"loader": [1], "clock": Clock(horizon=3)}, "clock must not be given together"),
    ],
)
def test_epochs_that_cannot_be_counted_change_nothing(options: dict[str, Any], message: str) -> None:
    optimizer = sgd()
    before = dict(optimizer.param_groups[0])
    with pytest.raises(InputError, match=message):
        bind("cosine warmup=10%", optimizer, **options)
    assert optimizer.param_groups[0] == before


Habit = tuple[Callable[[int], bool], Callable[[int], int]]
HABITS: dict[str, Habit] = {  # whether an iteration makes an update, and how often .step() is called after it
    "after each update": (lambda step: True, lambda step: 1),
    "forgotten": (lambda step: True, lambda step: 0),
    "once an epoch": (lambda step: True, lambda step: int(step % 10 == 9)),
    "once a process": (lambda step: True, lambda step: 8),
    "now and then": (lambda step: True, lambda step: step % 3),
    "before each update": (lambda step: step > 0, lambda step: 1),
    "skipped on NaN": (lambda step: step % 4 != 1, lambda step: 1),
    "micro-batches": (lambda step: step % 4 == 3, lambda step: 1),
    "many micro-batches": (lambda step: step % 15 == 14, lambda step: 1),
}


def call(bound: BoundScheduler, habit: str, step: int) -> None:
    for _ in range(HABITS[habit][1](step)):
        bound.step()


@pytest.mark.parametrize("habit", HABITS)
def test_only_updates_count_and_how_often_or_when_step_is_called_changes_no_rate(habit: str) -> None:
    """Steps a process, intervals, accumulation: accelerate#1382, #2926, pytorch#65417, PL#17544, #1476, HF#34754."""
    optimizer = sgd()
    bound = bind(ETA, optimizer)
    made = 0
    with watched(optimizer) as seen:
        for step in range(30):
            if HABITS[habit][0](step):
                update(optimizer)
                made += 1
            call(bound, habit, step)
    assert rates(seen) == planned(made)
    assert bound.last_epoch == made


def scaled_loop(
    optimizer: Optimizer, net: nn.Module, poisoned: set[int], steps: int
) -> tuple[list[float], BoundScheduler]:
    """Train under a GradScaler, with infinite gradients at the steps of ``poisoned``."""
    bound = bind(ETA, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    used = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = net(torch.ones(4, 2)).square().mean()
        scaler.scale(loss).backward()
        if step in poisoned:
            next(net.parameters()).grad.fill_(float("inf"))  # type: ignore[union-attr]
        before = [parameter.detach().clone() for parameter in net.parameters()]
        scaler.step(optimizer)
        scaler.update()
        moved = any(not torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
        assert moved == (step not in poisoned)
        if moved:
            used.append(optimizer.param_groups[0]["lr"])
        bound.step()
    return used, bound


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("make", [SGD, Adam, AdamW])
def test_an_update_that_a_grad_scaler_skips_does_not_count(make: Any, fused: bool) -> None:
    """No spurious warning either, and fused kernels are seen too: pytorch#44511, #55585, accelerate#4243."""
    net = nn.Linear(2, 1)
    used, bound = scaled_loop(make(net.parameters(), lr=0.1, fused=fused), net, {0, 3, 4}, 12)
    assert used == planned(9)
    assert bound.last_epoch == 9


def test_an_update_that_raises_does_not_count() -> None:
    optimizer = sgd()
    bound = bind(ETA, optimizer)

    def closure() -> float:
        raise RuntimeError("out of memory")

    idle(optimizer, 2)
    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    with watched(optimizer) as seen:
        idle(optimizer, 1)
    assert rates(seen) == planned(3)[2:]
    assert bound.last_epoch == 3


def test_an_update_with_a_closure_counts_once_however_often_it_is_evaluated() -> None:
    net = nn.Linear(3, 1)
    optimizer = LBFGS(net.parameters(), lr=0.5, max_iter=5)
    bound = bind(ETA, optimizer)
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss: Tensor = (net(torch.eye(3)) - 1).square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with watched(optimizer) as seen:
        for _ in range(4):
            optimizer.step(closure)  # type: ignore[no-untyped-call]
            bound.step()
    assert calls > 8
    assert rates(seen) == planned(4, 0.5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
def test_a_compiled_model_is_no_different() -> None:
    net = nn.Linear(2, 1)
    model: Any = torch.compile(net, backend="eager")
    optimizer = SGD(net.parameters(), lr=0.1)
    bind(ETA, optimizer)
    with watched(optimizer) as seen:
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(1, 2)).sum().backward()
            optimizer.step()
    assert rates(seen) == planned(3)


# ------------------------------------------------------------------ several optimizers


def test_two_optimizers_share_one_clock() -> None:
    """A schedule reaches both rates of Muon and AdamW: tt-metal#56027, optax#1563."""
    matrices = torch.optim.Muon([nn.Parameter(torch.eye(2))], lr=0.02)
    others = adamw(0.003)
    bound = bind(ETA, [matrices, others])
    with watched(matrices) as of_matrices, watched(others) as of_others:
        for _ in range(10):
            update(matrices, others)
            bound.step()
    assert rates(of_matrices) == planned(10, 0.02)
    assert rates(of_others) == planned(10, 0.003)
    assert bound.last_epoch == 10
    assert bound.get_last_lr() == [0.02 * 0.75, 0.003 * 0.75]


@pytest.mark.parametrize("habit", ["after each update", "forgotten", "once a process"])
def test_momentum_moves_on_both_and_the_habit_does_not_matter(habit: str) -> None:
    course = HyperparameterSchedule(one_cycle(40), momentum=one_cycle_momentum(40))
    muon, other = torch.optim.Muon([nn.Parameter(torch.eye(2))], lr=0.02), adamw(0.003)
    bound = bind(course, [muon, other])
    assert course.momentum is not None
    with watched(muon) as of_muon, watched(other) as of_other:
        for step in range(12):
            update(muon, other)
            call(bound, habit, step)
    expected = course.momentum.factors()[:12].tolist()
    assert [at[0]["momentum"] for at in of_muon] == expected
    assert [at[0]["betas"] for at in of_other] == [(m, 0.999) for m in expected]


@pytest.mark.parametrize("habit", ["after each update", "forgotten"])
def test_of_five_updates_to_one_the_clock_counts_the_five(habit: str) -> None:
    judge, maker = sgd(0.1), adamw(0.01)
    bound = bind(ETA, [judge, maker])
    with watched(judge) as of_judge, watched(maker) as of_maker:
        for step in range(6):
            for _ in range(5):
                update(judge)
            update(maker)
            call(bound, habit, step)
    assert rates(of_judge) == planned(30)
    assert rates(of_maker) == planned(30, 0.01)[4::5]
    assert bound.last_epoch == 30


def test_where_one_of_two_skips_step_keeps_them_in_the_same_round() -> None:
    first, second = sgd(0.1), sgd(0.2)
    bound = bind(ETA, [first, second])
    with watched(first) as of_first, watched(second) as of_second:
        for step in range(8):
            if step not in (2, 5):  # the scaler of the first found an infinite gradient
                update(first)
            if step != 5:
                update(second)
            bound.step()
    by_iteration = [0, 1, 2, 3, 4, 4, 5, 6]  # in iteration 5 both skipped: no round
    kept = [factor for step, factor in enumerate(by_iteration) if step not in (2, 5)]
    assert rates(of_first) == [planned(8)[i] for i in kept]
    assert rates(of_second) == [planned(8, 0.2)[i] for i in (0, 1, 2, 3, 4, 5, 6)]


def test_without_step_a_skip_sets_two_optimizers_at_most_one_step_apart() -> None:
    first, second = sgd(0.1), sgd(0.1)
    bind(ETA, [first, second])
    with watched(first) as of_first, watched(second) as of_second:
        for step in range(20):
            if step not in (2, 3, 7, 11):
                update(first)
            if step not in (5, 13):
                update(second)
    steps = [planned(40).index(lr) for lr in (rates(of_first)[-1], rates(of_second)[-1])]
    assert abs(steps[0] - steps[1]) <= 1
    assert max(steps) <= 19


# ------------------------------------------------------------------ counting calls


def test_counting_calls_is_what_torch_does() -> None:
    optimizer = sgd()
    bound = bind(ETA, optimizer, counts="calls")
    assert not optimizer._optimizer_step_pre_hooks
    idle(optimizer, 5)
    assert bound.last_epoch == 0
    for step in range(1, 4):
        bound.step()
        assert (bound.last_epoch, bound.get_last_lr()) == (step, [0.1 * ETA(step)])
    bound.multiplier = 0.5
    assert bound.get_last_lr() == [0.1 * (ETA(3) * 0.5)]


def test_counting_calls_warns_when_the_call_behind_the_last_update_has_passed() -> None:
    bound = bind(linear(2), sgd(), counts="calls")
    bound.step()
    bound.step()
    with pytest.warns(UserWarning, match="ended at step 2"):
        bound.step()
    bound.step()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what torch.compile imports
def test_counting_calls_lets_a_step_that_is_compiled_as_a_whole_stay_compiled() -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = SGD([parameter], lr=torch.tensor(0.5))
    bound = bind(linear(64), optimizer, counts="calls")
    graphs = 0

    def backend(module: Any, _: Any) -> Any:
        nonlocal graphs
        graphs += 1
        return module.forward

    compiled = torch.compile(optimizer.step, backend=backend)
    moved = []
    for _ in range(16):
        before = parameter.detach().clone()
        parameter.grad = torch.ones(3)
        compiled()
        moved.append(float(before[0] - parameter.detach()[0]))
        bound.step()
    assert moved == pytest.approx((0.5 * linear(64).factors()[:16]).tolist(), abs=1e-6)
    assert graphs <= 2


def test_an_optimizer_whose_state_is_loaded_shows_the_rate_of_the_clock_when_calls_are_counted() -> None:
    optimizer = sgd()
    bound = bind(ETA, optimizer, counts="calls")
    old = optimizer.state_dict()
    for _ in range(10):
        bound.step()
    optimizer.load_state_dict(old)
    assert optimizer.param_groups[0]["lr"] == 0.1 * ETA(10)


def test_a_function_of_the_user_is_asked_once_a_step() -> None:
    asked = []

    def factor(step: int) -> float:
        asked.append(step)
        return 1.0

    optimizer = sgd()
    bound = bind(function(factor, 1_500), optimizer)
    asked.clear()
    for _ in range(1_500):
        optimizer.step()
        bound.step()
    assert sorted(asked) == list(range(1_024, 1_501)), "the first block was asked for at binding"
