"""A training that goes on from a state is the training that never stopped; another schedule is never silent."""

from __future__ import annotations

import copy
import functools
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.bound_loops import adamw, idle, rates, sgd, update, watched
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from stepsize import bind
from stepsize.errors import InputError
from stepsize.schedules import (
    HyperparameterSchedule,
    Schedule,
    constant,
    cosine,
    exponential,
    function,
    linear,
    multi_step,
    one_cycle,
    one_cycle_momentum,
    points,
    warmup,
)
from stepsize.training import BoundScheduler

STEPS = 12
COURSE = HyperparameterSchedule(one_cycle(STEPS), momentum=one_cycle_momentum(STEPS), weight_decay="independent")
PLANS: dict[str, Callable[[Any], BoundScheduler]] = {
    "schedule": lambda optimizer: bind(cosine(warmup="20%"), optimizer, steps=STEPS),
    "course": lambda optimizer: bind(COURSE, optimizer),
    "groups": lambda optimizer: bind(linear(STEPS), optimizer, groups={1: COURSE}, lr=0.2),
    "calls": lambda optimizer: bind(COURSE, optimizer, counts="calls"),
}
MAKERS: dict[str, Callable[[list[dict[str, Any]]], Optimizer]] = {
    "momentum": lambda groups: SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.02),
    "adamw": lambda groups: AdamW(groups, lr=0.1),
}


def saved_and_loaded(value: Any) -> Any:
    """Through a file that is read without running any code."""
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def loss_of(net: nn.Module, step: int) -> Tensor:
    x = torch.sin(torch.arange(12.0).reshape(4, 3) * (1 + step))
    loss: Tensor = (net(x) - x.sum(1, keepdim=True)).square().mean()
    return loss


class Training:
    """A net, an optimizer and a bound schedule, and what every update was made with."""

    def __init__(self, optimizer: str, plan: str) -> None:
        torch.manual_seed(0)
        self.net = nn.Linear(3, 1)
        self.optimizer = MAKERS[optimizer]([{"params": [self.net.weight]}, {"params": [self.net.bias], "lr": 0.03}])
        self.bound = PLANS[plan](self.optimizer)
        self.step = 0

    def update(self, *, and_step: bool = True) -> None:
        self.optimizer.zero_grad()
        loss_of(self.net, self.step).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        if and_step:
            self.bound.step()

    def load(self, net: Any, optimizer: Any, bound: Any, step: int, *, bound_first: bool) -> None:
        self.net.load_state_dict(net)
        if bound_first:
            self.bound.load_state_dict(bound)
        self.optimizer.load_state_dict(optimizer)
        if not bound_first:
            self.bound.load_state_dict(bound)
        self.step = step

    def state(self) -> Any:
        return [self.net.state_dict(), self.optimizer.state_dict(), self.bound.state_dict()]


def assert_equal(one: Any, other: Any) -> None:
    if isinstance(one, Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        for a, b in zip(one, other, strict=True):
            assert_equal(a, b)
    else:
        assert one == other


@functools.cache
def uninterrupted(optimizer: str, plan: str) -> Training:
    training = Training(optimizer, plan)
    for _ in range(STEPS):
        training.update()
    return training


@given(
    optimizer=st.sampled_from(sorted(MAKERS)),
    plan=st.sampled_from(sorted(PLANS)),
    stops=st.lists(st.integers(0, STEPS), min_size=1, max_size=3).map(sorted),
    before_step=st.booleans(),
    bound_first=st.booleans(),
)
def test_resuming_anywhere_equals_never_having_stopped(
    optimizer: str, plan: str, stops: list[int], before_step: bool, bound_first: bool
) -> None:
    """Bit for bit, in either order of loading: pytorch#162591, torch-points3d#630, HF#27749, speculators#900."""
    before_step = before_step and plan != "calls"  # where a call that was not made yet is not counted
    training = Training(optimizer, plan)
    for stop in [*stops, STEPS]:
        while training.step < stop:
            training.update(and_step=not (before_step and training.step == stop - 1))
        net, of_optimizer, of_bound = saved_and_loaded(training.state())
        fresh = Training(optimizer, plan)
        fresh.load(net, of_optimizer, of_bound, training.step, bound_first=bound_first)
        assert fresh.bound.get_last_lr() == training.bound.get_last_lr()
        assert fresh.bound.get_lr() == training.bound.get_lr()
        training = fresh
    training.bound.step() if before_step else None
    assert_equal(training.state(), uninterrupted(optimizer, plan).state())


def test_the_state_is_a_step_and_texts() -> None:
    """Nothing dropped, nothing that only a pickle can hold: MultiStepLR #98921, SWALR #163105, LambdaLR's functions."""
    bound = bind(multi_step([3, 6]), sgd(0.1, 0.2), groups={1: COURSE})
    state = saved_and_loaded(bound.state_dict())
    assert state == bound.state_dict() == json.loads(json.dumps(state))
    assert {key: type(value) for key, value in state.items()} == {
        "schema": int,
        "step": int,
        "stepped": list,
        "asked": dict,
        "followed": type(None),
        "last_epoch": int,
        "_step_count": int,
        "_last_lr": list,
    }


@given(st.integers(0, 12))
def test_two_optimizers_resume_in_the_middle_of_a_round(stop: int) -> None:
    def make() -> tuple[list[Optimizer], BoundScheduler]:
        optimizers: list[Optimizer] = [sgd(0.1), adamw(0.2)]
        return optimizers, bind(cosine(12), optimizers)

    (first, second), bound = make()
    order = [first, second] * 6
    with watched(first) as whole:
        for index in range(12):
            if index == stop:
                states = saved_and_loaded([first.state_dict(), second.state_dict(), bound.state_dict()])
                break
            update(order[index])
        else:
            states = saved_and_loaded([first.state_dict(), second.state_dict(), bound.state_dict()])
    (third, fourth), again = make()
    again.load_state_dict(states[2])
    third.load_state_dict(states[0])
    fourth.load_state_dict(states[1])
    with watched(third) as of_third, watched(fourth) as of_fourth:
        for each in ([third, fourth] * 6)[stop:]:
            update(each)
    planned = cosine(12).factors()[:6]
    assert rates(whole) + rates(of_third) == (0.1 * planned).tolist()
    assert rates(of_fourth) == (0.2 * planned).tolist()[stop // 2 :]
    assert again.last_epoch == 6


def test_a_checkpoint_from_before_the_binding_keeps_the_plan() -> None:
    """No KeyError of 'initial_lr', and the peak is not the rate that stood in the file: speculators#1048."""
    old = sgd(0.1)
    old.param_groups[0]["lr"] = 0.0123
    checkpoint = old.state_dict()
    optimizer = sgd(0.1)
    bound = bind(linear(10), optimizer)
    optimizer.load_state_dict(checkpoint)
    with watched(optimizer) as seen:
        idle(optimizer, 2)
    assert rates(seen) == [0.1, 0.1 * 0.9]
    assert bound.base_lrs == [0.1]


def test_peaks_travel_with_the_optimizer() -> None:
    trained = sgd(0.4, 0.3)
    bound = bind(linear(10), trained)
    idle(trained, 3)
    fresh = sgd(0.1, 0.1)
    again = bind(linear(10), fresh)
    again.load_state_dict(bound.state_dict())
    fresh.load_state_dict(trained.state_dict())
    assert again.base_lrs == [0.4, 0.3]
    assert again.get_lr() == [0.4 * 0.7, 0.3 * 0.7]


# ----------------------------------------------------------- another schedule than before


def trained(
    schedule: Schedule | HyperparameterSchedule, step: int, optimizer: Optimizer | None = None, **options: Any
) -> BoundScheduler:
    optimizer = optimizer or sgd(0.1)
    bound = bind(schedule, optimizer, **options)
    idle(optimizer, step)
    return bound


def resumed(old: BoundScheduler, new: Schedule | HyperparameterSchedule, **options: Any) -> BoundScheduler:
    optimizer = copy.deepcopy(old.optimizer)
    bound = bind(new, optimizer, **options)
    bound.load_state_dict(saved_and_loaded(old.state_dict()))
    return bound


def test_another_horizon_is_refused_by_default_and_both_are_named() -> None:
    """The old one never wins silently, as T_max and total_steps do: HF#4383, open_clip#413, F5-TTS#1029."""
    old = trained(cosine(20), 8)
    bound = bind(cosine(30), sgd(0.1))
    before = bound.state_dict()
    with pytest.raises(
        InputError,
        match=r"schedule must be the one saved in the state \('cosine 20', at step 8\); "
        r"got 'cosine 30'.*on_change='continue'.*on_change='restart'",
    ):
        bound.load_state_dict(old.state_dict())
    assert bound.state_dict() == before
    assert bound.schedule == HyperparameterSchedule(cosine(30))


@pytest.mark.parametrize("new", [{}, {0: constant()}, {1: constant()}, {0: exponential(0.5), 1: constant()}])
def test_another_schedule_of_a_single_group_is_not_silent_either(new: Any) -> None:
    old = trained(linear(20), 8, sgd(0.1, 0.2), groups={0: exponential(0.5)})
    with pytest.raises(InputError, match=r"saved in the state .'linear 20; group 0: exp gamma=0.5"):
        resumed(old, linear(20), groups=new)
    assert resumed(old, linear(20), groups={0: exponential(0.5)}).last_epoch == 8


@pytest.mark.parametrize("step", [1, 7, 12, 19])
def test_continue_goes_on_along_the_new_one_without_a_leap(step: int) -> None:
    old = trained(cosine(20, end=0.1), step)
    bound = resumed(old, cosine(30, end=0.1), on_change="continue")
    assert bound.last_epoch == step
    assert bound.get_lr() == pytest.approx(old.get_lr(), rel=1e-12)
    with watched(bound.optimizer) as seen:
        idle(bound.optimizer, 30 - step)
    scale = cosine(20, end=0.1)(step) / cosine(30, end=0.1)(step)
    assert rates(seen) == pytest.approx([0.1 * scale * cosine(30, end=0.1)(t) for t in range(step, 30)], rel=1e-12)


def test_a_second_resume_with_the_same_script_keeps_the_changed_course() -> None:
    first = resumed(trained(cosine(20), 8), cosine(30), on_change="continue")
    idle(first.optimizer, 5)
    second = resumed(first, cosine(30), on_change="continue")
    assert second.schedule == first.schedule
    assert (second.last_epoch, second.get_lr()) == (13, first.get_lr())
    assert second.state_dict() == first.state_dict()
    third = resumed(second, cosine(30))  # even where a change would be refused
    assert (third.schedule, third.last_epoch) == (first.schedule, 13)
    fourth = resumed(third, linear(40), on_change="continue")
    assert fourth.get_lr() == pytest.approx(first.get_lr(), rel=1e-12)


def test_going_back_to_the_script_before_is_a_change_too() -> None:
    first = resumed(trained(cosine(20), 8), cosine(30), on_change="continue")
    with pytest.raises(InputError, match=r"saved in.*30.*got 'cosine 20'"):
        resumed(first, cosine(20))


def test_restart_begins_the_new_one_and_a_second_resume_does_not_begin_it_again() -> None:
    first = resumed(trained(cosine(20), 8), linear(5), on_change="restart")
    assert (first.last_epoch, first.get_lr()) == (0, [0.1])
    idle(first.optimizer, 3)
    assert first.state_dict()["followed"] is None
    second = resumed(first, linear(5), on_change="restart")
    assert second.last_epoch == 3


def test_the_choice_can_be_made_at_loading() -> None:
    old = trained(cosine(20), 8)
    bound = bind(linear(30), sgd(0.1))
    bound.load_state_dict(old.state_dict(), on_change="restart")
    assert bound.last_epoch == 0
    with pytest.raises(InputError, match="on_change must be one of: error, continue, restart"):
        bound.load_state_dict(old.state_dict(), on_change="go on")  # type: ignore[arg-type]


def test_momentum_and_decay_take_the_new_course_and_what_it_leaves_alone_is_put_back() -> None:
    optimizer = sgd(0.1)
    old = trained(
        HyperparameterSchedule(linear(20), momentum=points({0: 0.95, 20: 0.5}), weight_decay="corrected"), 8, optimizer
    )
    fresh = sgd(0.1)
    bound = bind(linear(30), fresh, on_change="continue")
    bound.load_state_dict(old.state_dict())
    fresh.load_state_dict(optimizer.state_dict())
    group = fresh.param_groups[0]
    assert group["momentum"] != 0.9, "the file holds what was scheduled"
    idle(bound.optimizer, 1)
    assert (group["momentum"], group["weight_decay"]) == (0.9, 0.01)
    moved = resumed(bound, HyperparameterSchedule(linear(40), momentum=points({0: 0.6, 40: 0.7})), on_change="continue")
    with watched(moved.optimizer) as seen:
        idle(moved.optimizer, 1)
    assert seen[0][0]["momentum"] == points({0: 0.6, 40: 0.7})(9)


def test_groups_that_come_under_another_schedule_do_not_leap_either() -> None:
    optimizer = sgd(0.1, 0.2, 0.3)
    old = trained(linear(20), 10, optimizer, groups={1: linear(40)})
    bound = resumed(old, linear(30), groups={2: constant(30)}, on_change="continue")
    assert bound.get_lr() == pytest.approx([0.1 * 0.5, 0.2 * 0.75, 0.3 * 0.5], rel=1e-12)
    idle(bound.optimizer, 5)
    half, whole = linear(30)(15) / linear(30)(10), 1.0
    planned = [0.1 * 0.5 * half, 0.2 * 0.75 * half, 0.3 * 0.5 * whole]
    assert bound.get_lr() == pytest.approx(planned, rel=1e-12)
    again = resumed(bound, linear(30), groups={2: constant(30)})
    assert again.get_lr() == bound.get_lr()


def test_a_group_whose_schedule_did_not_change_stays_on_what_it_follows() -> None:
    old = trained(linear(20), 10, sgd(0.1, 0.2), groups={1: exponential(0.9)})
    bound = resumed(old, linear(30), groups={1: exponential(0.9)}, on_change="continue")
    idle(bound.optimizer, 3)
    assert bound.get_lr()[1] == 0.2 * exponential(0.9)(13)


def test_a_training_that_ran_past_its_end_goes_on_from_the_factor_that_it_held() -> None:
    with pytest.warns(UserWarning, match="ended at step 10"):
        old = trained(linear(10, end=0.25), 14)
    bound = resumed(old, linear(20, end=0.25), on_change="continue")
    assert bound.get_lr() == pytest.approx([0.1 * 0.25], rel=1e-12)


def test_nothing_has_happened_at_step_0_that_could_leap() -> None:
    bound = resumed(
        trained(warmup(5, start=0.0, endpoints="start").then(linear(5)), 0), linear(20), on_change="continue"
    )
    assert bound.schedule == HyperparameterSchedule(linear(20))


IMPOSSIBLE: dict[str, tuple[Any, int, Any, str]] = {
    "over already": (linear(20), 12, linear(10), r"ends before the 12 updates already made; got.*on_change='restart'"),
    "at zero": (linear(10), 10, linear(20), r"on_change is not possible at step 10: .*factor 0.*on_change='restart'"),
    "from a function": (
        function(lambda t: 1 / (1 + t), 20),
        5,
        linear(20),
        r"on_change cannot continue from 'function <lambda> 20'.* \.tabulated\(\).*on_change='restart'",
    ),
    "to a function": (linear(20), 5, function(lambda t: 1 / (1 + t), 20), r"a function.*\.tabulated\(\) instead"),
    "to a momentum of a function": (
        linear(20),
        5,
        HyperparameterSchedule(linear(20), momentum=function(lambda t: 0.5, 20)),
        r"a function.*\.tabulated\(\) instead",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_where_it_cannot_continue_it_says_why_and_changes_nothing(name: str) -> None:
    before, step, after, message = IMPOSSIBLE[name]
    old = trained(before, step)
    bound = bind(after, sgd(0.1), on_change="continue")
    untouched = bound.state_dict()
    with pytest.raises(InputError, match=message):
        bound.load_state_dict(old.state_dict())
    assert bound.state_dict() == untouched


def test_tabulated_a_function_can_be_left_for_another_schedule() -> None:
    old = trained(function(lambda t: 1 / (1 + t), 20).tabulated(), 4)
    assert resumed(old, linear(20), on_change="continue").get_lr() == pytest.approx([0.1 / 5], rel=1e-12)


def halved(step: int) -> float:
    return float(0.5**step)


def test_a_function_is_recognised_by_its_factors_whatever_its_name() -> None:
    """A function's state is not dropped in silence as LambdaLR does: HF#21689, real-world-sr#15."""
    old = trained(function(halved, 20), 6)
    assert resumed(old, function(halved, 20)).last_epoch == 6
    assert resumed(old, function(lambda t: 0.5**t, 20)).last_epoch == 6
    for other in (function(lambda t: 0.5 ** (t + 1), 20), function(halved, 30), function(halved), exponential(0.5)):
        with pytest.raises(InputError, match=r"saved in the state .'function halved 20"):
            resumed(old, other)


def test_a_function_for_one_group_stays_while_the_rest_changes() -> None:
    old = trained(linear(20), 6, sgd(0.1, 0.2), groups={1: function(halved)})
    bound = resumed(old, linear(40), groups={1: function(halved)}, on_change="continue")
    assert bound.get_lr() == pytest.approx([0.1 * 0.7, 0.2 * 0.5**6], rel=1e-12)
    again = resumed(bound, linear(40), groups={1: function(halved)})
    assert again.get_lr() == bound.get_lr()


def torch_state() -> dict[str, Any]:
    return CosineAnnealingLR(sgd(), 10).state_dict()


BAD_STATES: dict[str, tuple[Any, str]] = {
    "of torch": (torch_state(), r"state_dict must be what a BoundScheduler saved.*\{\*\*bound.state_dict\(\), 'step'"),
    "no mapping": ([1], "state_dict must be what a BoundScheduler saved"),
    "newer": ({"schema": 3}, "schema must be 2.*Another version"),
    "negative": ({"step": -1}, "step must be a whole number of updates, at least 0"),
    "broken": ({"step": 1.5}, "step must be a whole number of updates"),
    "true": ({"step": True}, "step must be a whole number of updates"),
    "strangers": ({"stepped": [1]}, "stepped must contain numbers of the 1 optimizers"),
    "no list": ({"stepped": None}, "stepped must contain numbers of the 1 optimizers"),
    "nothing": ({"asked": None}, "asked must be what a BoundScheduler saved"),
    "a text": ({"asked": "{"}, "asked must be what a BoundScheduler saved"),
    "other groups": ({"asked": {"all": {}, "some": {}}}, "asked must be what a BoundScheduler saved"),
    "no schedule": ({"asked": {"all": {"rate": "linear 9"}}}, "state_dict must describe a schedule"),
    "a bad schedule": ({"asked": {"all": {"rate": "linaer", "rule": None, "keep_effective": False}}}, "cannot be read"),
    "a list": ({"followed": []}, "followed must be what a BoundScheduler saved"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_what_is_no_state_is_refused_and_changes_nothing(name: str) -> None:
    bad, message = BAD_STATES[name]
    bound = trained(linear(10), 3)
    before = bound.state_dict()
    state = {**before, **bad} if isinstance(bad, dict) and name != "of torch" else bad
    with pytest.raises(InputError, match=message):
        bound.load_state_dict(state)
    assert bound.state_dict() == before
