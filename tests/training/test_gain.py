"""What is gained by training several rates at once: measured, rounded, and refused where there is nothing to gain."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from stepsize.training import Task
from stepsize.training.population.gain import CROWD, Gain, measure_gain, rounded_gain


def task(model: nn.Module, features: int, *, batch_size: int = 16) -> Task:
    x = torch.randn(256, features, generator=torch.Generator().manual_seed(0))
    return Task(
        model=lambda: copy.deepcopy(model), loss=nn.functional.mse_loss, train=(x, x[:, :1]), optimizer="adamw",
        steps=100, batch_size=batch_size,
    )  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRU(4, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.cell(x[:, None])[0]
        return states[:, 0, :1]


def test_small_networks_gain_from_a_crowd() -> None:
    small = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    measured = [measure_gain(task(small, 4), seed=0) for _ in range(3)]  # a busy machine may spoil one of them
    best = max(measured, key=lambda gain: gain.factor)

    assert best.factor >= 2.5
    assert best.reason == ""
    assert best.passes == pytest.approx(3 * 4 * (1 + CROWD / best.factor))


def test_an_update_that_is_arithmetic_already_gains_nothing_and_no_crowd_is_tried() -> None:
    wide = nn.Sequential(nn.Linear(512, 2048), nn.ReLU(), nn.Linear(2048, 1))
    gain = measure_gain(task(wide, 512, batch_size=256), seed=0)

    assert gain.factor == 1.0
    assert gain.passes == 3 * 4
    assert "an update is arithmetic already" in gain.reason


def test_what_cannot_be_stacked_is_named() -> None:
    gain = measure_gain(task(Recurrent(), 4), seed=0)

    assert gain.factor == 1.0
    assert gain.reason


def test_measuring_leaves_generators_where_they_were() -> None:
    linear = task(nn.Linear(4, 1), 4)
    before = torch.get_rng_state()
    measure_gain(linear, seed=0)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("factor", "rounded"), [(1.0, 1.0), (2.49, 1.0), (2.5, 2.5), (3.5, 2.5), (5.0, 5.0), (9.9, 7.07)]
)
def test_factors_are_rounded_down(factor: float, rounded: float) -> None:
    assert rounded_gain(factor) == pytest.approx(rounded, rel=1e-3)


def test_no_crowd_is_the_default() -> None:
    assert Gain(1.0) == Gain(1.0, 0.0, "")
