"""The trajectory of the weights: its straightness and distance equal those by hand, in memory that does not grow."""

from __future__ import annotations

import math

import pytest
import torch
from tests.monitor.loops import update
from torch import Tensor, nn

from stepsize.monitor import watch
from stepsize.monitor.trajectory import WeightTrajectory


class _Moving:
    """Weights that move as told."""

    def __init__(self, places: Tensor) -> None:
        self.places = places
        self.now = 0

    def __call__(self) -> Tensor:
        return self.places[self.now].clone()


def _walked(places: Tensor, steps: int | None) -> WeightTrajectory:
    moving = _Moving(places)
    way = WeightTrajectory(moving, lambda kept: kept, steps)
    for step in range(1, len(places)):
        moving.now = step
        way.note(step)
    return way


def test_the_reading_is_that_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    places = torch.randn(65, 3, 5, generator=generator).cumsum(0)
    reading = _walked(places, 64).reading()
    assert reading is not None
    early, late = places[32] - places[16], places[64] - places[48]
    cosine = float((early * late).sum() / early.norm() / late.norm())
    distance = max(float((places[64, n] - places[0, n]).norm() / places[0, n].norm()) for n in range(3))
    pieces = sum(float((places[8 * n + 8] - places[8 * n]).norm()) for n in range(8))
    assert reading == pytest.approx({
        "straightness": cosine,
        "slowing": float(late.norm() / early.norm()),
        "efficiency": float((places[64] - places[0]).norm()) / pieces,
        "growth": float(places[64].norm() / places[0].norm()),
        "distance": distance,
    })  # fmt: skip


def test_a_straight_way_has_one_and_a_way_back_minus_one() -> None:
    direction = torch.tensor([[1.0, 2.0]])
    on = torch.stack([(1 + step) * direction for step in range(41)])
    back = torch.stack([(41 - abs(step - 20)) * direction for step in range(41)])
    straight, turned = _walked(on, None).reading(), _walked(back, None).reading()
    assert straight is not None
    assert turned is not None
    assert straight == pytest.approx(
        {"straightness": 1.0, "slowing": 1.0, "efficiency": 1.0, "growth": 41.0, "distance": 40.0}
    )
    assert (turned["straightness"], turned["efficiency"]) == pytest.approx((-1.0, 0.0), abs=1e-6)


def test_tensors_that_begin_at_zero_have_no_distance() -> None:
    places = torch.zeros(33, 2, 1)
    places[:, 0, 0] = torch.arange(33)
    places[:, 1, 0] = 2.0
    reading = _walked(places, None).reading()
    assert reading is not None
    assert reading["distance"] == 0.0


@pytest.mark.parametrize("steps", [None, 100_000])
def test_memory_does_not_grow(steps: int | None) -> None:
    way = WeightTrajectory(lambda: torch.ones(1, 1), lambda kept: kept, steps)
    for step in range(1, 150_001):
        way.note(step)
        assert len(way._kept) <= 129
    assert way._kept[-1][0] >= 145_000


def test_few_moments_give_no_reading() -> None:
    assert _walked(torch.ones(9, 1, 1), 64).reading() is not None
    assert _walked(torch.ones(8, 1, 1), 64).reading() is None


def test_a_watch_keeps_both_as_signals() -> None:
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
    start = net.weight.detach().clone()
    x = torch.randn(64, 3)
    with watch(net, optimizer, steps=128) as watching:
        for _ in range(64):
            watching.step(update(net, optimizer, x))
    assert watching.record.last("straightness") == pytest.approx(1.0, abs=1e-3)
    moved = float((net.weight - start).detach().norm() / start.norm())
    assert watching.record.last("distance") >= 0.999 * moved
    assert math.isfinite(watching.record.last("distance"))
