"""Two processes with different data: one loss, one answer, one stop."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.monitor.ranks import told_by_two

from stepsize.probe.controlled import mean_over_ranks

SCRIPT = """
from stepsize.probe import range_test
from stepsize.probe.controlled import mean_over_ranks

mean = mean_over_ranks(1.0 + 2 * rank)
nan = mean_over_ranks(math.nan if rank else 1.0)
net = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 1)))
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
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
"""


def test_without_a_process_group_a_loss_is_itself() -> None:
    assert mean_over_ranks(0.25) == 0.25


@pytest.mark.timeout(300)  # two processes on a machine that has other work
def test_both_ranks_see_one_loss_give_one_answer_and_stop_together(tmp_path: Path) -> None:
    ranks = told_by_two(SCRIPT, tmp_path)
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
