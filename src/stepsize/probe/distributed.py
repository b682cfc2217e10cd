"""One mean loss for all ranks, so that all ranks decide alike and stop together."""

from __future__ import annotations

import torch
import torch.distributed as dist

__all__ = ["mean_over_ranks"]


def mean_over_ranks(loss: float) -> float:
    """Return the mean of ``loss`` over the ranks of the default process group; itself where there is none.

    A loss that is not finite on one rank is not finite on any, so a divergence anywhere stops every rank.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return loss
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    total = torch.tensor(loss, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total.item()) / dist.get_world_size()
