"""On a CUDA device a bound schedule waits for nothing, and updates that are skipped there do not count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn

from stepsize import bind
from stepsize.schedules import linear

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def parameter() -> nn.Parameter:
    made = nn.Parameter(torch.ones(4, device="cuda"))
    made.grad = torch.ones_like(made)
    return made


@contextmanager
def no_sync() -> Iterator[None]:
    """Raise where the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [{}, {"capturable": True}], ids=["plain", "tensor rate"])
def test_the_host_never_waits_for_the_device(options: dict[str, Any]) -> None:
    lr: Any = torch.tensor(0.1, device="cuda") if options else 0.1
    optimizer = torch.optim.AdamW([parameter()], lr=lr, foreach=True, **options)
    bound = bind(linear(10), optimizer)
    optimizer.step()  # makes the state
    bound.step()

    with no_sync():
        optimizer.step()
        bound.step()

    assert bound.last_epoch == 2
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.08)


def test_an_update_that_a_fused_optimizer_skips_on_the_device_does_not_count() -> None:
    weights = parameter()
    optimizer = torch.optim.AdamW([weights], lr=0.1, fused=True)
    bound = bind(linear(10), optimizer)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0)
    for bad in (False, True, False):
        optimizer.zero_grad()
        scaler.scale((weights * (torch.inf if bad else 1.0)).sum()).backward()  # type: ignore[no-untyped-call]
        scaler.step(optimizer)
        scaler.update()
        bound.step()

    assert bound.last_epoch == 2
