"""The critical rate of one update: the smallest rate at which it raises the loss of its own batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from stepsize.curves.critical import Critical, search_critical

RANGE = (1e-9, 1e4)  # where it is searched, whatever range the user asks about


def heavy_ball(optimizers: Iterable[Optimizer]) -> float:
    """Return the momentum m of SGD or RMSprop, whose steady updates are 1 / (1 - m) first ones; 0 without."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    momentum = max(float(group.get("momentum", 0.0)) for group in groups)
    return momentum if 0 <= momentum < 1 else 0.0


def probe_update(
    parameters: Sequence[Tensor],
    *,
    update: Callable[[], float],
    loss: Callable[[], float],
    rewind: Callable[[], None],
    start: float,
    between: tuple[float, float] = RANGE,
) -> Critical:
    """Make one update at the rate ``start``, then follow its direction to other rates without further updates.

    An update is proportional to its rate (weight decay included), so w(lr) = w + lr (w1 - w) / ``start``. ``update``
    returns the loss before it, ``loss`` that at the present weights, and ``rewind`` restores the state before the
    update.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        base_loss = update()
        after = [parameter.detach().clone() for parameter in parameters]
        if all(map(torch.equal, before, after)):
            return Critical(None, base_loss, (), "The update changed no weight.")

        def loss_at(lr: float) -> float:
            rewind()
            with torch.no_grad():
                for parameter, old, new in zip(parameters, before, after, strict=True):
                    parameter.copy_(torch.lerp(old, new, lr / start))
            return loss()

        return search_critical(loss_at, base_loss=base_loss, start=start, low=between[0], high=between[1])
    finally:
        rewind()
