"""A process that trains, watched, until it ends or is killed: ``steered_run.py STORE NAME STEPS PAUSE``."""

from __future__ import annotations

import sys
import time

import torch
from torch import nn

import stepsize


def main(store: str, name: str, steps: int, pause: float) -> None:
    """Train a small model with two parameter groups; print step, rates and loss of each update."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    groups = [{"params": net[0].parameters()}, {"params": net[2].parameters(), "lr": 0.02}]
    optimizer = torch.optim.SGD(groups, lr=0.05)
    used: list[float] = []
    # a hook after the watch's own sees the rates that the update is made with
    bound = stepsize.bind(stepsize.schedules.cosine(), optimizer, steps=steps)
    x = torch.randn(256, 8)

    def validate() -> float:
        with torch.no_grad():
            return float((net(x[128:]) - x[128:].sin().sum(1, keepdim=True)).square().mean())

    options = {"steps": steps, "schedule": bound, "validate": validate, "store": store, "name": name, "control": True}
    with stepsize.watch(net, optimizer, **options) as watching:
        optimizer.register_step_pre_hook(lambda *_: used.__setitem__(slice(None), [g["lr"] for g in optimizer.param_groups]))
        for step in range(steps):
            batch = x[torch.randint(128, (32,))]
            loss = (net(batch) - batch.sin().sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            watching.step(loss)
            sys.stdout.write(f"{step} {used[0]!r} {used[1]!r} {time.time()}\n")
            sys.stdout.flush()
            time.sleep(pause)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
