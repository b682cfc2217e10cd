"""The range test on anyone's loop: what it takes, what it answers, and what it says where it cannot."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from tests.probe.loops import LOOPS, Loop, adversarial, dataset, momentum, mse, plain_step
from tests.views.chart_specs import named, values
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from stepsize.errors import InputError
from stepsize.probe import RangeTest, range_test
from stepsize.probe.ramp import RateRamp
from stepsize.probe.range_test import _as_if_finished


def linear(lr: float = 0.1) -> Loop:
    """A small regression that every range test reads clearly; no dropout, so all is deterministic."""
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = SGD(net.parameters(), lr=lr)
    x, y = dataset()
    batches = [(x[k : k + 16], y[k : k + 16]) for k in range(0, 160, 16)]
    return Loop(plain_step(net, optimizer), [optimizer], batches, [net])


STEPS = 110  # one ramp


def test_of(loop: Loop, **options: Any) -> RangeTest:
    return range_test(loop.step, loop.optimizers, loop.batches, **{"steps": STEPS, **options})


test_of.__test__ = False  # type: ignore[attr-defined]


@functools.cache
def answered() -> RangeTest:
    """What a range test of ``linear`` finds, with nothing else asked for."""
    return test_of(linear())


def decades(one: RangeTest, other: RangeTest) -> float:
    assert one.lr
    assert other.lr
    return abs(math.log10(one.lr / other.lr))


# What it answers


def test_the_answer_is_ordered_and_within_the_range() -> None:
    found = answered()
    assert found.verdict == "open"
    assert found.low
    assert found.lr
    assert found.high
    assert found.diverged_at
    assert found.interval
    assert 1e-7 < found.low < found.lr <= found.high <= found.diverged_at <= 10
    assert found.interval[0] <= found.lr <= found.interval[1]
    assert found.multiplier == pytest.approx(found.lr / 0.1)
    assert found.critical.lr
    assert 0.01 < found.critical.lr < 1


def test_an_optimizer_in_a_wrapper_of_a_trainer_is_taken_out_of_it() -> None:
    class Wrapper:
        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer = optimizer

        def step(self) -> None:
            self.optimizer.step()

    loop = linear()
    wrapped: Any = Wrapper(loop.optimizers[0])
    assert range_test(loop.step, wrapped, loop.batches, steps=40).lr == test_of(linear(), steps=40).lr


def test_raw_losses_and_rates_are_kept_as_they_were() -> None:
    loop, seen, rates = linear(), [], []

    def step(batch: Any) -> float:
        loss = loop.step(batch).item()
        seen.append(loss)
        rates.append(loop.optimizer.param_groups[0]["lr"])
        return float(loss)

    found = range_test(step, loop.optimizer, loop.batches)
    count = len(found.losses)
    assert found.calls == len(seen)
    assert found.losses.tolist() == seen[-count:]
    assert found.lrs.tolist() == pytest.approx(rates[-count:], rel=1e-12)
    assert (np.diff(found.lrs)[np.diff(found.ramp) == 0] > 0).all()


def test_the_watcher_hears_of_every_step() -> None:
    heard: list[tuple[float, float]] = []
    found = test_of(linear(), on_progress=lambda lr, loss: heard.append((lr, loss)))
    assert heard == list(zip(found.lrs.tolist(), found.losses.tolist(), strict=True))


@pytest.mark.parametrize("name", ["momentum", "adamw", "adversarial", "mixed_precision"])
def test_the_same_seed_gives_the_same_answer_bit_for_bit(name: str) -> None:
    def found() -> RangeTest:
        torch.manual_seed(1)
        loop = LOOPS[name]()
        torch.manual_seed(torch.seed() % 1000)  # whatever the generators stood at before
        return test_of(loop, steps=60, seed=4)

    one, two = found(), found()
    assert one.losses.tolist() == two.losses.tolist()
    assert (one.lr, one.interval, one.reason) == (two.lr, two.interval, two.reason)


def test_another_seed_draws_other_batches_and_dropout() -> None:
    loop = LOOPS["adamw"]()
    assert test_of(loop, seed=1).losses.tolist() != test_of(loop, seed=2).losses.tolist()


def test_more_steps_mean_more_ramps_from_the_same_state_on_other_batches() -> None:
    loop = LOOPS["adamw"]()
    found = test_of(loop, steps=350)
    assert found.ramp.max() >= 2
    starts = [int(np.argmax(found.ramp == index)) for index in range(found.ramp.max() + 1)]
    assert len({found.lrs[start] for start in starts}) == 1
    assert len({found.losses[start] for start in starts}) == len(starts)
    assert len(found.losses) <= 350
    assert f"{found.ramp.max() + 1} ramps" in found.reason


@pytest.mark.parametrize("make", [linear, momentum, LOOPS["accumulating"]])
def test_the_scale_and_offset_of_the_loss_move_nothing(make: Callable[[], Loop]) -> None:
    torch.manual_seed(2)
    loop = make()
    plain = test_of(loop)
    scaled = range_test(lambda batch: 1000 * loop.step(batch).item(), loop.optimizers, loop.batches, steps=STEPS)
    higher = range_test(lambda batch: 1000 + loop.step(batch).item(), loop.optimizers, loop.batches, steps=STEPS)
    negative = range_test(lambda batch: loop.step(batch).item() - 100, loop.optimizers, loop.batches, steps=STEPS)
    for other in (scaled, higher, negative):
        assert decades(plain, other) < 1e-6
        assert other.verdict == plain.verdict


@pytest.mark.parametrize("ends", [(1e-9, 10.0), (1e-5, 1e3), (1e-6, 1.5)])
def test_a_shifted_range_moves_the_answer_little(ends: tuple[float, float]) -> None:
    assert decades(answered(), test_of(linear(), lr=ends)) < 0.1


@pytest.mark.parametrize("steps", [50, 300])
def test_the_number_of_steps_moves_the_answer_little(steps: int) -> None:
    assert decades(test_of(linear(), steps=steps), answered()) < 0.15


# What it takes


def test_groups_keep_their_ratios_and_the_reference_is_the_highest() -> None:
    net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    groups = [{"params": net[0].parameters(), "lr": 0.01}, {"params": net[2].parameters(), "lr": 0.04}]
    optimizer = SGD(groups, lr=1.0)
    ratios: list[float] = []
    optimizer.register_step_pre_hook(
        lambda *_: ratios.append(optimizer.param_groups[1]["lr"] / max(optimizer.param_groups[0]["lr"], 1e-300))
    )
    found = range_test(plain_step(net, optimizer), optimizer, linear().batches)
    moving = [ratio for ratio in ratios if ratio]  # the probe makes steps of rate 0
    assert moving == pytest.approx([4.0] * len(moving))
    assert found.lr
    assert found.multiplier == pytest.approx(found.lr / 0.04)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.04]


def test_rates_that_are_tensors_are_swept_in_place_and_put_back() -> None:
    loop = LOOPS["tensor_rates"]()
    tensors = [group["lr"] for group in loop.optimizer.param_groups]
    before = [float(tensor) for tensor in tensors]
    found = test_of(loop)
    assert found.restored
    assert [id(group["lr"]) for group in loop.optimizer.param_groups] == [id(tensor) for tensor in tensors]
    assert [float(tensor) for tensor in tensors] == before
    assert json.dumps(found.to_json(), allow_nan=False)


def test_several_optimizers_are_swept_together() -> None:
    loop = adversarial()
    maker, judge = loop.optimizers
    ratios: set[float] = set()

    def step(batch: Any) -> Any:
        loss = loop.step(batch)
        if maker.param_groups[0]["lr"]:
            ratios.add(round(judge.param_groups[0]["lr"] / maker.param_groups[0]["lr"], 6))
        return loss

    found = range_test(step, loop.optimizers, loop.batches)
    assert ratios == {5.0}
    assert found.restored


def test_a_scheduler_that_the_step_drives_is_no_obstacle() -> None:
    scheduled = linear()
    scheduler = torch.optim.lr_scheduler.StepLR(scheduled.optimizer, step_size=1, gamma=0.3)
    update = scheduled.step

    def step(batch: Any) -> Any:
        loss = update(batch)
        scheduler.step()
        return loss

    found = range_test(step, scheduled.optimizers, scheduled.batches, steps=STEPS)
    assert found.losses.tolist() == answered().losses.tolist()
    assert scheduler.last_epoch == 0
    assert scheduled.optimizer.param_groups[0]["lr"] == 0.1


def test_in_the_middle_of_a_training_it_starts_from_where_that_is() -> None:
    loop = linear()
    for batch in loop.batches:
        loop.step(batch)
    now = [mse(loop.modules[0](x), y).item() for x, y in loop.batches]
    found = test_of(loop)
    assert found.losses[:5].max() < max(now) * 1.01  # and not as high as before the training


@pytest.mark.parametrize("wrap", [list, tuple, lambda batches: dict(enumerate(batches)).values()])
def test_any_iterable_of_batches_will_do(wrap: Callable[[Any], Iterable[Any]]) -> None:
    loop = linear()
    again = wrap(loop.batches)
    found = range_test(loop.step, loop.optimizer, again, steps=STEPS)
    assert found.lr == answered().lr
    assert found.batches is again


def test_a_one_shot_iterator_is_read_and_every_batch_comes_again_in_order() -> None:
    loop = linear()
    twins: list[Any] = list(loop.batches) * 40

    def stream() -> Iterator[Any]:
        yield from twins

    found = range_test(loop.step, loop.optimizer, stream(), steps=STEPS)
    assert found.lr == answered().lr
    rest = list(found.batches)
    assert [id(batch) for batch in rest] == [id(batch) for batch in twins]


def test_a_one_shot_iterator_that_is_too_short_is_read_again() -> None:
    loop = linear()
    found = range_test(loop.step, loop.optimizer, iter(list(loop.batches)), steps=STEPS)
    assert found.lr == answered().lr
    assert [id(batch) for batch in found.batches] == [id(batch) for batch in loop.batches]


def formed(loop: Loop, form: Callable[[Tensor], Any]) -> Callable[[Any], Any]:
    return lambda batch: form(loop.step(batch))


def test_a_step_may_return_a_tensor_or_any_real_number() -> None:
    loop = linear()
    forms: list[Callable[[Tensor], Any]] = [Tensor.item, lambda loss: loss.reshape(1, 1), lambda loss: loss.double()]
    forms += [lambda loss: np.float32(loss.item()), lambda loss: np.float64(loss.item())]
    for form in forms:
        assert range_test(formed(loop, form), loop.optimizer, loop.batches, steps=STEPS).lr == answered().lr


# What it says where it cannot answer


def shaped(loop: Loop, shape: Callable[[float, float], float]) -> Callable[[Any], float]:
    """The loop's step, whose loss is made of the true loss and the present rate."""

    def step(batch: Any) -> float:
        loss = loop.step(batch).item()
        return shape(loss, loop.optimizer.param_groups[0]["lr"])

    return step


FAILURES: dict[str, tuple[Callable[[float, float], float], str, str]] = {
    "nan from the first step": (lambda loss, lr: math.nan, "not finite before any update", "Check the data"),
    "inf from the first step": (lambda loss, lr: math.inf, "not finite before any update", "Check the data"),
    "a level": (lambda loss, lr: 1.0, "Check that this optimizer trains the model", "does not respond"),
    "always rising": (lambda loss, lr: 1 + (lr * 1e7) ** 0.3, "It diverges at", "range starts too high"),
    "always falling": (lambda loss, lr: 1 / (1 + 100 * lr), "still falls or is flat", "Raise the end"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_each_failure_has_its_own_sentence_and_no_rate(name: str) -> None:
    shape, *words = FAILURES[name]
    loop = linear()
    found = range_test(shaped(loop, shape), loop.optimizer, loop.batches, steps=STEPS)
    assert found.verdict == "no answer"
    assert all(part in found.reason for part in words)
    assert (found.lr, found.multiplier, found.interval) == (None, None, None)
    assert found.restored
    json.dumps(found.to_json(), allow_nan=False)
    assert values(found.plot().to_dict(), named(found.plot().to_dict(), "points")[0]) is not None


def test_what_is_lost_before_it_can_be_read_is_not_swept_again() -> None:
    loop = linear()
    found = range_test(shaped(loop, lambda loss, lr: math.nan), loop.optimizer, loop.batches, steps=100)
    assert len(found.losses) == 1
    assert found.critical.lr is None
    assert "nan before any update" in found.critical.reason


def test_nan_at_a_high_rate_ends_the_ramp_and_is_named() -> None:
    loop = linear()
    found = range_test(shaped(loop, lambda loss, lr: math.nan if lr > 0.2 else loss), loop.optimizer, loop.batches)
    assert found.verdict == "open"
    assert "not finite at" in found.reason
    assert found.diverged_at
    assert 0.2 < found.diverged_at < 0.22
    assert found.lr
    assert found.lr < 0.2
    curve = found.to_json()["curve"]
    assert None in curve["loss"]


def test_an_early_spike_is_no_obstacle() -> None:
    loop = linear()
    calls = 0
    plain = answered()

    def step(batch: Any) -> float:
        nonlocal calls
        calls += 1
        spike = 1e4 if calls == plain.calls - len(plain.losses) + 4 else 0.0  # the fourth step of the ramp
        return float(loop.step(batch).item()) + spike

    found = range_test(step, loop.optimizer, loop.batches, steps=STEPS)
    assert found.losses.max() > 1e3
    assert decades(found, plain) < 0.05


def test_noise_alone_gives_no_rate() -> None:
    loop = linear()
    generator = np.random.default_rng(0)
    found = range_test(
        shaped(loop, lambda loss, lr: 5 + generator.standard_normal()), loop.optimizer, loop.batches, lr=(1e-7, 1e-4)
    )
    assert found.verdict == "no answer"
    assert "noise alone could explain" in found.reason
    assert found.lr is None


def test_updates_that_a_scaler_skips_at_first_do_not_look_like_none() -> None:
    loop = linear()
    net = loop.modules[0]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # gradients overflow until it has come down

    def step(batch: Any) -> float:
        loop.optimizer.zero_grad()
        loss = mse(net(batch[0]), 10 * batch[1])
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(loop.optimizer)
        scaler.update()
        return loss.item()

    found = range_test(step, loop.optimizer, loop.batches, lr=(1e-5, 10.0))
    assert found.critical.lr
    assert found.lr
    assert found.restored
    assert scaler.get_scale() == 2.0**127


# The range is kept


@pytest.mark.parametrize("ends", [(1e-3, 1.001e-3), (1e-3, 2e-3), (1e-5, 1e-1), (0.5, 10.0), (1e-12, 1e-9)])
@pytest.mark.parametrize("steps", [10, 100])
def test_no_rate_outside_the_range_is_ever_used(ends: tuple[float, float], steps: int) -> None:
    loop = linear()
    used: list[float] = []
    loop.optimizer.register_step_pre_hook(lambda *_: used.append(loop.optimizer.param_groups[0]["lr"]))
    found = test_of(loop, lr=ends, steps=steps)
    nonzero = [lr for lr in used if lr]
    assert min(nonzero) >= ends[0] * (1 - 1e-9)
    assert max(nonzero) <= ends[1] * (1 + 1e-9)
    assert found.lr is None or ends[0] <= found.lr <= ends[1]


# Bad input


def refused(match: str, loop: Loop, **changes: Any) -> None:
    arguments: dict[str, Any] = {"step": loop.step, "optimizer": loop.optimizers, "batches": loop.batches, **changes}
    before = loop.tensors()
    generator = torch.get_rng_state()
    with pytest.raises(InputError, match=match):
        range_test(**arguments)
    assert all(torch.equal(one, other) for one, other in zip(before, loop.tensors(), strict=True))
    assert torch.equal(generator, torch.get_rng_state())


BAD: dict[str, tuple[list[Any], str]] = {
    "lr": (
        [0.1, None, "wide", (1e-3,), (1e-3, 1e-2, 1e-1), (1.0, 0.1), (0.1, 0.1), (0, 1), (-1, 1), (1, math.inf),
         (math.nan, 1), ("a", "b"), {1e-3, 1e-1}],
        r"lr must be a pair \(low, high\) of rates with 0 < low < high; got",
    ),
    "steps": ([0, 9, -1, 10.0, True, None, "100"], "steps must be a whole number, at least 10; got"),
    "optimizer": ([None, "adam", nn.Linear(2, 1), [3]], "optimizer must be a torch.optim.Optimizer"),
    "step": ([3], "step must be a function of one batch"),
    "batches": ([3, None, "text", torch.ones(3)], "batches must be an iterable of batches"),
    "empty batches": ([[], iter([])], "batches must yield at least one batch"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_argument_is_refused_and_changes_nothing(name: str) -> None:
    values, match = BAD[name]
    loop = linear()
    for value in values:
        refused(match, loop, **{name.rpartition(" ")[2]: value})


def test_a_step_without_an_update_is_refused() -> None:
    loop = linear()
    refused("step must call optimizer.step", loop, step=lambda batch: mse(loop.modules[0](batch[0]), batch[1]))


def test_an_optimizer_that_the_step_does_not_drive_is_refused() -> None:
    loop = linear()
    bystander: Optimizer = SGD(nn.Linear(2, 1).parameters(), lr=0.1)
    refused("Is it the optimizer that you passed", loop, optimizer=bystander)


@pytest.mark.parametrize(
    ("bad", "match"),
    [
        (None, "step must return its loss as a number or a scalar tensor; got None"),
        (torch.ones(3), r"step must return a scalar loss; got \(3,\)"),
        ("0.3", "step must return its loss as a number"),
        (True, "step must return its loss as a number"),
    ],
)
def test_a_step_that_returns_no_scalar_is_refused(bad: Any, match: str) -> None:
    loop = linear()
    refused(match, loop, step=lambda batch: (loop.step(batch), bad)[1])


# What is done with the result


def test_the_result_survives_json_strictly() -> None:
    found = answered()
    back = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert back["lr"] == found.lr
    assert tuple(back["interval"]) == found.interval
    assert back["curve"]["loss"] == found.losses.tolist()
    assert back["curve"]["lr"] == found.lrs.tolist()
    assert back["verdict"] == "open"
    assert back["restored"] is True
    assert back["cost"]["calls"] == found.calls


def test_the_chart_holds_every_point_the_fit_and_the_rates() -> None:
    found = answered()
    spec = found.plot("Mine").to_dict()
    shown = sum(len(values(spec, layer)) for kind in ("points", "points_beyond") for layer in named(spec, kind))
    assert shown == len(found.losses)
    assert len(values(spec, named(spec, "fit")[0])) > 10
    assert values(spec, named(spec, "interval")[0]) == [{"x": found.interval[0], "x2": found.interval[1]}]  # type: ignore[index]
    assert spec["title"]["text"] == "Mine"


def test_a_ramp_that_was_lost_early_speaks_for_the_higher_rates_too() -> None:
    rates = np.logspace(-4, 0, 6)
    short = RateRamp(rates[:4], np.array([1.0, 0.5, 3.0, 9.0]), diverged=True)
    long = RateRamp(rates, np.array([1.0, 0.5, 0.4, 0.4, 0.3, 0.2]), diverged=False)
    lrs, losses = _as_if_finished([short, long])

    assert lrs.tolist() == [*rates, *rates]
    assert losses[:6].tolist() == [1.0, 0.5, 3.0, 9.0, 2.0, 2.0]  # the median of its last five losses
    assert losses[6:].tolist() == long.losses.tolist()


def test_heavy_ball_momentum_begins_its_ramps_a_decade_lower() -> None:
    def begun(loop: Loop) -> float:
        found = test_of(loop, steps=100)
        assert found.critical.lr is not None
        return float(found.lrs[0] / found.critical.lr)

    assert begun(linear()) == pytest.approx(10**-2.5)
    assert begun(momentum()) == pytest.approx(10**-3.5)
