"""The same small training as a plain loop: what the callbacks of all frameworks must have seen."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
import torch
from tests.monitor.twins import Twin, held_to
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from stepsize.monitor import Record
from stepsize.store import OrderRecord
from stepsize.store.orders import check_order

__all__ = ["BATCH", "ROWS", "Plain", "loader", "needs", "net", "ordering", "plain", "quiet", "rows", "spoiled_rows"]

ROWS, BATCH, LR = 192, 8, 0.05


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@contextmanager
def quiet() -> Iterator[None]:
    """The frameworks' own warnings are not what is tested here."""
    import logging
    import warnings

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 1))


def rows() -> tuple[Tensor, Tensor]:
    x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(1))
    return x, x.sum(1, keepdim=True)


def spoiled_rows(batch: int) -> tuple[Tensor, Tensor]:
    """Return rows of which one batch is not finite."""
    x, y = rows()
    x = x.clone()
    x[batch * BATCH] = math.nan
    return x, y


def ordering(seen: Any, orders: dict[int, tuple[str, dict[str, Any]]]) -> Any:
    """Return the callback, whose run gets each order after so many steps, as from the store."""
    take = seen._step

    def step(*given: Any, **more: Any) -> None:
        for at in [at for at in orders if at <= seen.watching.record.step]:
            verb, arguments = orders.pop(at)
            given_to = seen.watching.control
            given_to.inbox.append(OrderRecord(at, verb, check_order(verb, arguments), "ann", datetime.now(UTC)))
        take(*given, **more)

    seen._step = step
    return seen


def steered_well(seen: Any) -> None:
    """Check a run that was ordered to halve its rate after 5 steps, to extend after 6 and to stop after 10."""
    replies = {one.number: one for one in seen.watching.control.outbox}
    assert replies[5].state == "applied", replies
    assert replies[6].reply == "extend is not possible: the trainer sets the number of steps."
    assert seen.stopped == "ann ordered a stop"
    assert seen.watching.record.step == 11
    rates = seen.watching.record.recent("lr/0").values
    assert rates[:6] == pytest.approx(rates[0])
    assert rates[6:] == pytest.approx(rates[0] / 2)


STEERED: dict[int, tuple[str, dict[str, Any]]] = {
    5: ("scale", {"factor": 0.5}),
    6: ("extend", {"steps": 5}),
    10: ("stop", {}),
}


def loader(data: tuple[Tensor, Tensor] | None = None) -> DataLoader[Any]:
    return DataLoader(TensorDataset(*(data or rows())), batch_size=BATCH)


@dataclass
class Plain:
    """What a plain loop had."""

    twin: Twin
    losses: list[float] = field(default_factory=list)
    clipped: list[float] = field(default_factory=list)

    def held_to(self, record: Record, *, layers: bool = True) -> None:
        """Assert that a record is that of this training."""
        assert record.step == len(self.losses)
        assert record.skipped == 0
        held_to(self.twin, record, self.losses, clipped=self.clipped, layers=layers)
        assert record.recent("clipped").values == pytest.approx(self.clipped, rel=1e-3)


def plain(*, epochs: int = 1, accumulate: int = 1, clip: float | None = None, bf16: bool = False) -> Plain:
    """Train with SGD and momentum."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.5)
    done = Plain(Twin(model))
    waiting: list[float] = []
    for _ in range(epochs):
        for number, (x, y) in enumerate(loader(), start=1):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                loss = nn.functional.mse_loss(model(x), y)
            torch.autograd.backward(loss / accumulate)
            waiting.append(loss.item())
            if number % accumulate:
                continue
            norm = math.sqrt(sum(p.grad.square().sum().item() for p in model.parameters() if p.grad is not None))
            done.clipped.append(1.0)
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
                done.clipped[-1] = min(1.0, clip / norm)
            done.twin.look()
            optimizer.step()
            optimizer.zero_grad()
            done.losses.append(sum(waiting) / len(waiting))
            waiting = []
    return done
