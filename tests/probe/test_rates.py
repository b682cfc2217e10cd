"""One multiplier over all groups of all optimizers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import LambdaLR, StepLR

from stepsize.errors import InputError
from stepsize.probe.controlled import Rates


def parameters(count: int = 1) -> list[nn.Parameter]:
    return [nn.Parameter(torch.ones(2)) for _ in range(count)]


def rates_of(*optimizers: Optimizer) -> list[float]:
    return [float(group["lr"]) for each in optimizers for group in each.param_groups]


def grouped(*rates: Any) -> SGD:
    return SGD([{"params": [p], "lr": lr} for p, lr in zip(parameters(len(rates)), rates, strict=True)], lr=0.1)


def test_the_reference_is_the_highest_rate_and_all_ratios_survive() -> None:
    optimizer = grouped(0.01, 0.1, 0.02)
    rates = Rates([optimizer])
    assert rates.reference == 0.1
    rates.set(3.0)
    assert rates_of(optimizer) == pytest.approx([0.3, 3.0, 0.6])
    rates.set(1e-6)
    assert rates_of(optimizer) == pytest.approx([1e-7, 1e-6, 2e-7])


def test_ratios_survive_between_optimizers_and_frozen_groups_stay() -> None:
    one, two = SGD(parameters(), lr=0.4), Adam(parameters(), lr=0.001)
    Rates([one, two]).set(4.0)
    assert rates_of(one, two) == pytest.approx([4.0, 0.01])
    optimizer = grouped(0.0, 0.1)
    Rates([optimizer]).set(1.0)
    assert rates_of(optimizer) == [0.0, 1.0]


def test_a_rate_that_is_a_tensor_is_written_in_place() -> None:
    lr = torch.tensor(0.2)
    optimizer = grouped(lr, 0.1)
    Rates([optimizer]).set(1.0)
    assert rates_of(optimizer) == pytest.approx([1.0, 0.5])
    assert optimizer.param_groups[0]["lr"] is lr
    assert isinstance(optimizer.param_groups[1]["lr"], float)


def test_the_rate_of_an_update_is_ours_whatever_a_scheduler_wrote_before_it() -> None:
    [parameter] = parameters()
    optimizer = SGD([parameter], lr=0.1)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.1)
    rates = Rates([optimizer])
    rates.set(0.5)
    for expected in (0.5, 0.0):
        parameter.grad = torch.ones(2)
        optimizer.step()
        scheduler.step()
        assert parameter.tolist() == [expected, expected]
    assert rates.updates == 2


def test_a_warm_up_that_begins_at_zero_tells_its_ratios_by_what_it_scales() -> None:
    optimizer = grouped(0.1, 0.3)
    LambdaLR(optimizer, lambda step: step / 10)
    assert rates_of(optimizer) == [0.0, 0.0]
    rates = Rates([optimizer])
    rates.set(3.0)
    assert rates.reference == 0.3
    assert rates_of(optimizer) == pytest.approx([1.0, 3.0])


def test_closed_it_leaves_the_optimizer_alone() -> None:
    [parameter] = parameters()
    optimizer = SGD([parameter], lr=0.1)
    rates = Rates([optimizer])
    rates.set(0.5)
    rates.close()
    optimizer.param_groups[0]["lr"] = 0.25
    parameter.grad = torch.ones(2)
    optimizer.step()
    assert parameter.tolist() == [0.75, 0.75]
    assert rates.updates == 0


def test_rates_that_are_all_zero_have_no_ratios() -> None:
    with pytest.raises(InputError, match="optimizer must have a group with a positive lr"):
        Rates([grouped(0.0, 0.0)])
