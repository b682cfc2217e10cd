"""The length of steps over weights that weight decay leads to is where random gradients really lead."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from stepsize.monitor.attached import equilibrium


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_settles_where_it_says(momentum: float) -> None:
    parameter = nn.Parameter(torch.ones(2_000))
    optimizer = torch.optim.SGD([parameter], lr=0.05, momentum=momentum, weight_decay=0.1)
    assert _settled(parameter, optimizer, 3_000) == pytest.approx(equilibrium(optimizer), rel=0.05)


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_adamw_settles_where_it_says(beta: float) -> None:
    parameter = nn.Parameter(torch.ones(2_000))
    optimizer = torch.optim.AdamW([parameter], lr=0.02, betas=(beta, 0.99), weight_decay=0.2)
    assert _settled(parameter, optimizer, 3_000) == pytest.approx(equilibrium(optimizer), rel=0.05)


def _settled(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int) -> float:
    torch.manual_seed(0)
    ratios = []
    for step in range(steps):
        before = parameter.detach().clone()
        parameter.grad = torch.randn_like(parameter)
        optimizer.step()
        if step >= steps // 2:
            ratios.append(float((parameter.detach() - before).norm() / before.norm()))
    return sum(ratios) / len(ratios)


def test_without_decay_or_for_others_nothing_is_known() -> None:
    parameter = nn.Parameter(torch.ones(3))
    assert math.isnan(equilibrium(torch.optim.SGD([parameter], lr=0.1)))
    assert math.isnan(equilibrium(torch.optim.Adagrad([parameter], lr=0.1, weight_decay=0.1)))
