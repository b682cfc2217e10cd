"""On a CUDA device watching waits for nothing between two looks, and sees what it sees on the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from stepsize.monitor import Watch, watch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _trained(device: str, *, quiet: bool = False) -> Watch:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 1)).to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    batches: list[Tensor] = [x.to(device) for x in torch.randn(40, 32, 6)]
    with watch(net, optimizer, steps=100_000) as watching:
        for number, x in enumerate(batches):
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            if quiet and number == 4:
                torch.cuda.set_sync_debug_mode("error")
            optimizer.step()
            watching.step(loss)
        torch.cuda.set_sync_debug_mode("default")
    assert not watching.broken
    return watching


def test_the_host_does_not_wait_for_the_device_between_two_looks() -> None:
    try:
        watching = _trained("cuda", quiet=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(watching.record.recent("loss")) == 40


def test_signals_are_those_of_the_cpu() -> None:
    there, here = _trained("cuda"), _trained("cpu")
    for name in ("loss", "cosine", "update_ratio", "slope_now"):
        one, two = there.record.recent(name).values.tolist(), here.record.recent(name).values.tolist()
        assert one == pytest.approx(two, rel=1e-3, abs=1e-4)
