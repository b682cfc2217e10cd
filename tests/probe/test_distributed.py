"""Two processes with different data: one loss, one answer, one stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import stepsize
from stepsize.probe.controlled import mean_over_ranks

SCRIPT = """
import datetime, json, math, sys
import torch
import torch.distributed as dist
from torch import nn

rank, meeting, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2,
                        timeout=datetime.timedelta(seconds=100))
from stepsize.probe import range_test
from stepsize.probe.controlled import mean_over_ranks

mean = mean_over_ranks(1.0 + 2 * rank)
nan = mean_over_ranks(math.nan if rank else 1.0)
torch.manual_seed(0)
net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 1)))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
generator = torch.Generator().manual_seed(10 + rank)
x = [torch.randn(16, 4, generator=generator) for _ in range(12)]
batches = [(each, each.sum(1, keepdim=True) + 0.3 * torch.randn(16, 1, generator=generator)) for each in x]
before = [parameter.detach().clone() for parameter in net.parameters()]

def step(batch):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(net(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    own.append(loss.item())
    if kind == "nan" and rank == 1 and optimizer.param_groups[0]["lr"] > 0.15:
        return math.nan
    return loss

told = {"mean": mean, "nan": math.isnan(nan)}
for kind in ("plain", "nan"):
    own = []
    answer = range_test(step, optimizer, batches, steps=110).to_json()
    del answer["cost"]["seconds"]
    same = all(torch.equal(one, other) for one, other in zip(before, net.parameters()))
    told[kind] = {"answer": answer, "own": own, "same": same}
json.dump(told, open(out, "w"))
dist.destroy_process_group()
"""


def both_ranks(folder: Path) -> list[dict[str, Any]]:
    """Run the script in two processes and return what each wrote; neither outlives the test."""
    source = str(Path(stepsize.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(rank), str(folder / "meeting"), str(folder / f"{rank}.json")],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            output, _ = process.communicate(timeout=240)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_without_a_process_group_a_loss_is_itself() -> None:
    assert mean_over_ranks(0.25) == 0.25


@pytest.mark.timeout(300)  # two processes on a machine that has other work
def test_both_ranks_see_one_loss_give_one_answer_and_stop_together(tmp_path: Path) -> None:
    ranks = both_ranks(tmp_path)
    assert [rank["mean"] for rank in ranks] == [2.0, 2.0]
    assert all(rank["nan"] for rank in ranks)
    for kind in ("plain", "nan"):
        one, two = (rank[kind] for rank in ranks)
        assert one["own"] != two["own"], "their data differ"
        assert len(one["own"]) == len(two["own"]) == one["answer"]["cost"]["calls"]
        assert one["answer"] == two["answer"]
        assert one["answer"]["verdict"] == "open"
        assert one["answer"]["restored"] is True
        assert one["same"]
        assert two["same"]
        losses = one["answer"]["curve"]["loss"]
        if kind == "nan":
            assert losses[-1] is None
            assert 0.15 < one["answer"]["diverged_at"] < 0.165
        else:
            shared = [(a + b) / 2 for a, b in zip(one["own"], two["own"], strict=True)][-len(losses) :]
            assert losses == pytest.approx(shared)
