"""Guards in loops with epochs and accumulation, in loops whose batches they do not draw, and in several processes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tests.monitor.loops import regression, update
from tests.monitor.ranks import told_by_two
from torch import Tensor, nn
from torch.utils.data import DataLoader

from stepsize.monitor import guard
from stepsize.training.digest import digest


def _data(count: int = 120) -> Tensor:
    return torch.randn(count, 16, 4, generator=torch.Generator().manual_seed(0))


def _net() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


def test_batches_are_guarded_across_epochs() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    seen: list[float] = []
    count = 0
    with guard(net, optimizer, steps=200, every=10) as guarding:
        for _ in range(10):
            for x in guarding.batches(DataLoader(_data(20).flatten(0, 1), 16)):  # type: ignore[arg-type]
                count += 1
                loss = update(net, optimizer, x, times=math.nan if count == 42 else 1.0)  # in the third epoch
                seen.append(float(x.sum()))
                guarding.step(loss)
    (act,) = guarding.actions
    assert (act.kind, act.step, act.back_to) == ("replay", 41, 30)
    assert seen[42:54] == seen[30:42]  # the second epoch's end again, and then the third
    assert seen[54] == seen[2]  # whose third batch comes then
    assert guarding.step_number == 200
    assert bool(net.weight.isfinite().all())


def test_accumulation_goes_back_to_the_start_of_an_update() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    drawn: list[float] = []
    begins: list[bool] = []
    spoiled = False
    with guard(net, optimizer, steps=40, every=10) as guarding:
        for i, x in enumerate(guarding.batches(_data(160))):
            drawn.append(float(x.sum()))
            if i % 4 == 0:
                begins.append(net.weight.grad is None)
            loss = regression(net, x) / 4
            loss.backward()  # type: ignore[no-untyped-call]
            if i % 4 == 3:
                if i == 99 and not spoiled:
                    spoiled = True
                    assert net.weight.grad is not None
                    net.weight.grad.fill_(math.nan)
                optimizer.step()
                optimizer.zero_grad()
                guarding.step(loss.detach() * 4)
    (act,) = guarding.actions
    assert (act.step, act.back_to) == (24, 20)
    assert drawn[100:120] == drawn[80:100]
    assert all(begins)
    assert guarding.step_number == 40


def test_micro_batches_that_are_told_are_no_updates() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, steps=40) as guarding:
        for i, x in enumerate(guarding.batches(_data(160))):
            loss = regression(net, x) / 4
            loss.backward()  # type: ignore[no-untyped-call]
            if i % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
            guarding.step(loss.detach() * 4)
            guarding.step(val_loss=0.3)
    assert guarding.step_number == guarding.watching.record.step == 40
    assert guarding.actions == ()


@pytest.mark.parametrize("kind", ["nan", "spike"])
def test_without_batches_of_its_own_weights_go_back_and_the_training_goes_on(kind: str) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 120)
    rates: list[float] = []
    with guard(net, optimizer, schedule=scheduler, steps=120, every=10) as guarding:
        for number, x in enumerate(_data()):
            factor = (math.nan if kind == "nan" else 1e6) if number == 47 else 1.0
            loss = update(net, optimizer, x, times=factor)
            scheduler.step()
            rates.append(guarding._rates.last[0])
            guarding.step(loss)
    (act,) = guarding.actions
    assert act.kind == "rollback"
    assert act.back_to == 40
    assert "continuing with the next batches" in act.why
    planned = [0.05 * (1 + math.cos(math.pi * n / 120)) / 2 for n in range(120)]
    assert rates[:47] == pytest.approx(planned[:47])
    assert rates[act.step + 1] == pytest.approx(0.5 * planned[act.step + 1])
    assert rates[act.step + 12 :] == pytest.approx(planned[act.step + 12 :])  # the schedule was not put back
    assert bool(net.weight.isfinite().all())
    assert regression(net, _data()[0]).item() < 0.05


def test_its_state_goes_on_in_another_process() -> None:
    def train(first: int, last: int, state: dict[str, object] | None, weights: object) -> tuple[object, object, object]:
        net = _net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        if weights is not None:
            net.load_state_dict(weights)  # type: ignore[arg-type]
        with guard(net, optimizer, steps=120, every=10) as guarding:
            if state is not None:
                guarding.load_state_dict(state)
            for x in _data()[first:last]:
                spoiled = math.nan if guarding.step_number == 31 else None
                guarding.step(update(net, optimizer, x, spoiled=spoiled))
            kept = json.loads(json.dumps(guarding.state_dict()))
        return guarding, kept, net.state_dict()

    whole, _, _ = train(0, 120, None, None)
    _, state, weights = train(0, 60, None, None)
    resumed, _, _ = train(60, 120, state, weights)  # type: ignore[arg-type]
    assert [entry.kind for entry in resumed.actions] == [entry.kind for entry in whole.actions] == ["rollback"]  # type: ignore[attr-defined]
    one, two = (each.watching.record for each in (whole, resumed))  # type: ignore[attr-defined]
    assert one.step == two.step == 120
    assert two.history("loss").values == pytest.approx(one.history("loss").values, nan_ok=True)


_SCRIPT = """
net = nn.parallel.DistributedDataParallel(nn.Linear(4, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
data = torch.randn(120, 16, 4, generator=generator)
spoiled = []
with stepsize.guard(net, optimizer, steps=100, every=10) as guarding, stepsize.watch(net, optimizer, steps=100) as w:
    for x in guarding.batches(data):
        position = guarding.position
        loss = update(net, optimizer, x)
        if rank == 1 and position == 48 and not spoiled:
            spoiled.append(1)
            loss = loss * 1e8
        if rank == 0 and position == 70 and len(spoiled) < 2:
            spoiled += [2, 2]
            loss = loss * math.nan
        w.step(loss, val_loss=0.5 if rank == 0 and guarding.step_number % 20 == 0 else None)
        guarding.step(loss)
told = {
    "actions": [[one.kind, one.step, one.back_to] for one in guarding.actions],
    "broken": [guarding.watching.broken, w.broken],
    "losses": guarding.watching.record.recent("loss").values.tolist(), "steps": guarding.step_number,
    "findings": [[one.code, one.step] for one in guarding.findings], "weights": net.module.weight.tolist(),
    "verdict": [guarding.verdict.code, w.verdict.code], "seen": w.record.recent("loss").values.tolist(),
    "val": w.record.recent("val_loss").values.tolist(),
}
"""


def test_two_processes_decide_alike_about_a_bad_batch_of_one(tmp_path: Path) -> None:
    one, two = told_by_two(_SCRIPT, tmp_path)
    assert one["broken"] == two["broken"] == ["", ""]
    assert [kind for kind, _, _ in one["actions"]] == ["replay", "replay"]
    assert str(one) == str(two)  # NaN equals itself only in writing
    assert len(one["losses"]) == 100  # those that were rolled back are dropped
    assert one["val"]


def test_a_snapshot_between_updates_is_what_is_restored() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    weights = {}
    with guard(net, optimizer, steps=40, every=10) as guarding:
        for x in _data(40):
            weights[guarding.step_number] = digest(dict(net.state_dict()))
            guarding.step(update(net, optimizer, x, times=math.nan if guarding.step_number == 25 else 1.0))
            if guarding.actions:
                break
    assert digest(dict(net.state_dict())) == weights[20]
