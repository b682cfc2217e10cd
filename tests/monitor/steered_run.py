"""A training that takes orders until it is told to stop: ``python steered_run.py STORE``; prints ``begun``."""

from __future__ import annotations

import json
import sys
import time

import torch
from torch import nn

import stepsize


def main(where: str) -> None:
    """Train at about 200 steps per second, and print the learning rate of each step as JSON at the end."""
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    bound = stepsize.bind("cosine", optimizer, steps=100_000)
    rates = []
    optimizer.register_step_post_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    with stepsize.watch(
        net, optimizer, schedule=bound, steps=100_000, store=where, name="net", control=True
    ) as watching:
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        until = time.monotonic() + 240
        while not watching.should_stop and time.monotonic() < until:
            x = torch.randn(32, 4)
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watching.step(loss)
            time.sleep(0.005)
    sys.stdout.write(json.dumps(rates) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
