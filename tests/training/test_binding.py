"""A bound schedule gives an optimizer exactly the planned values."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.bound_loops import adamw, idle, rates, sgd, update, watched
from torch import nn
from torch.optim import LBFGS, SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LRScheduler, SequentialLR

from stepsize import bind
from stepsize.errors import InputError
from stepsize.schedules import (
    SCHEDULES,
    Clock,
    HyperparameterSchedule,
    Peaks,
    Schedule,
    constant,
    cosine,
    exponential,
    function,
    linear,
    one_cycle,
    one_cycle_momentum,
    points,
    preview,
    step_decay,
    warmup,
)

LONG = 2_300  # more than two blocks of evaluation


@functools.cache
def typical(name: str) -> Schedule:
    return SCHEDULES[name].typical(LONG)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_update_is_made_at_the_rate_that_the_preview_shows_to_the_last_bit(name: str) -> None:
    """One truth for plotting and training: pytorch#168044, #152081; and no off-by-one: HF#34754, torchtitan#1261."""
    schedule = typical(name)
    optimizer = sgd(0.3)
    bound = bind(schedule, optimizer)
    with watched(optimizer) as seen:
        for _ in range(LONG):
            optimizer.step()
            bound.step()
    planned = preview(schedule, Peaks(lr=0.3)).values.lr
    assert rates(seen) == planned[:-1].tolist()
    assert bound.get_last_lr() == [planned[-1]]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_factor_is_the_same_to_the_last_bit_alone_in_a_block_and_in_a_preview(name: str) -> None:
    schedule = typical(name)
    at_once = preview(schedule, Peaks(lr=1.0)).factors.tolist()
    steps = np.arange(LONG + 1, dtype=np.float64)
    assert [schedule(step) for step in range(LONG + 1)] == at_once
    assert [f for begin in range(0, LONG + 1, 1024) for f in schedule(steps[begin : begin + 1024])] == at_once


@given(st.sampled_from(sorted(SCHEDULES)), st.integers(0, LONG + 50))
def test_the_rate_of_a_step_does_not_depend_on_where_the_training_went_on(name: str, step: int) -> None:
    schedule = typical(name)
    bound = bind(schedule, sgd(0.3))
    bound.load_state_dict({**bound.state_dict(), "step": step})
    assert bound.get_lr() == [0.3 * schedule(step)]


FALLING = points({0: 0.95, 700: 0.85, LONG: 0.9})
COURSES = {
    "momentum": HyperparameterSchedule(one_cycle(LONG), momentum=one_cycle_momentum(LONG)),
    "effective": HyperparameterSchedule(one_cycle(LONG), momentum=FALLING.over(LONG), keep_effective=True),
    "independent": HyperparameterSchedule(cosine(LONG, warmup=100), weight_decay="independent"),
    "corrected": HyperparameterSchedule(cosine(LONG, warmup=100), weight_decay="corrected"),
    "decay": HyperparameterSchedule(cosine(LONG), momentum=FALLING.over(LONG), weight_decay=linear(LONG, end=0.5)),
}


@pytest.mark.parametrize(
    ("name", "make"),
    [*((name, sgd) for name in COURSES), *((name, adamw) for name in COURSES if name != "effective")],
)
def test_momentum_and_weight_decay_are_those_of_the_preview_to_the_last_bit(name: str, make: Any) -> None:
    """What moves beside the rate is asked for and shown, not overwritten without notice: Moonlight#34."""
    course = COURSES[name]
    optimizer = make(0.3, 0.02)
    bind(course, optimizer)
    with watched(optimizer) as seen:
        idle(optimizer, LONG)
    for number, lr in enumerate((0.3, 0.02)):
        group = optimizer.param_groups[number]
        peaks = Peaks(lr=lr, momentum=0.9, weight_decay=0.01 if make is sgd else 0.1)
        planned = preview(course, peaks).values
        assert planned.momentum is not None
        assert planned.weight_decay is not None
        assert rates(seen, number) == planned.lr[:-1].tolist()
        momenta = [at[number]["betas"][0] if "betas" in group else at[number]["momentum"] for at in seen]
        assert momenta == planned.momentum[:-1].tolist()
        assert [at[number]["weight_decay"] for at in seen] == planned.weight_decay[:-1].tolist()
        assert type(group["lr"]) is float
        assert all(at[number].get("betas", (0, 0.999))[1] == 0.999 for at in seen)


def test_a_course_that_moves_nothing_else_leaves_everything_else_alone() -> None:
    optimizer = adamw(0.1)
    before = dict(optimizer.param_groups[0])
    bind(cosine(10), optimizer)
    idle(optimizer, 5)
    after = dict(optimizer.param_groups[0])
    assert set(after) - set(before) == {"initial_lr"}
    assert {key for key in before if after[key] is not before[key]} == {"lr"}


def test_groups_keep_their_ratios() -> None:
    """Layer-wise rates are not flattened: katsura-jp#14, hi-ml#611."""
    optimizer = sgd(0.1, 0.02, 0.005)
    bind(linear(10), optimizer)
    with watched(optimizer) as seen:
        idle(optimizer, 8)
    planned = linear(10).factors()[:8]
    assert [rates(seen, i) for i in range(3)] == [(lr * planned).tolist() for lr in (0.1, 0.02, 0.005)]


@pytest.mark.parametrize("counts", ["updates", "calls"])
def test_a_group_that_is_added_later_is_scheduled_from_its_own_rate_on(counts: Any) -> None:
    """A newly unfrozen layer follows too: pytorch#79888, and nothing fails: #20997."""
    optimizer = sgd(0.1)
    bound = bind(linear(10), optimizer, counts=counts)
    for _ in range(4):
        update(optimizer)
        bound.step()
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.5})
    assert bound.base_lrs == [0.1, 0.5]
    assert bound.get_lr() == [0.1 * linear(10)(4), 0.5 * linear(10)(4)]
    if counts == "calls":
        update(optimizer)  # without a hook nothing can be written before the first call
        bound.step()
    with watched(optimizer) as seen:
        update(optimizer)
    step = bound.last_epoch - (counts == "updates")
    assert rates(seen, 1) == [0.5 * linear(10)(step)]
    assert optimizer.param_groups[1]["initial_lr"] == 0.5


def test_single_groups_follow_their_own_schedules() -> None:
    """Schedule only some groups: pytorch#67761."""
    optimizer = sgd(0.1, 0.2, 0.3)
    own = HyperparameterSchedule(constant(), momentum=points({0: 0.9, 6: 0.5}, steps=6))
    bind(linear(10), optimizer, groups={1: constant(), 2: own}, steps=None)
    with watched(optimizer) as seen:
        idle(optimizer, 5)
    assert rates(seen, 0) == (0.1 * linear(10).factors()[:5]).tolist()
    assert rates(seen, 1) == [0.2] * 5
    assert rates(seen, 2) == [0.3] * 5
    assert own.momentum is not None
    assert [at[2]["momentum"] for at in seen] == own.momentum(np.arange(5.0)).tolist()
    assert [at[0]["momentum"] for at in seen] == [0.9] * 5


def test_a_group_that_is_added_beside_groups_with_their_own_schedules_follows_the_main_one() -> None:
    optimizer = sgd(0.1, 0.2)
    bind(linear(10), optimizer, groups={1: constant()})
    idle(optimizer, 2)
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.5, "initial_lr": 0.8})
    with watched(optimizer) as seen:
        idle(optimizer, 1)
    assert [rates(seen, i) for i in range(3)] == [[0.1 * 0.8], [0.2], [0.8 * 0.8]]


def test_numbers_of_groups_count_over_all_optimizers_and_do_not_move_when_one_is_added() -> None:
    first, second = sgd(0.1, 0.2), adamw(0.3, 0.4)
    bind(linear(10), [first, second], groups={3: constant()})
    first.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.7})
    with watched(first) as of_first, watched(second) as of_second:
        for _ in range(3):
            update(first, second)
    factors = linear(10).factors()[:3]
    assert [rates(of_first, i) for i in range(3)] == [(lr * factors).tolist() for lr in (0.1, 0.2, 0.7)]
    assert [rates(of_second, i) for i in range(2)] == [(0.3 * factors).tolist(), [0.4] * 3]


def test_one_rate_is_the_peak_of_the_highest_group_and_the_others_keep_their_ratio() -> None:
    optimizer = sgd(0.1, 0.02)
    bound = bind(constant(), optimizer, lr=0.5)
    assert bound.base_lrs == [0.5, 0.5 * (0.02 / 0.1)]
    assert [group["lr"] for group in optimizer.param_groups] == bound.base_lrs
    several = bind(linear(4), [sgd(0.1, 0.2), adamw(0.3)], lr=[1.0, 0.0, 3])  # one for each group
    assert several.get_last_lr() == several.base_lrs == [1.0, 0.0, 3.0]


def test_binding_again_starts_from_the_peak_and_not_from_the_rate_that_it_had_come_down_to() -> None:
    """A second scheduler is not seeded from a rate that has decayed: pytorch#60265."""
    optimizer = sgd(0.1)
    first = bind(linear(10), optimizer)
    idle(optimizer, 7)
    first.release()
    second = bind(linear(20), optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert second.base_lrs == [0.1]


def test_a_rate_in_a_tensor_is_filled_and_never_replaced() -> None:
    tensors = [torch.tensor(0.5), torch.tensor(0.25)]
    optimizer = AdamW([{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in tensors], foreach=False)
    bound = bind(linear(8), optimizer)
    for _ in range(4):
        update(optimizer)
        bound.step()
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.125]
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, tensors, strict=True))
    assert optimizer.param_groups[0]["initial_lr"] == 0.5
    assert type(optimizer.param_groups[0]["initial_lr"]) is float
    last, coming = bound.get_last_lr()[0], bound.get_lr()[0]
    assert isinstance(last, torch.Tensor)
    assert isinstance(coming, torch.Tensor)
    last.zero_()
    assert tensors[0] == coming == 0.25


def test_a_momentum_in_a_tensor_is_filled_and_never_replaced() -> None:
    betas = (torch.tensor(0.75), torch.tensor(0.999))
    optimizer = AdamW([nn.Parameter(torch.ones(1))], lr=torch.tensor(0.5), betas=betas, foreach=False, capturable=False)
    bind(HyperparameterSchedule(linear(4), momentum=points({0: 0.75, 4: 0.25})), optimizer)
    idle(optimizer, 3)
    assert optimizer.param_groups[0]["betas"][0] is betas[0]
    assert betas[0] == 0.5


def test_open_durations_are_settled_by_the_horizon() -> None:
    clock = Clock(batch_size=8, steps_per_epoch=50)
    schedule = cosine(warmup="1ep")
    bound = bind(schedule, sgd(), groups={0: linear(warmup="10%")}, steps="4ep", clock=clock)
    assert bound.schedule.rate == schedule.over(200, clock)
    assert bound.get_lr() == [0.1 * linear(warmup="10%").over(200)(0)]
    bounded = bind(schedule, sgd(), clock=Clock(horizon=200, steps_per_epoch=50))
    assert bounded.schedule == bound.schedule


def test_a_schedule_may_be_written_down() -> None:
    bound = bind("warmup 10%, cosine", sgd(), groups={0: "linear"}, steps=50)

    assert bound.schedule.rate == cosine(50, warmup=5)
    assert bound.get_lr() == bind(linear(50), sgd()).get_lr()


def test_behind_the_end_the_last_factor_is_held_and_the_first_update_there_warns_once() -> None:
    """A training that is longer than its schedule does not raise: pytorch#91765, #38170, hearai#98."""
    optimizer = sgd(0.1)
    bound = bind(linear(3, end=0.25), optimizer)
    for _ in range(3):
        update(optimizer)
        bound.step()
    with watched(optimizer) as seen:
        with pytest.warns(UserWarning, match=r"ended at step 3 but .* Use a longer horizon"):
            update(optimizer)
        for _ in range(1_100):
            optimizer.step()
            bound.step()
    assert set(rates(seen)) == {0.1 * 0.25}
    assert bound.last_epoch == 1_104


def test_what_has_no_end_never_warns_and_the_longest_of_several_decides() -> None:
    endless = sgd()
    bind(exponential(0.5), endless)
    idle(endless, 2_000)
    grouped = sgd(0.1, 0.1)
    bind(linear(5), grouped, groups={1: linear(8)})
    idle(grouped, 8)
    with pytest.warns(UserWarning, match="ended at step 8"):
        idle(grouped, 1)


def test_a_multiplier_multiplies_all_rates_and_stays_out_of_the_state() -> None:
    optimizer = sgd(0.1, 0.02)
    bound = bind(HyperparameterSchedule(linear(10), weight_decay="independent"), optimizer)
    assert bound.multiplier == 1.0
    state = bound.state_dict()
    bound.multiplier = 0.5
    with watched(optimizer) as seen:
        idle(optimizer, 2)
    assert rates(seen, 0) == [0.1 * 0.5, 0.1 * (linear(10)(1) * 0.5)]
    assert rates(seen, 1) == [0.02 * 0.5, 0.02 * (linear(10)(1) * 0.5)]
    assert [at[0]["weight_decay"] for at in seen] == [0.01 / 0.5, 0.01 / (0.9 * 0.5)]
    moved = ("step", "last_epoch", "_step_count", "_last_lr")
    assert {**bound.state_dict(), **{key: state[key] for key in moved}} == state
    bound.load_state_dict(state)
    assert bound.multiplier == 0.5


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "half"])
def test_a_multiplier_is_a_finite_number(value: Any) -> None:
    bound = bind(constant(), sgd())
    with pytest.raises(InputError, match="multiplier must be a finite number, at least 0"):
        bound.multiplier = value
    assert bound.multiplier == 1.0


def test_it_is_a_torch_scheduler_to_others() -> None:
    """Reading back is unambiguous: what stands in the groups, and what the next update takes: optax#206."""
    optimizer = sgd(0.1)
    bound = bind(linear(10), optimizer)
    assert isinstance(bound, LRScheduler)
    assert (bound.optimizer, bound.optimizers) == (optimizer, (optimizer,))
    assert (bound.last_epoch, bound._step_count, bound._last_lr) == (0, 1, [0.1])
    update(optimizer)
    assert bound.last_epoch == 1
    assert bound.get_last_lr() == [0.1], "the rate of the update just made, until step() shows the next"
    assert bound.get_lr() == [0.1 * 0.9]
    bound.step()
    assert bound.get_last_lr() == bound._last_lr == [0.1 * 0.9] == [group["lr"] for group in optimizer.param_groups]
    assert (bound.last_epoch, bound._step_count) == (1, 2)
    assert repr(bound) == "BoundScheduler(linear 10, updates made: 1)"


def test_what_torch_code_may_try_is_refused_with_the_way_to_do_it() -> None:
    """No recursive composition that loses steps: pytorch#196243, #185872, #162591."""
    optimizer = sgd()
    bound = bind(linear(10), optimizer)
    with pytest.raises(InputError, match=r"epoch must be left out of .step\(\).*load_state_dict"):
        bound.step(3)
    with pytest.raises(InputError, match=r"last_epoch cannot be set.* Join schedules with .then"):
        SequentialLR(optimizer, [ConstantLR(optimizer), bound], [2])
    with pytest.raises(InputError, match=r"base_lrs cannot be set.* Set group\['initial_lr'\]"):
        bound.base_lrs = [1.0]
    assert bound.last_epoch == 0


def test_the_group_holds_the_peak_and_changing_it_changes_the_rate() -> None:
    optimizer = sgd(0.1)
    bind(linear(10), optimizer)
    optimizer.param_groups[0]["initial_lr"] = 0.4
    with watched(optimizer) as seen:
        idle(optimizer, 2)
    assert rates(seen) == [0.4, 0.4 * 0.9]


def test_a_group_that_is_exchanged_in_place_is_adopted() -> None:
    optimizer = sgd(0.1)
    bind(linear(10), optimizer)
    optimizer.param_groups[0] = {**sgd(0.3).param_groups[0]}
    with watched(optimizer) as seen:
        idle(optimizer, 2)
    assert rates(seen) == [0.1, 0.1 * 0.9], "the place keeps its peak"


def test_a_torch_scheduler_from_before_leaves_its_peak() -> None:
    optimizer = AdamW([nn.Parameter(torch.ones(1))], lr=torch.tensor(0.5), foreach=False)
    LambdaLR(optimizer, lambda step: 0.5)
    bound = bind(linear(4), optimizer)
    assert bound.base_lrs == [0.5]
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert type(optimizer.param_groups[0]["initial_lr"]) is float


def test_a_loaded_state_may_hold_its_peak_in_a_tensor() -> None:
    other = SGD([nn.Parameter(torch.ones(1))], lr=torch.tensor(0.5), foreach=False)
    LambdaLR(other, lambda step: 0.5)
    optimizer = plain()
    bind(linear(4), optimizer)
    optimizer.step()
    loaded = other.state_dict()
    loaded["param_groups"][0]["lr"] = 0.25  # while initial_lr stays a tensor
    optimizer.load_state_dict(loaded)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.5 * 0.75
    assert type(optimizer.param_groups[0]["lr"]) is float


def plain(lr: float = 0.1) -> SGD:
    return SGD([nn.Parameter(torch.ones(1))], lr=lr)


def holding(optimizer: Optimizer, **values: Any) -> Optimizer:
    optimizer.param_groups[0].update(values)
    return optimizer


MOVING = points({0: 0.9, 10: 0.5})
WRONG: dict[str, tuple[Any, Any, dict[str, Any], str]] = {
    "no schedule": (
        0.5,
        plain,
        {},
        "schedule must be a Schedule, its written form or a HyperparameterSchedule.*function",
    ),
    "text that is no schedule": ("cosin", plain, {"steps": 9}, "'cosin' is not a schedule. Did you mean 'cosine'"),
    "open": (cosine(warmup="5%"), plain, {}, "schedule must have all durations in steps.*Pass steps="),
    "open group": (linear(9), plain, {"groups": {0: cosine()}}, "groups must have all durations in steps"),
    "other length": (linear(9), plain, {"steps": 20}, "must last as long as the horizon"),
    "epochs": (cosine(warmup="1ep"), plain, {"steps": 10}, "needs steps_per_epoch"),
    "no group": (linear(9), plain, {"groups": {1: constant()}}, "groups must have numbers of parameter groups.*0 to 0"),
    "negative group": (linear(9), plain, {"groups": {-1: constant()}}, "groups must have numbers of parameter groups"),
    "group value": (
        linear(9),
        plain,
        {"groups": {0: 0.1}},
        "groups must be a Schedule, its written form or a HyperparameterSchedule",
    ),
    "lr": (linear(9), plain, {"lr": -1.0}, "lr must be a finite number, at least 0"),
    "lr text": (linear(9), plain, {"lr": "high"}, "lr must be a finite number, at least 0"),
    "lr nan": (linear(9), plain, {"lr": [float("nan")]}, "lr must be a finite number, at least 0"),
    "lr count": (linear(9), plain, {"lr": [0.1, 0.2]}, "lr must be one rate, or one for each of the 1 parameter"),
    "lr of zeros": (linear(9), lambda: plain(0.0), {"lr": 0.1}, "needs a group that has one > 0.*rate for each"),
    "infinite lr": (linear(9), lambda: holding(plain(), lr=float("inf")), {}, "lr must be a finite number, at least 0"),
    "on_change": (linear(9), plain, {"on_change": "ignore"}, "on_change must be one of: error, continue, restart"),
    "counts": (linear(9), plain, {"counts": "epochs"}, "counts must be one of: updates, calls"),
    "no momentum": (
        HyperparameterSchedule(linear(10), momentum=MOVING),
        lambda: torch.optim.Adagrad([nn.Parameter(torch.ones(1))]),
        {},
        "momentum cannot be scheduled; got 'group 0 of Adagrad with neither momentum nor betas'.*Leave momentum out",
    ),
    "effective betas": (
        HyperparameterSchedule(linear(10), momentum=MOVING, keep_effective=True),
        adamw,
        {},
        "keep_effective is for heavy-ball momentum; got 'group 0 of AdamW with betas'.*Leave keep_effective out",
    ),
    "no decay": (
        HyperparameterSchedule(linear(10), weight_decay="corrected"),
        lambda: LBFGS([nn.Parameter(torch.ones(1))]),
        {},
        "weight_decay cannot be scheduled; got 'group 0 of LBFGS without weight_decay'.*Leave weight_decay out",
    ),
    "momentum of one": (
        HyperparameterSchedule(linear(10), momentum=points({0: 0.9, 7: 1.0, 8: 0.9})),
        sgd,
        {},
        r"momentum must stay in \[0, 1\)",
    ),
    "momentum of one in a group": (
        linear(10),
        sgd,
        {"groups": {0: HyperparameterSchedule(linear(10), momentum=step_decay(9, gamma=2))}},
        r"momentum must stay in \[0, 1\)",
    ),
    "negative factor": (function(lambda t: 5.0 - t, 10), plain, {}, "function must return a finite factor >= 0"),
    "NaN factor": (function(lambda t: float("nan"), 10), plain, {}, "function must return a finite factor >= 0"),
}


@pytest.mark.parametrize("counts", ["updates", "calls"])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_says_what_to_do_and_changes_nothing(name: str, counts: str) -> None:
    schedule, make, options, message = WRONG[name]
    optimizer = make()
    before = [dict(group) for group in optimizer.param_groups]
    with pytest.raises(InputError, match=message):
        bind(schedule, optimizer, **{"counts": counts, **options})
    assert [dict(group) for group in optimizer.param_groups] == before
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_load_state_dict_post_hooks
    bind(constant(), plain() if name == "infinite lr" else optimizer)


def test_the_second_of_two_optimizers_being_wrong_leaves_the_first_untouched() -> None:
    first, second = sgd(), torch.optim.Adagrad([nn.Parameter(torch.ones(1))])
    with pytest.raises(InputError, match="group 0 of Adagrad"):
        bind(HyperparameterSchedule(linear(10), momentum=MOVING), [first, second])
    assert "initial_lr" not in first.param_groups[0]
    assert not first._optimizer_step_pre_hooks


@pytest.mark.parametrize("optimizer", [None, "adam", nn.Linear(1, 1), [], [3]])
def test_an_optimizer_is_asked_for(optimizer: Any) -> None:
    with pytest.raises(InputError, match="optimizer must be"):
        bind(linear(3), optimizer)
    twice = [sgd()] * 2
    with pytest.raises(InputError, match="each only once"):
        bind(linear(3), twice)


def test_an_optimizer_that_runs_no_hooks_is_told_to_count_calls() -> None:
    class Wrapper(Optimizer):
        def __init__(self, inner: Optimizer) -> None:
            self.inner = inner
            self.param_groups = inner.param_groups

        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            self.inner.step()

    wrapped = Wrapper(sgd())
    with pytest.raises(InputError, match=r"does not run torch's step hooks; got 'Wrapper'.*inside a wrapper.*calls"):
        bind(linear(3), wrapped)


def test_a_function_is_not_asked_behind_its_end() -> None:
    table = [1.0, 0.5, 0.25]
    optimizer = sgd()
    bound = bind(function(table.__getitem__, 2), optimizer)
    for _ in range(2):
        update(optimizer)
        bound.step()
    with pytest.warns(UserWarning, match="ended at step 2"):
        update(optimizer)
    assert bound.get_last_lr() == [0.1 * 0.25]


def test_a_function_that_breaks_its_rule_late_is_named_when_it_is_reached() -> None:
    """The probes at binding may miss it; no update is made at such a rate."""
    optimizer = sgd()
    bind(function(lambda t: -1.0 if t == 1_500 else 1.0, 100_000), optimizer)
    with watched(optimizer) as seen, pytest.raises(InputError, match=r"called with step 1500"):
        idle(optimizer, 1_600)
    assert len(seen) == 1_024


def test_warm_up_and_other_schedules_join_to_one(  # the naive twin of the whole binding, in a user's own loop
) -> None:
    schedule: Schedule = warmup(5).then(constant(10)).then(linear(5))
    by_hand, bound_one = sgd(0.3, 0.01), sgd(0.3, 0.01)
    bind(schedule, bound_one)
    for step in range(20):
        for group, peak in zip(by_hand.param_groups, (0.3, 0.01), strict=True):
            group["lr"] = peak * schedule(step)
        update(by_hand, bound_one)
    for one, other in zip(by_hand.param_groups, bound_one.param_groups, strict=True):
        assert torch.equal(one["params"][0], other["params"][0])
