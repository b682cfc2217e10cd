"""The critical learning rate along the update that was made, by a few forward passes on its own batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stepsize.curves.critical import Critical, search_critical
from stepsize.training.rng import RngState
from stepsize.training.snapshot import Snapshot

_REACH = 1024.0  # largest length of the update that is tried, in updates
_NEAR = 1e-3


class Along:
    """The weights before an update, kept so that other lengths of it can be tried."""

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._parameters = [p for model in models for p in model.parameters() if p.requires_grad]
        self._before = [p.detach().clone() for p in self._parameters]
        self._models = list(models)

    def headroom(self, closure: Callable[[], Tensor], agreed: Callable[[float], float] = float) -> float:
        """Return the critical learning rate over the one in use, and leave everything as it is.

        Args:
            closure: Returns the loss of the update's batch at the present weights.
            agreed: Turns a loss into that of all processes that train together.

        Returns:
            The length of the update at which the loss of its own batch rises; infinite if none does, NaN if unknown.
        """
        after = [p.detach().clone() for p in self._parameters]

        def at(times: float) -> float:
            with torch.no_grad():
                for p, one, two in zip(self._parameters, self._before, after, strict=True):
                    p.copy_(torch.lerp(one, two, times) if times != 1 else two)
            return agreed(float(same()))

        with undisturbed_models(self._models, closure) as same:
            found = search_critical(at, base_loss=at(0.0), start=1.0, low=_NEAR, high=_REACH)
        return _headroom(found)


def _headroom(found: Critical) -> float:
    if found.lr is not None:
        return found.lr
    if not found.trials or not math.isfinite(found.base_loss):
        return math.nan
    return math.inf if found.trials[-1][0] >= _REACH else _NEAR


@contextmanager
def undisturbed_models(models: Sequence[nn.Module], closure: Callable[[], Tensor]) -> Iterator[Callable[[], Tensor]]:
    """Yield ``closure`` without gradients and with the same randomness at each call; the models are restored after."""
    snapshot, randomness = Snapshot(modules=models), RngState.take()

    def same() -> Tensor:
        randomness.restore()
        with torch.no_grad():
            return closure()

    try:
        yield same
    finally:
        snapshot.restore(position=False)
