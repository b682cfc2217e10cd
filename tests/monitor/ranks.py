"""Two processes that train one model together, each with its own part of a test's script."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.beside import Program

_BEGIN = """
import datetime, json, math, sys
import torch
import torch.distributed as dist
from torch import nn
import stepsize

rank, meeting, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2,
                        timeout=datetime.timedelta(seconds=240))
torch.manual_seed(0)
generator = torch.Generator().manual_seed(10 + rank)

def update(net, optimizer, x):
    loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()

"""
_END = """
json.dump(told, open(out, "w"))
dist.destroy_process_group()
"""


def told_by_two(script: str, folder: Path, *more: str) -> tuple[Any, Any]:
    """Run ``script`` as two ranks; return what each has in ``told`` at its end."""
    file, meeting = folder / "ranks.py", folder / "meeting"
    file.write_text(_BEGIN + script + _END)
    outs = [folder / f"out{rank}.json" for rank in range(2)]
    asked = [(str(rank), str(meeting), str(out), *more) for rank, out in enumerate(outs)]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "GLOO_SOCKET_IFNAME": "lo"}
    with Program(file, *asked[0], **environment) as first, Program(file, *asked[1], **environment) as second:
        for rank in (first, second):
            assert rank.wait(280) == 0, rank.errors()
    one, two = (json.loads(out.read_text()) for out in outs)
    return one, two
