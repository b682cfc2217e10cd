"""Signals equal their plain twins; watching changes nothing, breaks nothing and says what is wrong with its input."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial

import pytest
import torch
from tests.monitor.twins import Twin, held_to
from torch import Tensor, nn

import stepsize
from stepsize import schedules
from stepsize.errors import InputError
from stepsize.monitor import Finding, Watch, watch
from stepsize.training.digest import digest


def _net(seed: int = 0, width: int = 20) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, 1))


def _mse(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.mse_loss(net(x), y)


def _batches(count: int, seed: int = 1) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(count, 32, 6, generator=generator)
    return [(x, x.sum(1, keepdim=True)) for x in xs]


def _train(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: list[tuple[Tensor, Tensor]],
    *,
    watching: Watch | None = None,
    before: Callable[[], None] = lambda: None,
    clip: float | None = None,
) -> None:
    for x, y in batches:
        loss = nn.functional.mse_loss(net(x), y)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        before()
        if clip is not None:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        if watching is not None:
            watching.step(loss)


@pytest.mark.parametrize("kind", ["sgd", "momentum", "adamw"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_signals_equal_their_twins(kind: str, clip: float | None) -> None:
    net = _net()
    makers: dict[str, Callable[[list[nn.Parameter]], torch.optim.Optimizer]] = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
        "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    }
    optimizer = makers[kind](list(net.parameters()))
    twin = Twin(net)  # looks before clipping
    with watch(net, optimizer, steps=40) as watching:
        _train(net, optimizer, _batches(40), watching=watching, before=twin.look, clip=clip)
    record = watching.record
    held_to(twin, record, None)
    if clip is not None:
        shortened = [min(1.0, clip / float(gradient.norm())) for gradient in twin.gradients]
        assert record.recent("clipped").values == pytest.approx(shortened, rel=1e-3)


def test_large_tensors_are_sampled_without_bias() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(300, 400), nn.ReLU(), nn.Linear(400, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
    twin = Twin(net)
    with watch(net, optimizer) as watching:
        for _ in range(30):
            x = torch.randn(64, 300)
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            twin.look()
            optimizer.step()
            watching.step(loss)
    cosines = torch.tensor([twin.cosine(step) for step in range(1, 30)])
    seen = torch.tensor(watching.record.recent("cosine").values)
    assert float((seen - cosines).abs().max()) < 0.15  # 2,048 of 120,000 coordinates: a few per cent each
    assert float((seen - cosines).mean().abs()) < 0.02


def test_watching_changes_nothing() -> None:
    plain, watched = _net(), _net()
    one, two = (torch.optim.AdamW(net.parameters(), lr=1e-2) for net in (plain, watched))
    _train(plain, one, _batches(60))
    with watch(watched, two, steps=60, validate=lambda: watched(torch.rand(4, 6)).mean(), validate_every=7) as watching:
        for x, y in _batches(60):
            loss = nn.functional.mse_loss(watched(x), y)
            two.zero_grad()
            torch.autograd.backward(loss)
            two.step()
            watching.step(loss, closure=partial(_mse, watched, x, y))
    assert not watching.broken
    assert len(watching.record.recent("headroom")) > 20
    assert len(watching.record.recent("val_loss")) == 8
    assert digest(dict(plain.state_dict())) == digest(dict(watched.state_dict()))
    assert not two._optimizer_step_pre_hooks
    assert not two._optimizer_step_post_hooks


def _downhill(net: nn.Linear, optimizer: torch.optim.Optimizer) -> Tensor:
    loss = net.weight.square().sum() / 2
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
    return loss


def test_the_critical_rate_of_a_parabola() -> None:
    # loss w²/2 from w: one step goes to (1 - lr) w, and the loss rises where |1 - s lr| > 1: at s = 2 / lr
    net = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(net, optimizer, steps=64) as watching:
        for _ in range(10):
            watching.step(_downhill(net, optimizer), closure=lambda: net.weight.square().sum() / 2)
    assert watching.record.median("headroom") == pytest.approx(20, rel=0.2)


def test_alpha_of_a_parabola() -> None:
    # the slope behind a step is (1 - lr) times the one before it: alpha = -(1 - lr), whatever w
    net = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.25)
    with watch(net, optimizer) as watching:
        for _ in range(30):
            watching.step(_downhill(net, optimizer))
    from stepsize.monitor.readings import alpha

    assert alpha(watching.record).mean == pytest.approx(-0.75, abs=1e-4)


def test_skipped_updates_and_several_optimizers() -> None:
    first, second = _net(0), _net(1)
    optimizers = [torch.optim.SGD(net.parameters(), lr=rate) for net, rate in ((first, 0.1), (second, 0.2))]
    with watch([first, second], optimizers) as watching:
        for number, (x, y) in enumerate(_batches(20)):
            loss = nn.functional.mse_loss(first(x) + second(x), y)
            for one in optimizers:
                one.zero_grad()
            torch.autograd.backward(loss)
            if number % 4:
                for one in optimizers:
                    one.step()
            watching.step(loss)
    assert watching.record.skipped == 5
    assert [watching.record.last(name) for name in watching.record.rates()] == [0.1, 0.2]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_models_that_average_and_drop(dropout: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 1))
    twin = copy.deepcopy(net)
    one, two = (torch.optim.SGD(part.parameters(), lr=0.1) for part in (net, twin))
    torch.manual_seed(5)
    with watch(net, one, steps=64) as watching:
        for x, y in _batches(20):
            loss = nn.functional.mse_loss(net(x), y)
            one.zero_grad()
            torch.autograd.backward(loss)
            one.step()
            watching.step(loss, closure=partial(_mse, net, x, y))
    torch.manual_seed(5)
    _train(twin, two, _batches(20))
    assert digest(dict(net.state_dict())) == digest(dict(twin.state_dict()))


def test_bad_input_is_told_before_anything_is_hooked() -> None:
    net, other = _net(0), _net(1)
    optimizer = torch.optim.SGD(other.parameters(), lr=0.1)
    with pytest.raises(
        InputError, match="optimizer must hold trainable parameters of the model, but holds only others"
    ):
        watch(net, optimizer)
    with pytest.raises(InputError, match="steps must be a whole number, at least 1; got 0"):
        watch(other, optimizer, steps=0)
    with pytest.raises(InputError, match=r"model must be a torch\.nn\.Module, or several"):
        watch([], optimizer)
    with pytest.raises(InputError, match="validate must be callable"):
        watch(other, optimizer, validate=3)  # type: ignore[arg-type]
    assert not optimizer._optimizer_step_pre_hooks


def test_losses_that_are_never_told_are_missed_once(caplog: pytest.LogCaptureFixture) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with caplog.at_level(logging.WARNING, logger="stepsize"), watch(net, optimizer):
        _train(net, optimizer, _batches(120))
    told = [one.getMessage() for one in caplog.records]
    assert told == ["stepsize.watch: 50 updates without a loss; call watching.step(loss) after each optimizer.step()"]


def test_an_error_of_its_own_ends_the_watching_not_the_training(caplog: pytest.LogCaptureFixture) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

    def broken() -> float:
        raise RuntimeError("no such data")

    logged = caplog.at_level(logging.WARNING, logger="stepsize")
    with logged, watch(net, optimizer, validate=broken, validate_every=5) as watching:
        _train(net, optimizer, _batches(20), watching=watching)
    assert watching.broken == "RuntimeError: no such data"
    assert len(caplog.records) == 1
    assert "stopped watching; training continues" in caplog.text
    assert str(watching.report())


def test_a_callback_that_raises_is_logged_once_and_watching_continues(caplog: pytest.LogCaptureFixture) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=50.0)
    calls = []

    def failing(finding: Finding) -> None:
        calls.append(finding.code)
        raise ValueError("no network")

    logged = caplog.at_level(logging.WARNING, logger="stepsize")
    with logged, watch(net, optimizer, steps=200, on_finding=failing) as watching:
        _train(net, optimizer, _batches(60), watching=watching)
    assert not watching.broken
    assert calls == [one.code for one in watching.findings]
    assert len(calls) > 1
    message = "stepsize.watch: on_finding raised an error; watching continues: ValueError: no network"
    assert [one.getMessage() for one in caplog.records] == [message]


def test_nan_from_the_first_step_is_the_data_not_the_rate() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(net, optimizer) as watching:
        _train(net, optimizer, [(x * torch.nan, y) for x, y in _batches(5)], watching=watching)
    (finding,) = [one for one in watching.findings if one.code == "diverging"]
    assert finding.factor is None
    assert "No learning rate can fix this" in finding.remedy


@pytest.mark.parametrize(("bad", "left_out"), [((40,), True), ((0,), True), ((40, 41), True), ((40,), False)])
def test_a_batch_without_a_finite_loss_that_the_loop_leaves_out_is_no_divergence(
    bad: tuple[int, ...], left_out: bool
) -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with watch(net, optimizer, steps=80) as watching:
        for number, (x, y) in enumerate(_batches(80)):
            spoiled = number in bad
            loss = nn.functional.mse_loss(net(x), y) * (torch.nan if spoiled else 1.0)
            optimizer.zero_grad()
            if not (spoiled and left_out):
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            watching.step(loss)
    found = {one.code: one for one in watching.findings}
    if left_out:
        assert watching.record.diverged is None
        assert "diverging" not in found
        assert f"The loss of step {bad[0]} was not finite, and later ones are" in found["spike"].message
        assert "The batch is the cause, not the learning rate" in found["spike"].remedy
    else:
        assert watching.record.diverged == (40, "the loss became nan")
        assert "spike" not in found
        assert watching.verdict.code == "diverged"


def test_a_run_that_ends_at_a_loss_that_is_not_finite_has_diverged() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    with watch(net, optimizer, steps=80) as watching:
        _train(net, optimizer, _batches(30), watching=watching)
        _train(net, optimizer, [(x * torch.nan, y) for x, y in _batches(1)], watching=watching)
        assert "diverging" not in [one.code for one in watching.findings]  # it may be one batch
    assert watching.record.diverged == (30, "the loss became nan")
    assert "diverging" in [one.code for one in watching.findings]


def test_a_rate_that_is_far_too_low_and_one_that_diverges() -> None:
    codes = {}
    for lr in (1e-5, 50.0):
        net = _net()
        optimizer = torch.optim.SGD(net.parameters(), lr=lr)
        with watch(net, optimizer, steps=200) as watching:
            _train(net, optimizer, _batches(80), watching=watching)
        codes[lr] = watching.verdict.code
    assert codes == {1e-5: "too low", 50.0: "diverged"}


def test_a_bound_schedule_is_looked_at_ahead() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    bound = stepsize.bind(schedules.cosine().over(50), optimizer)
    with watch(net, optimizer, schedule=bound, steps=200) as watching:
        _train(net, optimizer, _batches(20), watching=watching)
    (finding,) = [one for one in watching.findings if one.code == "schedule-end"]
    assert "after 25%" in finding.message or "after 24%" in finding.message
    bound.release()


def test_a_torch_scheduler_that_is_never_stepped() -> None:
    net = _net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=500)
    with watch(net, optimizer, schedule=scheduler) as watching:
        _train(net, optimizer, _batches(80), watching=watching)
    assert "OneCycleLR was not stepped in" in str(watching.report())


def test_a_compiled_wrapper_is_the_model() -> None:
    net = _net()
    compiled = torch.compile(net, backend="eager")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    with watch(compiled, optimizer) as watching:  # type: ignore[arg-type]
        _train(compiled, optimizer, _batches(10), watching=watching)  # type: ignore[arg-type]
    assert not watching.broken
    assert len(watching.record.recent("cosine")) == 9
