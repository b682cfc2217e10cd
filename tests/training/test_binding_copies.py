"""A bound schedule holds its optimizer alone, lets it go, and is copied together with it."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from tests.training.bound_loops import idle, rates, sgd, update, watched

from stepsize import bind
from stepsize.errors import InputError
from stepsize.schedules import constant, cosine, linear

ETA = cosine(20, warmup=4)


def roundtrip(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def test_the_result_need_not_be_kept() -> None:
    optimizer = sgd()
    bind(ETA, optimizer)
    gc.collect()
    with watched(optimizer) as seen:
        idle(optimizer, 6)
    assert rates(seen) == (0.1 * ETA.factors()[:6]).tolist()


def test_it_lives_as_long_as_its_optimizer_and_no_longer() -> None:
    optimizer = sgd()
    alive = weakref.ref(bind(ETA, optimizer))
    gc.collect()
    assert alive() is not None
    del optimizer
    gc.collect()
    assert alive() is None


def test_counting_calls_it_lives_as_long_as_it_can_be_called() -> None:
    optimizer = sgd()
    bound = bind(ETA, optimizer, counts="calls")
    with pytest.raises(InputError, match="follows a schedule already"):
        bind(ETA, optimizer, counts="calls")
    bound.release()
    bound = bind(ETA, optimizer, counts="calls")
    bound.step()
    assert bound.get_last_lr() == [0.1 * ETA(1)]


@pytest.mark.parametrize("first", ["updates", "calls"])
@pytest.mark.parametrize("second", ["updates", "calls"])
def test_two_at_once_are_refused_before_anything_changes(first: Any, second: Any) -> None:
    optimizer = sgd()
    bound = bind(ETA, optimizer, counts=first)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(InputError, match=r"optimizer follows a schedule already; got 'SGD'. Call .release\(\)"):
        bind(constant(), [sgd(), optimizer], lr=[3.0, 3.0], counts=second)
    assert optimizer.param_groups[0] == before
    bound.release()
    bind(constant(), optimizer, counts=second)


@pytest.mark.parametrize("counts", ["updates", "calls"])
def test_a_released_one_drives_nothing_and_says_so(counts: Any) -> None:
    optimizer = sgd()
    bound = bind(linear(10), optimizer, counts=counts)
    update(optimizer)
    bound.step()
    bound.release()
    bound.release()
    assert not optimizer._optimizer_step_pre_hooks
    assert not optimizer._optimizer_step_post_hooks
    assert not optimizer._optimizer_load_state_dict_post_hooks
    optimizer.param_groups[0]["lr"] = 7.0
    update(optimizer)
    assert optimizer.param_groups[0]["lr"] == 7.0
    with pytest.raises(InputError, match=r"a released one.*Bind the schedule again"):
        bound.step()
    copied = copy.deepcopy(bound)
    with pytest.raises(InputError, match="a released one"):
        copied.step()


@pytest.mark.parametrize("copier", [copy.deepcopy, roundtrip])
@pytest.mark.parametrize("counts", ["updates", "calls"])
def test_a_copy_drives_the_copied_optimizer_and_the_original_its_own(copier: Any, counts: Any) -> None:
    """Schedules pickle, whatever they are made of: HF#21689, pytorch#9927, CyclicLR #110931."""
    optimizer = sgd()
    bound = bind(ETA, optimizer, counts=counts)
    for _ in range(3):
        update(optimizer)
        bound.step()
    other, twin = copier((optimizer, bound))
    assert twin.optimizer is other
    assert twin.optimizer is not optimizer
    hooks = 1 if counts == "updates" else 0
    assert len(optimizer._optimizer_step_pre_hooks) == len(other._optimizer_step_pre_hooks) == hooks
    with watched(other) as of_other:
        for _ in range(4):
            update(other)
            twin.step()
    with watched(optimizer) as of_optimizer:
        for _ in range(2):
            update(optimizer)
            bound.step()
    planned = (0.1 * ETA.factors()).tolist()
    assert (rates(of_other), rates(of_optimizer)) == (planned[3:7], planned[3:5])
    assert (bound.last_epoch, twin.last_epoch) == (5, 7)


def test_several_optimizers_are_copied_in_the_middle_of_a_round() -> None:
    first, second = sgd(0.1), sgd(0.2)
    bound = bind(ETA, [first, second])
    update(first, second)
    update(first)
    (third, fourth), twin = copy.deepcopy(((first, second), bound))
    with watched(fourth) as seen:
        update(fourth)
        update(third, fourth)
    assert rates(seen) == (0.2 * ETA.factors()[1:3]).tolist()
    assert (bound.last_epoch, twin.last_epoch) == (1, 3)


def test_a_shallow_copy_would_drive_the_optimizer_twice_and_is_refused() -> None:
    bound = bind(ETA, sgd())
    with pytest.raises(InputError, match="follows a schedule already"):
        copy.copy(bound)


@pytest.mark.parametrize("copier", [copy.deepcopy, roundtrip])
def test_an_optimizer_copied_alone_is_free(copier: Any) -> None:
    optimizer = sgd()
    bind(ETA, optimizer)
    alone = copier(optimizer)
    assert not alone._optimizer_step_pre_hooks
    bind(constant(), alone)


def test_step_of_the_optimizer_is_not_replaced() -> None:
    """Torch's schedulers put a wrapper there, which other libraries trip over."""
    optimizer = sgd()
    bind(ETA, optimizer)
    assert "step" not in vars(optimizer)
    assert torch.optim.SGD.step.hooked  # type: ignore[attr-defined]
