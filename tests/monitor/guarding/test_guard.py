"""A guarded training ends where the undisturbed one does, tells what it did, and touches nothing where it need not."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import guard_faults
from sklearn.datasets import load_digits
from tests.failing_io import Disk
from tests.monitor.loops import update
from torch import Tensor, nn

from stepsize.curves.divergence import DivergenceRule
from stepsize.errors import InputError
from stepsize.monitor import Guard, guard, watch_task
from stepsize.tasks import build_task
from stepsize.training.digest import digest


def _data(count: int = 120) -> Tensor:
    return torch.randn(count, 16, 4, generator=torch.Generator().manual_seed(0))


def _net() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 1)


def _run(
    guarding: Guard, net: nn.Linear, optimizer: torch.optim.Optimizer, *, bad: frozenset[int] = frozenset()
) -> None:
    left = set(bad)
    for x in guarding.batches(_data()):
        spoiled = math.nan if guarding.step_number in left else None
        left.discard(guarding.step_number)
        guarding.step(update(net, optimizer, x, spoiled=spoiled))


_MLP = "MLP, SGD with momentum"
_HARD = [  # the first bad loss hid the second; a lost state was kept, and the training went on from it after a kill
    ("poisoned batch", 29, _MLP),
    ("poisoned batch", 45, _MLP),
    ("killed while going back", 75, _MLP),
    ("poisoned batch every 20 steps", 13, _MLP),  # no state was saved between two of them
    ("poisoned batch every 20 steps", 37, _MLP),  # the rate was blamed, and stayed low
    ("7 times the highest stable rate", 13, "convolutional, AdamW"),  # one update replaced the weights, unnoticed
]
_ALONE = [fault for fault in guard_faults.FAULTS if "two processes" not in fault]  # test_guard_loops has that one


_read = cache(load_digits)  # a twentieth of a training takes as long


@pytest.fixture
def digits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_faults, "load_digits", _read)


@cache
def undisturbed(network: str, seed: int) -> float:
    return guard_faults._train(network, seed, None, -1, guarded=True)[0]


@pytest.mark.usefixtures("digits")
@pytest.mark.parametrize(
    ("fault", "seed", "network"), [*((fault, seed, _MLP) for fault in _ALONE for seed in (0, 1)), *_HARD]
)
def test_faults_end_where_the_undisturbed_training_does(fault: str, seed: int, network: str) -> None:
    step = int(np.random.default_rng(seed).integers(30, 360))  # as in the benchmark
    loss, actions = guard_faults._train(network, seed, fault, step, guarded=True)
    done = guard_faults.Trial(fault, seed, step, loss, undisturbed(network, seed), math.nan, actions, network)
    assert done.close, done
    assert done.told


def test_a_state_that_is_lost_already_is_never_kept() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, steps=40, every=10) as guarding:
        for number, _ in zip(range(20), guarding.batches(_data()), strict=False):
            if number == 9:
                with torch.no_grad():
                    net.weight.fill_(math.nan)  # unseen by any loss before the next snapshot is due
            guarding.step_number = number + 1
        assert [kept.step for kept in guarding._buffer._saved] == [0]


def test_without_trouble_nothing_is_changed() -> None:
    net, plain = _net(), _net()
    optimizer, bare = (torch.optim.SGD(one.parameters(), lr=0.05, momentum=0.9) for one in (net, plain))
    with guard(net, optimizer, steps=120) as guarding:
        _run(guarding, net, optimizer)
    for x in _data():
        update(plain, bare, x)
    assert guarding.actions == ()
    assert digest(dict(net.state_dict())) == digest(dict(plain.state_dict()))
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.parametrize("loss", [torch.ones(3), torch.ones(1) + 0j, "0.5", True])
def test_what_is_no_loss_is_refused_instead_of_going_on_without_a_guard(loss: object) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, others=nn.Linear(1, 1)) as guarding:
        with pytest.raises(InputError, match="source must be an iterable of batches; got 'int'"):
            next(guarding.batches(5))  # type: ignore[arg-type]
        update(net, optimizer, next(guarding.batches(_data())))
        with pytest.raises(InputError, match="loss must be a real number or a tensor of one element"):
            guarding.step(loss)  # type: ignore[arg-type]
        assert guarding.step_number == 0


def test_a_guard_whose_watch_ends_says_that_it_no_longer_guards(caplog: pytest.LogCaptureFixture) -> None:
    def validate() -> float:
        raise RuntimeError("the server of the metric is away")

    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, steps=40, validate=validate, validate_every=10) as guarding:
        _run(guarding, net, optimizer)
    told = [one.getMessage() for one in caplog.records if "no longer guards" in one.getMessage()]
    assert told == [
        "stepsize.guard no longer guards this run, whose watch ended: RuntimeError: the server of the metric is away"
    ]


def test_a_loss_that_is_exactly_zero_all_the_time_is_no_fault() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, steps=100) as guarding:
        for x in guarding.batches(_data()):
            optimizer.zero_grad()
            loss = (net(x) * 0).sum()
            torch.autograd.backward(loss)
            optimizer.step()
            guarding.step(loss)
    assert (guarding.actions, guarding.stopped, guarding.step_number) == ((), None, 100)


def test_a_dry_run_only_writes_down() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, steps=120, dry_run=True) as guarding:
        _run(guarding, net, optimizer, bad=frozenset({35}))
    assert guarding.actions
    assert not guarding.actions[0].done
    assert guarding.actions[0].back_to is None
    assert bool(net.weight.isnan().all())


def test_trouble_without_end_stops_and_leaves_the_last_good_state() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with guard(net, optimizer, steps=120, retries=2) as guarding:
        for number, x in enumerate(guarding.batches(_data())):
            guarding.step(update(net, optimizer, x, times=math.nan if number >= 40 else 1.0))
    assert guarding.stopped is not None
    assert "giving up after 2 recovery attempts" in guarding.stopped
    assert bool(net.weight.isfinite().all())
    assert guarding.actions[-1].kind == "stop"
    assert all(one.done for one in guarding.actions)


def test_snapshots_are_bounded() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    sizes = []
    with guard(net, optimizer, steps=120, every=5, keep=2) as guarding:
        for x in guarding.batches(_data()):
            guarding.step(update(net, optimizer, x))
            sizes.append(sum(one.snapshot.nbytes for one in guarding._buffer._saved))
    assert max(sizes[20:]) == min(sizes[20:])
    assert len(guarding._buffer) == 2


def test_a_checkpoint_goes_on_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "guard.pt"
    whole = _net()
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.05, momentum=0.9)
    with guard(whole, optimizer, steps=120) as guarding:
        _run(guarding, whole, optimizer)

    class Kill(BaseException):
        pass

    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    killed = guard(net, optimizer, steps=120, checkpoint=path)
    plain = killed.step

    def step(loss: Tensor) -> None:
        plain(loss)
        if killed.step_number == 58:
            raise Kill

    killed.step = step  # type: ignore[assignment,method-assign]
    with pytest.raises(Kill):
        _run(killed, net, optimizer)
    killed.close()
    fresh = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(fresh.parameters(), lr=0.05, momentum=0.9)
    with guard(fresh, optimizer, steps=120, checkpoint=path) as guarding:
        assert guarding.resume()
        assert guarding.step_number == 50
        _run(guarding, fresh, optimizer)
    assert digest(dict(fresh.state_dict())) == digest(dict(whole.state_dict()))


def test_bad_arguments(tmp_path: Path) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for changes, message in (
        ({"cut": 1.5}, "cut must be a finite number, above 0, below 1; got 1.5"),
        ({"keep": 1}, "keep must be a whole number, at least 2; got 1"),
        ({"checkpoint": tmp_path}, "checkpoint must be a file in a folder that exists"),
        ({"checkpoint": tmp_path / "none" / "g.pt"}, "checkpoint must be a file in a folder that exists"),
        ({"others": 5}, "others must hold objects with state_dict and load_state_dict; got 'int'"),
    ):
        with pytest.raises(InputError, match=message):
            guard(net, optimizer, **changes)
    with pytest.raises(InputError, match=r"model must be a torch\.nn\.Module, or several"):
        guard(net.forward, optimizer)  # type: ignore[arg-type]
    assert not optimizer._optimizer_step_pre_hooks


@pytest.mark.slow
@pytest.mark.parametrize("lr", [0.1, 0.3, 1.0, 10.0])
def test_a_rate_that_is_much_too_high_ends_near_the_best_or_the_training_stops_early_and_says_why(lr: float) -> None:
    """At 0.1 it jumps and seems to recover; above, it blows up slowly and then stays where an untrained model is."""
    best = 0.0816  # at a rate of 0.003, with this seed
    done = watch_task(build_task("digits-mlp"), lr, guarded=True)

    if done.stopped is None:
        assert "restarting at" in done.actions[0].why
        assert done.run.value < 1.1 * best
        assert "not-learning" not in {one.code for one in done.report.findings}  # losses that were rolled back are gone
    else:
        assert "has not been as low since; such weights rarely recover" in done.stopped
        assert done.actions[-1].step < 0.4 * 600


def test_a_training_that_stays_dead_after_an_act_is_stopped_with_the_reason() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    losses = [2.3] * 20 + [math.nan] + [2.3] * 300
    with guard(net, optimizer, steps=320, every=10) as guarding:
        for _, loss in zip(guarding.batches(torch.randn(8, 4) for _ in range(400)), losses, strict=False):
            net(torch.ones(1, 4)).sum().backward()
            optimizer.step()
            guarding.step(loss)

    assert guarding.stopped is not None
    assert "no lower than at the start; lower learning rates did not help" in guarding.stopped
    assert guarding.step_number < 250


def test_a_rate_that_is_fine_is_left_alone() -> None:
    assert watch_task(build_task("digits-mlp", steps=200), 0.01, guarded=True).actions == ()


def noisy(count: int) -> Iterator[float]:
    """Yield the losses of a training that converged and whose noise is as large as its progress."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        yield 1.0 + 0.6 * abs(generator.standard_normal())


def test_without_a_horizon_the_rare_losses_above_the_start_do_not_add_up() -> None:
    rule, known = DivergenceRule(None), DivergenceRule(2_000)
    losses = list(noisy(120_000))

    assert not any(rule.update(loss) for loss in losses)
    assert not any(rule.update(loss) for loss in noisy(1_000_000))
    assert any(known.update(loss) for loss in losses), "a training sixty times as long as was said"
    lost = DivergenceRule(None)
    assert any(lost.update(loss) for loss in [*losses[:500], *[80.0] * 200])


def test_another_trainings_checkpoint_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "guard.pt"
    net = _net()
    optimizer: torch.optim.Optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    with guard(net, optimizer, steps=30, every=10, checkpoint=path) as guarding:
        _run(guarding, net, optimizer)

    def groups(one: nn.Module) -> list[dict[str, object]]:
        return [{"params": [p]} for p in one.parameters()]

    other = _net()
    larger = nn.Linear(5, 1)
    for model, wrong, message in (
        (other, torch.optim.SGD(other.parameters(), lr=0.01, momentum=0.9), "it is of Linear, Adam, not Linear, SGD"),
        (other, torch.optim.Adam(groups(other), lr=0.01), "cannot be loaded"),  # as many parameters in more groups
        (larger, torch.optim.Adam(larger.parameters(), lr=0.01), "cannot be loaded: .*size mismatch for weight"),
    ):
        before = digest([model.state_dict(), wrong.state_dict(), torch.get_rng_state()])
        with (
            guard(model, wrong, steps=30, every=10, checkpoint=path) as guarding,
            pytest.raises(InputError, match=f"checkpoint must be of this run.*{message}"),
        ):
            guarding.resume()
        assert digest([model.state_dict(), wrong.state_dict(), torch.get_rng_state()]) == before


def test_a_resumed_guard_keeps_no_batch_before_its_state_and_writes_no_longer_files(tmp_path: Path) -> None:
    path = tmp_path / "guard.pt"
    sizes = []
    for steps in (100, 1_000):
        net = _net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        with guard(net, optimizer, every=10, checkpoint=path) as guarding:
            for x in guarding.batches(torch.randn(8, 4) for _ in range(steps)):
                guarding.step(update(net, optimizer, x))
        sizes.append(path.stat().st_size)
    assert sizes[1] < 1.02 * sizes[0]

    net = _net()
    with guard(net, torch.optim.SGD(net.parameters(), lr=0.01), every=10, checkpoint=path) as guarding:
        assert guarding.resume()
        next(iter(guarding.batches(torch.randn(8, 4) for _ in range(2_000))))
        assert guarding._batches is not None
        assert guarding.position == 1_001
        assert len(guarding._batches._kept) <= 1


def test_a_rate_in_a_tensor_stays_that_tensor_under_a_guard() -> None:
    net = _net()
    rate = torch.tensor(0.05)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    with guard(net, optimizer, steps=100, every=10) as guarding:
        _run(guarding, net, optimizer, bad=frozenset({40}))

    assert guarding.actions
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.05)


def test_a_checkpoint_that_cannot_be_written_is_reported_once_and_the_last_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, path = _net(), tmp_path / "guard.pt"
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    disk = Disk(monkeypatch, 10**9)
    with guard(net, optimizer, steps=40, every=10, checkpoint=path) as guarding:
        for x in guarding.batches(_data()):
            if guarding.step_number == 15:
                disk.fails = disk.calls
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            guarding.step(loss)
            if guarding.step_number == 29:
                assert torch.load(path, weights_only=True)["progress"]["step"] == 10
    assert guarding.step_number == 40
    told = [one.getMessage() for one in caplog.records]
    assert len(told) == 1
    assert "the checkpoint of step 20 could not be written, training continues: " in told[0]
    assert [one.name for one in tmp_path.iterdir()] == ["guard.pt"]
    assert torch.load(path, weights_only=True)["progress"]["step"] == 30
