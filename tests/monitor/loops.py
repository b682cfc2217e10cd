"""The regression that tests train on: the sum of the inputs."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Optimizer


def regression(net: nn.Module, x: Tensor) -> Tensor:
    """Return the mean squared error of a batch."""
    loss: Tensor = (net(x) - x.sum(-1, keepdim=True)).square().mean()
    return loss


def update(
    net: nn.Module, optimizer: Optimizer, x: Tensor, *, times: float = 1.0, spoiled: float | None = None
) -> Tensor:
    """Make one update and return its loss, ``times`` what it is; its first gradient is set to ``spoiled``."""
    loss = regression(net, x) * times
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    if spoiled is not None:
        next(net.parameters()).grad.fill_(spoiled)  # type: ignore[union-attr]
    optimizer.step()
    return loss.detach()
