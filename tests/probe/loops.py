"""Training loops as users write them, each with a step function of its own making."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, TensorDataset

mse = nn.functional.mse_loss
backward: Callable[[Tensor], None] = Tensor.backward  # which has no types of its own


@dataclass
class Loop:
    """A training that anyone could have written: its step, and all that the step changes."""

    step: Callable[[Any], Any]
    optimizers: list[Optimizer]
    batches: Iterable[Any]
    modules: list[nn.Module]
    others: list[Any] = field(default_factory=list)

    @property
    def optimizer(self) -> Optimizer:
        return self.optimizers[0]

    def tensors(self) -> list[Tensor]:
        """All tensors of the training's state, copied."""
        states = [each.state_dict() for each in [*self.modules, *self.optimizers, *self.others]]
        return [tensor.clone() for tensor in tensors_in(states)]


def tensors_in(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [tree]
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        return [tensor for part in tree for tensor in tensors_in(part)]
    return [torch.tensor(float(tree))] if isinstance(tree, int | float) else []


def dataset(count: int = 160) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(count, 4, generator=generator)
    return x, x.sum(1, keepdim=True) + 0.3 * torch.randn(count, 1, generator=generator)


def loader(*, own_generator: bool) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(3) if own_generator else None
    return DataLoader(TensorDataset(*dataset()), batch_size=16, shuffle=True, generator=generator)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.2), nn.Linear(12, 1))


def plain_step(net: nn.Module, optimizer: Optimizer) -> Callable[[Any], Tensor]:
    def step(batch: Any) -> Tensor:
        x, y = batch
        optimizer.zero_grad()
        loss = mse(net(x), y)
        backward(loss)
        optimizer.step()
        return loss

    return step


def momentum() -> Loop:
    net = network()
    optimizer = SGD(net.parameters(), lr=0.02, momentum=0.9, nesterov=True)
    return Loop(plain_step(net, optimizer), [optimizer], loader(own_generator=True), [net])


def adamw() -> Loop:
    net = network()
    optimizer = AdamW(net.parameters(), lr=0.003, amsgrad=True)
    return Loop(plain_step(net, optimizer), [optimizer], loader(own_generator=False), [net])


def lbfgs() -> Loop:
    net = nn.Linear(4, 1)
    optimizer = LBFGS(net.parameters(), lr=0.1, max_iter=3, history_size=4)

    def step(batch: Any) -> Tensor:
        x, y = batch

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = mse(net(x), y)
            backward(loss)
            return loss

        return optimizer.step(closure)  # type: ignore[no-any-return, no-untyped-call]

    return Loop(step, [optimizer], loader(own_generator=False), [net])


def mixed_precision(init_scale: float = 1024.0) -> Loop:
    net = network()
    optimizer = Adam(net.parameters(), lr=0.003)
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=3)
    scheduler = OneCycleLR(optimizer, max_lr=0.01, total_steps=1000)

    def step(batch: Any) -> float:
        x, y = batch
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = mse(net(x).float(), y)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        scheduler.step()
        return loss.item()

    return Loop(step, [optimizer], loader(own_generator=True), [net], [scaler, scheduler])


def scheduled() -> Loop:
    net = network()
    optimizer = SGD(net.parameters(), lr=0.05)
    scheduler = StepLR(optimizer, step_size=4, gamma=0.5)
    update = plain_step(net, optimizer)

    def step(batch: Any) -> Tensor:
        loss = update(batch)
        scheduler.step()
        return loss

    return Loop(step, [optimizer], loader(own_generator=False), [net], [scheduler])


def accumulating() -> Loop:
    net = network()
    optimizer = SGD(net.parameters(), lr=0.02, momentum=0.9)

    def step(batch: Any) -> Tensor:
        x, y = batch
        optimizer.zero_grad()
        parts = [mse(net(a), b) / 2 for a, b in zip(x.chunk(2), y.chunk(2), strict=True)]
        for part in parts:
            backward(part)
        optimizer.step()
        return torch.stack(parts).sum()

    return Loop(step, [optimizer], loader(own_generator=True), [net])


def averaged() -> Loop:
    net = network()
    optimizer = AdamW(net.parameters(), lr=0.003)
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))  # type: ignore[no-untyped-call]
    update = plain_step(net, optimizer)

    def step(batch: Any) -> Tensor:
        loss = update(batch)
        average.update_parameters(net)
        return loss

    return Loop(step, [optimizer], loader(own_generator=False), [net, average])


def adversarial() -> Loop:
    maker, judge = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4)), nn.Linear(4, 1)
    of_maker, of_judge = Adam(maker.parameters(), lr=0.002), SGD(judge.parameters(), lr=0.01, momentum=0.5)
    bce = nn.functional.binary_cross_entropy_with_logits

    def step(batch: Any) -> Tensor:
        real, _ = batch
        fake = maker(torch.randn(len(real), 2))
        of_judge.zero_grad()
        ones, zeros = torch.ones(len(real), 1), torch.zeros(len(real), 1)
        loss = bce(judge(real), ones) + bce(judge(fake.detach()), zeros)
        backward(loss)
        of_judge.step()
        of_maker.zero_grad()
        backward(bce(judge(fake), ones))
        of_maker.step()
        return loss

    return Loop(step, [of_maker, of_judge], loader(own_generator=True), [maker, judge])


def tensor_rates() -> Loop:
    net = network()
    groups = [
        {"params": list(net[0].parameters()), "lr": torch.tensor(0.002)},
        {"params": [*net[1].parameters(), *net[4].parameters()], "lr": torch.tensor(0.01)},
    ]
    optimizer = AdamW(groups, foreach=False)
    return Loop(plain_step(net, optimizer), [optimizer], loader(own_generator=False), [net])


LOOPS: dict[str, Callable[[], Loop]] = {
    make.__name__: make
    for make in (
        momentum,
        adamw,
        lbfgs,
        mixed_precision,
        scheduled,
        accumulating,
        averaged,
        adversarial,
        tensor_rates,
    )
}


def endless(batches: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from batches
