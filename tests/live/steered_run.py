"""A process that trains, watched, until it ends or is killed: ``steered_run.py STORE NAME STEPS PAUSE``."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import nn

import stepsize


def main(store: str, name: str, steps: int, pause: float) -> None:
    """Train a small model with two parameter groups; print the step and the rates of each update."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    groups: list[dict[str, Any]] = [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.02}]
    optimizer = torch.optim.SGD(groups, lr=0.05)
    bound = stepsize.bind(stepsize.schedules.cosine(), optimizer, steps=steps)
    x = torch.randn(256, 8)

    def mean_loss(batch: torch.Tensor) -> torch.Tensor:
        wrong: torch.Tensor = net(batch) - batch.sin().sum(1, keepdim=True)
        return wrong.square().mean()

    def validate() -> float:
        with torch.no_grad():
            return float(mean_loss(x[128:]))

    with stepsize.watch(
        net, optimizer, steps=steps, schedule=bound, validate=validate, store=store, name=name, control=True
    ) as watching:
        used: list[float] = []
        # after the hooks of the watch and of the schedule: the rates that the update is made with
        optimizer.register_step_pre_hook(lambda *_: used.extend(group["lr"] for group in optimizer.param_groups))
        for step in range(steps):
            loss = mean_loss(x[torch.randint(128, (32,))])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            watching.step(loss)
            sys.stdout.write(f"{step} {used[-2]!r} {used[-1]!r} {time.time()}\n")
            sys.stdout.flush()
            used.clear()
            time.sleep(pause)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
