"""A process that trains, watched, until it ends or is killed: ``recorded_run.py STORE NAME STEPS [ROOM]``."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from pathlib import Path

import torch
from torch import nn

import stepsize


def say(line: str) -> None:
    """Write a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(store: str, name: str, steps: int, room: int | None = None) -> None:
    """Train a small model; print a line a step, with the time by the clock of the machine, and the weights at last.

    With ``room``, no file may grow beyond the largest one of the store by more than so many bytes.
    """
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3)
    x = torch.randn(64, 4)
    pause = float(os.environ.get("STEPSIZE_TEST_PAUSE", "0"))
    with stepsize.watch(net, optimizer, store=store, name=name) as watching:
        if room is not None:
            limit = room + max(file.stat().st_size for file in Path(store).parent.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        say("begun")
        for step in range(steps):
            loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            watching.step(loss)
            say(f"{step} {time.time()}")
            time.sleep(pause)
    say(f"steps {watching.record.step} broken {watching.broken!r}")
    say(f"weights {float(sum(p.detach().sum() for p in net.parameters())):.9g}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *map(int, sys.argv[4:]))
