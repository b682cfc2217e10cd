"""Who writes the rate: one does, and says so where somebody else tried; it can be told to scale it, or to wait."""

from __future__ import annotations

import copy
import gc
import itertools
import warnings
import weakref
from typing import Any

import pytest
import torch
from tests.training.bound_loops import sgd, update
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, ExponentialLR, ReduceLROnPlateau

from stepsize import bind, guard, watch
from stepsize.errors import InputError
from stepsize.schedules import constant, linear

WRITER = r"had the rate .* but the schedule had written .*: that is overwritten.*bound.scale.*stepsize.Plateau.*suspend"


def updates(optimizer: Optimizer, bound: Any, count: int) -> None:
    for _ in range(count):
        update(optimizer)
        bound.step()


def reduce_on_plateau(optimizer: Optimizer, bound: Any) -> None:
    scheduler = ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    scheduler.step(1.0)
    scheduler.step(2.0)
    update(optimizer)


def by_hand(optimizer: Optimizer, bound: Any) -> None:
    optimizer.param_groups[0]["lr"] = 1e-5
    update(optimizer)


def by_a_multiplier_before_the_first_update(optimizer: Optimizer, bound: Any) -> None:
    optimizer.param_groups[0]["lr"] *= 3.0
    update(optimizer)


def after_loading(optimizer: Optimizer, bound: Any) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.param_groups[0]["lr"] = 1e-5
    update(optimizer)


def chained(optimizer: Optimizer, bound: Any) -> None:
    both = ChainedScheduler([bound, ExponentialLR(optimizer, 0.5)])
    update(optimizer)
    both.step()
    update(optimizer)


def tuner(optimizer: Optimizer, bound: Any) -> None:
    for lr in (1e-5, 1e-4):
        for group in optimizer.param_groups:
            group["lr"] = lr
        update(optimizer)


WRITERS = [reduce_on_plateau, by_hand, by_a_multiplier_before_the_first_update, after_loading, chained, tuner]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("several", [False, True])
def test_another_writer_of_the_rate_is_noticed_once_with_the_way_out(write: Any, several: bool) -> None:
    optimizer = sgd(0.3, 0.02) if several else sgd(0.3)
    bound = bind(linear(100), optimizer, groups={1: constant()} if several else None)

    with pytest.warns(UserWarning, match=WRITER) as told:
        write(optimizer, bound)
    write(optimizer, bound)

    assert len(told) == 1


def test_nothing_is_said_where_nobody_writes() -> None:
    optimizer = sgd(0.3)
    bound = bind(linear(100), optimizer)
    updates(optimizer, bound, 3)
    bound.multiplier = 0.5
    updates(optimizer, bound, 3)
    state, of_optimizer = bound.state_dict(), copy.deepcopy(optimizer.state_dict())
    updates(optimizer, bound, 3)
    optimizer.load_state_dict(of_optimizer)
    bound.load_state_dict(state)
    updates(optimizer, bound, 3)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.1})
    updates(optimizer, bound, 3)
    optimizer.param_groups[0]["initial_lr"] = 0.7
    updates(optimizer, bound, 3)
    bound.release()


def test_scale_multiplies_the_peaks_for_good_and_travels_with_the_optimizer() -> None:
    optimizer = sgd(0.4, 0.02)
    bound = bind(linear(10), optimizer)
    updates(optimizer, bound, 5)

    bound.scale(0.5)
    assert bound.get_last_lr() == bound.get_lr() == [0.2 * linear(10)(5), 0.01 * linear(10)(5)]
    bound.scale(4.0, group=1)
    assert bound.base_lrs == [0.2, 0.04]
    updates(optimizer, bound, 1)

    fresh = sgd(0.4, 0.02)
    fresh.load_state_dict(optimizer.state_dict())
    again = bind(linear(10), fresh)
    again.load_state_dict(bound.state_dict())
    assert again.get_lr() == bound.get_lr() == [0.2 * linear(10)(6), 0.04 * linear(10)(6)]
    for factor, group in ((0.0, None), (float("nan"), None), (True, None), (0.5, 2)):
        with pytest.raises(InputError):
            bound.scale(factor, group)
    assert bound.base_lrs == [0.2, 0.04]


def test_suspended_it_neither_writes_nor_counts() -> None:
    optimizer = sgd(0.4)
    bound = bind(linear(10), optimizer)
    updates(optimizer, bound, 2)

    with bound.suspend():
        optimizer.param_groups[0]["lr"] = 7.0
        updates(optimizer, bound, 3)
        assert optimizer.param_groups[0]["lr"] == 7.0
    assert bound.last_epoch == 2
    assert bound.get_last_lr() == bound.get_lr() == [0.4 * linear(10)(2)]
    updates(optimizer, bound, 1)
    assert bound.last_epoch == 3


@pytest.mark.parametrize(("early", "resumed"), [(True, False), (False, False), (True, True)])
def test_counting_calls_a_call_before_the_first_update_is_told(early: bool, resumed: bool) -> None:
    """As torch's schedulers warn; by the weights, since there is no hook in a step that is compiled as a whole."""
    optimizer = sgd(0.4)
    bound = bind(linear(10), optimizer, counts="calls")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(2 if resumed else 4):
            if early and not resumed:
                bound.step()
            update(optimizer)
            if not early or resumed:
                bound.step()
        if resumed:
            again = bind(linear(10), optimizer_of(bound), counts="calls")
            again.load_state_dict(bound.state_dict())
            updates(again.optimizer, again, 4)
    assert [("before the first update" in str(one.message)) for one in told] == [True] * (early and not resumed)


def optimizer_of(bound: Any) -> Optimizer:
    bound.release()
    return bound.optimizer  # type: ignore[no-any-return]


@pytest.mark.parametrize("counts", ["updates", "calls"])
def test_what_was_released_is_freed_at_once(counts: Any) -> None:
    gc.collect()
    gc.disable()
    try:
        optimizer = sgd(0.4)
        bound = bind(linear(10), optimizer, counts=counts)
        updates(optimizer, bound, 2)
        bound.release()
        alive = weakref.ref(optimizer)
        del optimizer, bound
        assert alive() is None
    finally:
        gc.enable()


def test_warnings_point_at_the_line_of_the_user() -> None:
    optimizer = sgd(0.4)
    bound = bind(linear(1), optimizer)
    optimizer.param_groups[0]["lr"] = 7.0
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            optimizer.step()
        other = bind(linear(1), sgd(0.4), counts="calls")
        other.step()
        other.step()
    assert [one.filename == __file__ for one in told] == [True] * 3
    assert bound.last_epoch == 3


class Wrapper(SGD):
    """Updates by methods of its own, as sharpness-aware optimizers do."""

    def second_step(self) -> None:
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(group["lr"] * 1e-3)


def test_calls_without_updates_are_told_with_the_way_out() -> None:
    optimizer = Wrapper([nn.Parameter(torch.ones(2))], lr=0.1)
    bound = bind(linear(100), optimizer)

    def train() -> None:
        for _ in range(60):
            optimizer.second_step()
            bound.step()

    rule = r"\.step\(\) was called 20 times, and no update was seen.*base optimizer.*calls"
    with pytest.warns(UserWarning, match=rule) as told:
        train()
    assert len(told) == 1


def test_the_scale_of_a_layer_multiplies_its_rate() -> None:
    optimizer = sgd(0.4, 0.4)
    optimizer.param_groups[1]["lr_scale"] = 0.5
    bound = bind(linear(10), optimizer)

    assert bound.get_last_lr() == bound.get_lr() == [0.4, 0.2]
    updates(optimizer, bound, 5)
    assert bound.get_last_lr() == bound.get_lr() == [0.4 * linear(10)(5), 0.4 * linear(10)(5) * 0.5]


def test_a_rate_in_a_tensor_stays_that_tensor() -> None:
    rate = torch.tensor(0.4)
    optimizer = SGD([nn.Parameter(torch.ones(2))], lr=rate)
    bound = bind(linear(10), optimizer)
    updates(optimizer, bound, 2)
    assert optimizer.param_groups[0]["lr"] is rate

    optimizer.param_groups[0]["lr"] = 0.7
    with pytest.warns(UserWarning, match=WRITER):
        update(optimizer)
    assert optimizer.param_groups[0]["lr"] is rate
    assert float(rate) == pytest.approx(0.4 * linear(10)(2))
    with pytest.raises(InputError):
        bound.scale(-1.0)


@pytest.mark.parametrize("order", list(itertools.permutations(["optimizer", "bind", "bound"])))
def test_what_the_groups_show_after_loading_is_what_comes_next(order: tuple[str, ...]) -> None:
    if order.index("bind") > order.index("bound"):
        return
    optimizer = sgd(1.0)
    bound = bind(linear(10), optimizer)
    updates(optimizer, bound, 5)
    fresh, again = sgd(1.0), None
    for what in order:
        if what == "optimizer":
            fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        elif what == "bind":
            again = bind(linear(10), fresh)
        elif again is not None:
            again.load_state_dict(bound.state_dict())
    assert again is not None
    assert again.get_last_lr() == again.get_lr() == [0.5]


def test_counting_calls_a_group_is_scheduled_as_soon_as_it_is_added_and_an_epoch_may_be_given() -> None:
    optimizer = sgd(0.4)
    bound = bind(linear(10), optimizer, counts="calls")
    for _ in range(5):
        update(optimizer)
        bound.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.1})
    assert optimizer.param_groups[1]["lr"] == 0.1 * linear(10)(5)

    bound.step(2)
    assert (bound.last_epoch, bound.get_last_lr()) == (2, [0.4 * linear(10)(2), 0.1 * linear(10)(2)])
    bound.release()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.1})
    assert optimizer.param_groups[2]["lr"] == 0.1
    assert copy.deepcopy(optimizer).param_groups[2]["lr"] == 0.1
    with pytest.raises(InputError, match="epoch must be left out"):
        bind(linear(10), sgd(0.1)).step(2)


def test_the_state_shows_what_torchs_schedulers_show() -> None:
    optimizer = sgd(0.4)
    bound = bind(linear(10), optimizer)
    updates(optimizer, bound, 3)
    state = bound.state_dict()

    assert (state["last_epoch"], state["_step_count"], state["_last_lr"]) == (3, 4, [0.4 * linear(10)(3)])
    older = {key: state[key] for key in ("schema", "step", "stepped", "asked", "followed")}
    fresh = bind(linear(10), sgd(0.4))
    fresh.load_state_dict(older)
    assert fresh.last_epoch == 3


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
@pytest.mark.parametrize("verb", ["bind", "watch", "guard"])
def test_a_compiled_step_is_compiled_once_and_calls_the_hooks(verb: str) -> None:
    """Hooks inside the graph were compiled again for each update, up to torch's limit."""
    graphs: list[Any] = []

    def backend(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    net = nn.Linear(2, 1, bias=False)
    optimizer = SGD(net.parameters(), lr=torch.tensor(0.4))
    follow: Any = watch if verb == "watch" else guard
    made: Any = bind(linear(10), optimizer) if verb == "bind" else follow(net, optimizer)
    torch.compiler.reset()
    step = torch.compile(optimizer.step, backend=backend)
    used = []
    for _ in range(9):
        before = net.weight.detach().clone()
        loss: Any = net(torch.ones(1, 2)).sum()
        loss.backward()
        step()
        used.append(float((before - net.weight.detach())[0, 0]))
        net.weight.grad = None
        made.step(*[] if verb == "bind" else [loss])

    assert len(graphs) <= 3
    assert used == pytest.approx([0.4 * (linear(10)(step) if verb == "bind" else 1) for step in range(9)], rel=1e-5)
    assert verb == "guard" or (made.last_epoch if verb == "bind" else made.record.step) == 9
