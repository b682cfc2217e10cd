"""Watching takes its share of the training's time and no more, and what it only counts is not lost."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tests.monitor.loops import update
from torch import nn

from stepsize.monitor import budget, watch
from stepsize.monitor.budget import WatchBudget
from stepsize.monitor.record import Facts, Record


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _spent(
    monkeypatch: pytest.MonkeyPatch, *, step: float, measured: float, bare: float, steps: int | None
) -> WatchBudget:
    """Play a training through whose updates cost so many seconds, and so many more when measured or counted."""
    clock = _Clock()
    monkeypatch.setattr(budget, "perf_counter", clock)
    kept = WatchBudget(steps)
    on, count = True, 0
    for number in range(6_400):
        clock.now += step
        kept.begin(number)
        cost = measured if on else bare
        clock.now += cost
        kept.spend(cost, 1, measured=on)
        count += on
        on = kept.measures(number + 1, worse=number % 16 == 0)
    return kept


@pytest.mark.parametrize("steps", [6_400, None])
@pytest.mark.parametrize("measured", [0.1, 0.7, 2.0])
@pytest.mark.parametrize("bare", [0.001, 0.015])
def test_the_share_of_the_time_is_kept(
    steps: int | None, measured: float, bare: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _spent(monkeypatch, step=1.0, measured=measured, bare=bare, steps=steps)
    spent, trained = kept.times()
    assert trained == pytest.approx(6_399, rel=1e-4)  # less what counting takes unseen
    unavoidable = 64 * measured + 6_336 * bare + 0.06
    assert spent <= max(0.02 * trained, unavoidable) + 8 * measured  # with the run that was begun
    assert spent >= 0.9 * min(0.02, measured / 8) * trained  # and used


def test_a_cheap_measurement_is_made_by_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = _spent(monkeypatch, step=1.0, measured=0.01, bare=0.0, steps=6_400)
    assert 1 / 8 <= kept.spent / 0.01 / 6_400 <= 1 / 2


def test_what_is_only_counted_is_written_down_in_order() -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 7, gamma=0.99)
    losses, rates = [], []
    leaned = 0
    with watch(net, optimizer, steps=3_000) as watching:
        for x in torch.randn(500, 8, 4, generator=torch.Generator().manual_seed(1)):
            rates.append(optimizer.param_groups[0]["lr"])
            loss = update(net, optimizer, x)
            scheduler.step()
            watching.step(loss)
            losses.append(loss.item())
            leaned += bool(watching._later)
    assert leaned > 100
    record = watching.record
    assert record.step == 500
    assert record.recent("loss").steps.tolist() == list(range(500))
    assert record.recent("loss").values == pytest.approx(losses)
    assert record.recent("lr/0").values == pytest.approx(rates)
    assert record.history("loss").values == pytest.approx(losses)


@pytest.mark.parametrize("adam", [False, True])
def test_momentum_is_recorded_from_where_it_changes(adam: bool) -> None:
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    groups: list[dict[str, Any]] = [{"params": [net.weight]}, {"params": [net.bias]}]
    optimizer = torch.optim.Adam(groups) if adam else torch.optim.SGD(groups, lr=0.01, momentum=0.9)
    leaned = 0
    with watch(net, optimizer, steps=3_000) as watching:
        for step, x in enumerate(torch.randn(500, 8, 4, generator=torch.Generator().manual_seed(1))):
            if step >= 300:
                changed = {"betas": (0.5 + step / 1_000, 0.99)} if adam else {"momentum": 0.5 + step / 1_000}
                optimizer.param_groups[1].update(changed)
            watching.step(update(net, optimizer, x))
            leaned += bool(watching._later)
    assert leaned > 100
    first, second = (watching.record.recent(f"momentum/{group}") for group in range(2))
    assert first.steps.tolist() == second.steps.tolist() == list(range(300, 500))
    assert set(first.values.tolist()) == {0.9}
    assert second.values == pytest.approx([0.5 + step / 1_000 for step in range(300, 500)])


def test_a_constant_momentum_is_no_signal() -> None:
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    with watch(net, optimizer, steps=30) as watching:
        for x in torch.randn(30, 8, 4):
            watching.step(update(net, optimizer, x))
    assert not [name for name in watching.record.traces if name.startswith("momentum")]


@pytest.mark.parametrize("loss", [math.nan, 1e9])
def test_a_loss_that_is_lost_is_seen_at_once(loss: float) -> None:
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with watch(net, optimizer, steps=30_000) as watching:
        for number, x in enumerate(torch.randn(401, 8, 4, generator=torch.Generator().manual_seed(1))):
            made = update(net, optimizer, x)
            watching.step(made if number < 400 else loss)
        assert watching.record.recent("loss", 1).steps.tolist() == [400]


def test_a_loss_that_is_none_is_told_and_the_training_goes_on() -> None:
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with watch(net, optimizer, steps=3_000) as watching:
        for number in range(120):
            made = update(net, optimizer, torch.randn(8, 4))
            watching.step(made if number < 110 else made.expand(2))
    assert "RuntimeError" in watching.broken or "ValueError" in watching.broken


def test_steps_that_are_repeated_twice_count_once() -> None:
    record = Record(Facts(steps=10))
    record.step = 5
    mark = record.mark()
    for step in (8, 11):
        record.step = step
        record.roll_back(mark, again=True)
        assert record.step - record.repeated == 5
    assert record.progress == 0.5


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("compiled", [False, True])
def test_the_hook_before_updates_comes_off_between_measurements_unless_the_step_is_compiled(compiled: bool) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=torch.tensor(0.01))
    torch.compiler.reset()
    with watch(net, optimizer, steps=3_000) as watching:
        step = torch.compile(optimizer.step, backend=backend) if compiled else optimizer.step
        without = 0
        for x in torch.randn(160, 8, 4, generator=torch.Generator().manual_seed(1)):
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            step()
            watching.step(loss)
            without += not optimizer._optimizer_step_pre_hooks
        assert watching.record.step == 160
    assert (without == 0) if compiled else (without > 0)
    assert len(graphs) <= 3
